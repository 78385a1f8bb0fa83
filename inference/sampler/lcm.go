package sampler

// lcm is multistep consistency sampling: each prediction is the picture itself,
// noised again for the next step.
func lcm(r *run) error {
	b := r.buffers(2)
	denoised, noise := b[0], b[1]
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		if err := r.predict(denoised, r.x, sigma); err != nil {
			return err
		}
		r.report(i)
		copy(r.x, denoised)
		if next > 0 {
			r.noise(noise, sigma, next)
			addScaled(r.x, noise, next)
		}
	}
	return nil
}
