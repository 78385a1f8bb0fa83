package sampler

import "math"

// Projection is adaptive projected guidance (Sadat et al., "Eliminating Oversaturation
// and Artifacts of High Guidance Scales", 2024) as the extension "APG's now your CFG" has
// it. It acts on the noise that predictions say is in the input.
type Projection struct {
	Enabled   bool
	Momentum  float64 // share of the differences of earlier calls; below 0 pushes away from them
	Adaptive  float64 // how fast the momentum vanishes over the run, 0 = never
	Threshold float64 // greatest norm of the difference, 0 = any
	Eta       float64 // share of the difference along the prompt's noise, which saturates

	Limited    bool    // the prompt alone counts outside of the noise levels below
	SigmaStart float64 // highest level with guidance; below 0 = any
	SigmaEnd   float64 // level at which it ends; below 0 = none
}

// idle reports whether the prompt alone counts at a noise level.
func (p *Projection) idle(sigma float64) bool {
	return p.Limited && (p.SigmaStart >= 0 && sigma > p.SigmaStart || p.SigmaEnd >= 0 && sigma <= p.SigmaEnd)
}

// momentumAt is the momentum at a training timestep, after the first call.
func (p *Projection) momentumAt(timestep int) float64 {
	m := p.Momentum
	if p.Adaptive <= 0 {
		return m
	}
	m -= m * math.Pow(p.Adaptive, 4) * float64(trainingSteps-timestep)
	if m < 0 != (p.Momentum < 0) {
		return 0
	}
	return m
}

// guide sets dst to the guided noise of one image. average holds the differences of
// earlier calls, by the given momentum, and takes this one.
func (p *Projection) guide(dst, prompt, negative, average []float32, momentum, scale float64) {
	difference := make([]float64, len(dst))
	var norm, own, along float64
	for i := range dst {
		difference[i] = float64(prompt[i]) - float64(negative[i]) + momentum*float64(average[i])
		average[i] = float32(difference[i])
		norm += difference[i] * difference[i]
		own += float64(prompt[i]) * float64(prompt[i])
	}
	shrink := 1.0
	if norm = math.Sqrt(norm); p.Threshold > 0 && norm > p.Threshold {
		shrink = p.Threshold / norm
	}
	for i, v := range prompt {
		difference[i] *= shrink
		along += difference[i] * float64(v)
	}
	if along /= own; math.IsNaN(along) || math.IsInf(along, 0) {
		along = 0 // a prediction without noise has no direction
	}
	for i, v := range prompt {
		parallel := along * float64(v)
		dst[i] = float32(float64(v) + (scale-1)*(difference[i]-parallel+p.Eta*parallel))
	}
}

// projected is guide by Options.Projection. A prompt with AND counts as one.
func (d *denoiser) projected(dst, prompt, negative []float32, level float32) {
	p := &d.job.Options.Projection
	sigma := level
	if d.family == timesteps {
		sigma = d.model.tToSigma(level)
	}
	if p.idle(float64(sigma)) {
		copy(dst, prompt)
		return
	}
	timestep := d.model.nearest(log(sigma))
	if d.averages == nil {
		d.averages = make([][]float32, len(d.job.Prompts))
	}
	for i, image := range d.images {
		momentum := p.momentumAt(timestep)
		if d.averages[image] == nil || timestep == trainingSteps-1 {
			d.averages[image], momentum = make([]float32, d.size), p.Momentum
		}
		x := d.image(d.inputs, image)
		noise, other := d.noiseIn(d.image(prompt, i), x, sigma), d.noiseIn(d.image(negative, i), x, sigma)
		p.guide(noise, noise, other, d.averages[image], momentum, d.job.CFGScale)
		d.withoutNoise(d.image(dst, i), noise, x, sigma)
	}
}

// zeroStar is guide with the negative prompt scaled to what it shares with the prompt:
// CFG-Zero* (Fan et al., 2025) without its idle first steps, which are for flow models.
func (d *denoiser) zeroStar(dst, prompt, negative []float32, scale float64) {
	for i, image := range d.images {
		x := d.image(d.inputs, image)
		noise, other := d.noiseIn(d.image(prompt, i), x, 1), d.noiseIn(d.image(negative, i), x, 1)
		var dot, square float64
		for k, v := range other {
			dot += float64(v) * float64(noise[k])
			square += float64(v) * float64(v)
		}
		share := dot / (square + 1e-8)
		for k, v := range noise {
			base := share * float64(other[k])
			noise[k] = float32(base + scale*(float64(v)-base))
		}
		d.withoutNoise(d.image(dst, i), noise, x, 1)
	}
}

// noiseIn is the noise, times its level, that a prediction for the input x implies.
func (d *denoiser) noiseIn(prediction, x []float32, sigma float32) []float32 {
	out := make([]float32, len(prediction))
	for i, v := range prediction {
		if d.family == timesteps {
			out[i] = v * sigma
		} else {
			out[i] = x[i] - v
		}
	}
	return out
}

// withoutNoise sets dst to the prediction that implies a noise; the inverse of noiseIn.
func (d *denoiser) withoutNoise(dst, noise, x []float32, sigma float32) {
	for i, v := range noise {
		if d.family == timesteps {
			dst[i] = v / sigma
		} else {
			dst[i] = x[i] - v
		}
	}
}
