package sampler

import "math"

// timestepLevel holds the factors of one timestep of the DDIM family and of the
// timestep below it.
type timestepLevel struct {
	signal, noise float32 // sqrt(a) and sqrt(1-a) here
	below         float32 // share of signal power a below
	sigma         float32 // deviation of the noise that DDIM adds for eta 1
}

// level returns the factors of entry index of the timesteps. Below the first
// entry is timestep 0.
func (r *run) level(index int) timestepLevel {
	below := 0
	if index > 0 {
		below = r.timesteps[index-1]
	}
	a, aBelow := r.model.alphasCumprod[r.timesteps[index]], r.model.alphasCumprod[below]
	variance := (1 - float64(aBelow)) / float64(1-a) * (1 - float64(a)/float64(aBelow))
	return timestepLevel{
		signal: sqrt(a),
		noise:  sqrt(1 - a),
		below:  aBelow,
		sigma:  float32(math.Sqrt(variance)),
	}
}

// stepBelow sets dst to the latent one timestep below x, for a prediction eps
// and fresh noise of deviation sigma to come.
func (l timestepLevel) stepBelow(dst, x, eps []float32, sigma float32) {
	signal := sqrt(l.below)
	direction := sqrt(1 - l.below - sigma*sigma)
	for i, e := range eps {
		original := (x[i] - l.noise*e) / l.signal
		dst[i] = signal*original + direction*e
	}
}

// ddim is Song et al., "Denoising diffusion implicit models" (2020). Like A1111's
// it stops at the first timestep, one step early.
func ddim(r *run) error {
	b := r.buffers(2)
	eps, noise := b[0], b[1]
	eta := float32(r.options.EtaDDIM)
	for i := range max(len(r.timesteps)-1, 0) {
		index := len(r.timesteps) - 1 - i
		t := float32(r.timesteps[index])
		if err := r.predict(eps, r.x, t); err != nil {
			return err
		}
		l := r.level(index)
		l.stepBelow(r.x, r.x, eps, eta*l.sigma)
		if eta != 0 {
			r.noise(noise, t, 0)
			addScaled(r.x, noise, eta*l.sigma)
		}
		r.report(i)
	}
	return nil
}

// plms is Liu et al., "Pseudo numerical methods for diffusion models" (2022):
// DDIM steps along an Adams-Bashforth combination of the last predictions.
func plms(r *run) error {
	b := r.buffers(5)
	history := b[:4] // predictions, newest first
	combined := b[4]
	for i := range max(len(r.timesteps)-1, 0) {
		index := len(r.timesteps) - 1 - i
		l := r.level(index)
		newest := history[3]
		copy(history[1:], history[:3])
		history[0] = newest
		if err := r.predict(newest, r.x, float32(r.timesteps[index])); err != nil {
			return err
		}
		if i == 0 {
			if err := r.improvedEuler(combined, newest, l, index); err != nil {
				return err
			}
		} else {
			adamsBashforth(combined, history[:min(i+1, 4)])
		}
		l.stepBelow(r.x, r.x, combined, 0)
		r.report(i)
	}
	return nil
}

// improvedEuler sets combined to the mean of the prediction here and the one a
// step further down.
func (r *run) improvedEuler(combined, eps []float32, l timestepLevel, index int) error {
	ahead := make([]float32, len(r.x))
	l.stepBelow(ahead, r.x, eps, 0)
	if err := r.predict(combined, ahead, float32(r.timesteps[index-1])); err != nil {
		return err
	}
	average(combined, eps)
	return nil
}

// adamsBashforth combines two to four predictions, newest first.
func adamsBashforth(dst []float32, eps [][]float32) {
	switch len(eps) {
	case 2:
		for i := range dst {
			dst[i] = (3*eps[0][i] - eps[1][i]) / 2
		}
	case 3:
		for i := range dst {
			dst[i] = (23*eps[0][i] - 16*eps[1][i] + 5*eps[2][i]) / 12
		}
	default:
		for i := range dst {
			dst[i] = (55*eps[0][i] - 59*eps[1][i] + 37*eps[2][i] - 9*eps[3][i]) / 24
		}
	}
}
