package sampler

// midpoint is the geometric mean of two sigmas, by way of their logarithms.
func midpoint(a, b float32) float32 {
	la, lb := log(a), log(b)
	return exp(lb - (lb-la)*0.5)
}

// dpm2 is DPM-Solver-2 (Lu et al., 2022) in the form of Karras et al. (2022):
// each step takes the slope at its geometric middle.
func dpm2(r *run) error {
	b := r.buffers(2)
	for i := range len(r.sigmas) - 1 {
		sigma := r.churn(b[0], i)
		if err := r.middleStep(b, i, sigma, r.sigmas[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// dpm2Ancestral steps down further than asked and adds noise.
func dpm2Ancestral(r *run) error {
	b := r.buffers(2)
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		down, up := ancestralStep(sigma, next, float32(r.options.Eta))
		if err := r.middleStep(b, i, sigma, down); err != nil {
			return err
		}
		if down != 0 {
			r.addNoise(b[0], sigma, next, up)
		}
	}
	return nil
}

// middleStep moves x from sigma to next with the slope at the geometric middle,
// or with an Euler step if next is 0.
func (r *run) middleStep(b [][]float32, step int, sigma, next float32) error {
	d, x2 := b[0], b[1]
	if err := r.predict(d, r.x, sigma); err != nil {
		return err
	}
	r.report(step)
	slope(d, r.x, d, sigma)
	if next != 0 {
		middle := midpoint(sigma, next)
		advance(x2, r.x, d, middle-sigma)
		if err := r.predict(d, x2, middle); err != nil {
			return err
		}
		slope(d, x2, d, middle)
	}
	advance(r.x, r.x, d, next-sigma)
	return nil
}
