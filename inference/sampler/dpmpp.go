package sampler

// DPM-Solver++ (Lu et al., 2022) works in t = -log(sigma).

func logTime(sigma float32) float32 { return -log(sigma) }
func timeSigma(t float32) float32   { return exp(-t) }

// mix sets dst to a*x + b*y.
func mix(dst []float32, a float32, x []float32, b float32, y []float32) {
	for i, v := range x {
		dst[i] = a*v + b*y[i]
	}
}

// dpmpp2M is DPM-Solver++(2M): the second order comes from the step before.
func dpmpp2M(r *run) error {
	b := r.buffers(3)
	denoised, old, combined := b[0], b[1], b[2]
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		if err := r.predict(denoised, r.x, sigma); err != nil {
			return err
		}
		r.report(i)
		t, tNext := logTime(sigma), logTime(next)
		h := tNext - t
		target := denoised
		if i > 0 && next != 0 {
			ratio := (t - logTime(r.sigmas[i-1])) / h
			mix(combined, 1+1/(2*ratio), denoised, -(1 / (2 * ratio)), old)
			target = combined
		}
		mix(r.x, timeSigma(tNext)/timeSigma(t), r.x, -expm1(-h), target)
		denoised, old = old, denoised
	}
	return nil
}

// dpmpp2SAncestral is DPM-Solver++(2S) with ancestral noise: a half step, then
// the whole one from the middle's prediction.
func dpmpp2SAncestral(r *run) error {
	b := r.buffers(2)
	denoised, x2 := b[0], b[1]
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		if err := r.predict(denoised, r.x, sigma); err != nil {
			return err
		}
		r.report(i)
		down, up := ancestralStep(sigma, next, float32(r.options.Eta))
		if down == 0 {
			slope(denoised, r.x, denoised, sigma)
			advance(r.x, r.x, denoised, down-sigma)
		} else {
			t, tNext := logTime(sigma), logTime(down)
			h := tNext - t
			s := t + 0.5*h
			mix(x2, timeSigma(s)/timeSigma(t), r.x, -expm1(-h*0.5), denoised)
			if err := r.predict(denoised, x2, timeSigma(s)); err != nil {
				return err
			}
			mix(r.x, timeSigma(tNext)/timeSigma(t), r.x, -expm1(-h), denoised)
		}
		if next > 0 {
			r.addNoise(denoised, sigma, next, up)
		}
	}
	return nil
}

// dpmppSDE is the stochastic DPM-Solver++ with a half step.
func dpmppSDE(r *run) error {
	b := r.buffers(3)
	denoised, x2, noise := b[0], b[1], b[2]
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		t, tNext := logTime(sigma), logTime(next)
		s := t + (tNext-t)*0.5
		start, middle, end := timeSigma(t), timeSigma(s), timeSigma(tNext)
		if next > 0 {
			r.prepareNoise(start, middle)
		}
		if err := r.predict(denoised, r.x, sigma); err != nil {
			return err
		}
		r.report(i)
		if next == 0 {
			slope(denoised, r.x, denoised, sigma)
			advance(r.x, r.x, denoised, next-sigma)
			continue
		}
		r.sdeStep(x2, denoised, noise, start, middle)
		r.prepareNoise(start, end)
		if err := r.predict(denoised, x2, middle); err != nil {
			return err
		}
		r.sdeStep(r.x, denoised, noise, start, end)
	}
	return nil
}

// sdeStep sets dst to x after a first order step towards a predicted picture,
// with its noise.
func (r *run) sdeStep(dst, denoised, noise []float32, from, to float32) {
	down, up := ancestralStep(from, to, float32(r.options.Eta))
	t, tDown := logTime(from), logTime(down)
	mix(dst, timeSigma(tDown)/from, r.x, -expm1(t-tDown), denoised)
	if up == 0 {
		return
	}
	r.noise(noise, from, to)
	sNoise := float32(r.options.SNoise)
	for i, n := range noise {
		dst[i] += n * sNoise * up
	}
}

