package sampler

import "math"

// slope sets dst to the derivative of x by sigma, which a denoised latent
// implies; dst may be denoised.
func slope(dst, x, denoised []float32, sigma float32) {
	for i, d := range denoised {
		dst[i] = (x[i] - d) / sigma
	}
}

// advance sets dst to x + d*dt.
func advance(dst, x, d []float32, dt float32) {
	for i, v := range d {
		dst[i] = x[i] + v*dt
	}
}

// average sets a to the mean of a and b.
func average(a, b []float32) {
	for i, v := range b {
		a[i] = (a[i] + v) / 2
	}
}

// ancestralStep splits the step between two sigmas into the sigma to step down
// to and the noise to add afterwards, so that the variances add up.
func ancestralStep(from, to, eta float32) (down, up float32) {
	if eta == 0 {
		return to, 0
	}
	up = min(to, eta*sqrt(to*to*(from*from-to*to)/(from*from)))
	return sqrt(to*to - up*up), up
}

// addNoise adds fresh noise of deviation up, times s_noise.
func (r *run) addNoise(scratch []float32, sigma, next, up float32) {
	r.noise(scratch, sigma, next)
	factor := float32(r.options.SNoise)
	for i, n := range scratch {
		r.x[i] += n * factor * up
	}
}

// churn adds the noise of Karras et al. (2022), algorithm 2, before step i and
// returns the sigma it leads to. A run with churn draws noise in every step, also
// where the bounds leave it out.
func (r *run) churn(scratch []float32, i int) float32 {
	sigma := r.sigmas[i]
	if r.options.SChurn <= 0 {
		return sigma
	}
	r.noise(scratch, sigma, sigma)
	highest := r.options.STmax
	if highest == 0 {
		highest = math.Inf(1)
	}
	if s := float64(sigma); s < r.options.STmin || s > highest {
		return sigma
	}
	gamma := min(r.options.SChurn/float64(len(r.sigmas)-1), math.Sqrt2-1)
	churned := sigma * float32(gamma+1)
	deviation := sqrt(churned*churned - sigma*sigma)
	factor := float32(r.options.SNoise)
	for k, n := range scratch {
		r.x[k] += n * factor * deviation
	}
	return churned
}

// euler is algorithm 2 of Karras et al. (2022) with first order steps.
func euler(r *run) error {
	d := r.buffers(1)[0]
	for i := range len(r.sigmas) - 1 {
		sigma := r.churn(d, i)
		if err := r.predict(d, r.x, sigma); err != nil {
			return err
		}
		r.report(i)
		slope(d, r.x, d, sigma)
		advance(r.x, r.x, d, r.sigmas[i+1]-sigma)
	}
	return nil
}

// eulerAncestral steps down further than asked and adds noise.
func eulerAncestral(r *run) error {
	d := r.buffers(1)[0]
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		if err := r.predict(d, r.x, sigma); err != nil {
			return err
		}
		r.report(i)
		down, up := ancestralStep(sigma, next, float32(r.options.Eta))
		slope(d, r.x, d, sigma)
		advance(r.x, r.x, d, down-sigma)
		if next > 0 {
			r.addNoise(d, sigma, next, up)
		}
	}
	return nil
}