// dpmpp2MSDE is the stochastic DPM-Solver++(2M) with the midpoint correction.
func dpmpp2MSDE(r *run) error {
	return sde2M(r, func(negH float32) float32 { return 0.5 * -expm1(negH) })
}

// dpmpp2MSDEHeun corrects like Heun's method.
func dpmpp2MSDEHeun(r *run) error {
	return sde2M(r, func(negH float32) float32 { return -expm1(negH)/negH + 1 })
}

// sde2M runs DPM-Solver++(2M) SDE; correction weighs the difference to the last
// prediction for a step of length -negH.
func sde2M(r *run, correction func(negH float32) float32) error {
	b := r.buffers(3)
	denoised, old, noise := b[0], b[1], b[2]
	eta := float32(r.options.Eta)
	var hLast float32
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		last, err := r.predictSDE(denoised, i)
		if err != nil || last {
			return err
		}
		h := -log(next) + log(sigma)
		etaH := eta * h
		negH := -h - etaH
		mix(r.x, next/sigma*exp(-etaH), r.x, -expm1(negH), denoised)
		if i > 0 {
			factor := correction(negH) * (1 / (hLast / h))
			for k, d := range denoised {
				r.x[k] += factor * (d - old[k])
			}
		}
		r.addSDENoise(noise, sigma, next, -expm1(-2*etaH))
		denoised, old = old, denoised
		hLast = h
	}
	return nil
}

// predictSDE sets denoised to the prediction at step i of a stochastic solver, which
// is the result of the last step.
func (r *run) predictSDE(denoised []float32, i int) (last bool, err error) {
	sigma, next := r.sigmas[i], r.sigmas[i+1]
	if next > 0 && r.options.Eta != 0 {
		r.prepareNoise(sigma, next)
	}
	if err := r.predict(denoised, r.x, sigma); err != nil {
		return false, err
	}
	r.report(i)
	if next > 0 {
		return false, nil
	}
	copy(r.x, denoised)
	return true, nil
}

// addSDENoise adds the noise of a step whose share of the variance of next is
// fresh.
func (r *run) addSDENoise(scratch []float32, sigma, next, share float32) {
	if r.options.Eta == 0 {
		return
	}
	r.noise(scratch, sigma, next)
	deviation, sNoise := sqrt(share), float32(r.options.SNoise)
	for i, n := range scratch {
		r.x[i] += n * next * deviation * sNoise
	}
}

// dpmpp3MSDE is the stochastic DPM-Solver++(3M).
func dpmpp3MSDE(r *run) error {
	b := r.buffers(4)
	denoised, old, older, noise := b[0], b[1], b[2], b[3]
	eta := float32(r.options.Eta)
	var hLast, hBefore float32
	for i := range len(r.sigmas) - 1 {
		sigma, next := r.sigmas[i], r.sigmas[i+1]
		last, err := r.predictSDE(denoised, i)
		if err != nil || last {
			return err
		}
		h := -log(next) + log(sigma)
		hEta := h * (eta + 1)
		mix(r.x, exp(-hEta), r.x, -expm1(-hEta), denoised)
		phi2 := expm1(-hEta)/hEta + 1
		switch {
		case i >= 2:
			r0, r1 := hLast/h, hBefore/h
			phi3 := phi2/hEta - 0.5
			for k, d := range denoised {
				d10 := (d - old[k]) / r0
				d11 := (old[k] - older[k]) / r1
				d1 := d10 + (d10-d11)*r0/(r0+r1)
				d2 := (d10 - d11) / (r0 + r1)
				r.x[k] = r.x[k] + phi2*d1 - phi3*d2
			}
		case i == 1:
			r0 := hLast / h
			for k, d := range denoised {
				r.x[k] += phi2 * ((d - old[k]) / r0)
			}
		}
		r.addSDENoise(noise, sigma, next, -expm1(-2*h*eta))
		denoised, old, older = older, denoised, old
		hLast, hBefore = h, hLast
	}
	return nil
}
