package sampler

import (
	"math"
	"slices"
)

// Thresholding keeps guidance of a high scale within the range of values that a lower
// scale has: dynamic thresholding as of the extension of that name by mcmonkey
// (dynthres_core.py). It acts on the predictions of the sampler: pictures without
// noise, or eps with the DDIM family.
type Thresholding struct {
	Enabled     bool
	MimicScale  float64 // the scale whose range is kept
	Percentile  float64 // 0..1, of the values that are not clamped
	MimicMode   string  // how the scales change over the steps, one of ThresholdModes
	MimicMin    float64 // the scale that MimicMode changes from or to
	CFGMode     string
	CFGMin      float64
	SchedValue  float64 // power or number of periods of the modes that have one
	AllChannels bool    // one range for all channels of an image instead of one for each
	FromZero    bool    // values are scaled from 0 instead of from their mean
	Deviation   bool    // the range is the standard deviation instead of the largest value
	Phi         float64 // 0..1, how much of the result is taken; the rest is plain guidance
}

// ThresholdModes are the modes of Thresholding; the first is the default.
var ThresholdModes = []string{
	"Constant", "Linear Down", "Cosine Down", "Half Cosine Down", "Linear Up", "Cosine Up", "Half Cosine Up",
	"Power Up", "Power Down", "Linear Repeating", "Cosine Repeating", "Sawtooth",
}

// at is a scale at a step.
func (t *Thresholding) at(scale, low float64, mode string, step, steps int) float64 {
	x := float64(step) / float64(max(steps-1, 1))
	scale -= low
	const quarter, whole = 1.5707, 6.28318 // as the extension has them
	switch mode {
	case "Linear Down":
		scale *= 1 - x
	case "Half Cosine Down":
		scale *= math.Cos(x)
	case "Cosine Down":
		scale *= math.Cos(x * quarter)
	case "Linear Up":
		scale *= x
	case "Half Cosine Up":
		scale *= 1 - math.Cos(x)
	case "Cosine Up":
		scale *= 1 - math.Cos(x*quarter)
	case "Power Up":
		scale *= math.Pow(x, t.SchedValue)
	case "Power Down":
		scale *= 1 - math.Pow(x, t.SchedValue)
	case "Linear Repeating":
		scale *= math.Abs(0.5-math.Mod(x*t.SchedValue, 1)) * 2
	case "Cosine Repeating":
		scale *= math.Cos(x*whole*t.SchedValue)*0.5 + 0.5
	case "Sawtooth":
		scale *= math.Mod(x*t.SchedValue, 1)
	}
	return scale + low
}

// apply changes guided, the plain guidance of one image, to the range that mimic, its
// guidance of the mimicked scale, has.
func (t *Thresholding) apply(guided, mimic []float32) {
	const channels = 4
	n := len(guided) / channels
	means, centred, mimicked := make([]float64, channels), make([]float64, len(guided)), make([]float64, len(guided))
	for c := range channels {
		at := c * n
		means[c] = centre(centred[at:at+n], guided[at:at+n])
		centre(mimicked[at:at+n], mimic[at:at+n])
	}
	if t.AllChannels {
		n = len(guided)
	}
	for at := 0; at < len(guided); at += n {
		own, other := t.spread(centred[at:at+n], t.Percentile), t.spread(mimicked[at:at+n], 1)
		limit := max(own, other)
		for i := at; i < at+n; i++ {
			mean := means[i*channels/len(guided)]
			var v float64
			switch {
			case t.FromZero:
				v = float64(guided[i]) * (other / own)
			case t.Deviation:
				v = centred[i]/own*other + mean
			default:
				v = min(max(centred[i], -limit), limit)/limit*other + mean
			}
			if v != v || math.IsInf(v, 0) { // nothing to scale by
				continue
			}
			guided[i] = float32(v*t.Phi + float64(guided[i])*(1-t.Phi))
		}
	}
}

// centre sets dst to x less its mean, which it returns.
func centre(dst []float64, x []float32) float64 {
	var mean float64
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	for i, v := range x {
		dst[i] = float64(v) - mean
	}
	return mean
}

// spread is how far values lie from 0: their standard deviation, or the size that the
// given share of them does not exceed.
func (t *Thresholding) spread(x []float64, share float64) float64 {
	if t.Deviation {
		return stdDev(x)
	}
	sizes := make([]float64, len(x))
	for i, v := range x {
		sizes[i] = math.Abs(v)
	}
	slices.Sort(sizes)
	at := share * float64(len(sizes)-1) // between two values in proportion, as torch.quantile
	low := int(at)
	high := min(low+1, len(sizes)-1)
	return sizes[low] + (sizes[high]-sizes[low])*(at-float64(low))
}

// stdDev is torch.std: with Bessel's correction.
func stdDev(x []float64) float64 {
	var mean, sum float64
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}

// rescale gives guided, the guidance of one image, a share phi of the standard
// deviation that prompt, its guidance of scale 1, has (Lin et al., "Common Diffusion
// Noise Schedules and Sample Steps are Flawed", 2023, section 3.4).
func rescale(guided, prompt []float32, phi float64) {
	wide := func(x []float32) []float64 {
		out := make([]float64, len(x))
		for i, v := range x {
			out[i] = float64(v)
		}
		return out
	}
	factor := stdDev(wide(prompt)) / stdDev(wide(guided))
	if factor != factor || math.IsInf(factor, 0) {
		return
	}
	factor = phi*factor + 1 - phi
	for i, v := range guided {
		guided[i] = float32(float64(v) * factor)
	}
}

// guideWithin is guide with what Options asks for beyond the plain formula.
func (d *denoiser) guideWithin(dst, out, negative []float32, level float32) {
	o, scale := &d.job.Options, d.job.CFGScale
	t := &o.Thresholding
	if t.Enabled {
		scale = t.at(scale, t.CFGMin, t.CFGMode, d.batch.Step, d.batch.Steps)
	}
	other := make([]float32, len(dst))
	switch {
	case o.Projection.Enabled:
		guide(other, out, d.size, d.parts, negative, 1)
		d.projected(dst, other, negative, level)
	case o.ZeroStar:
		guide(other, out, d.size, d.parts, negative, 1)
		d.zeroStar(dst, other, negative, scale)
	default:
		guide(dst, out, d.size, d.parts, negative, scale)
	}
	if t.Enabled {
		guide(other, out, d.size, d.parts, negative, t.at(t.MimicScale, t.MimicMin, t.MimicMode, d.batch.Step, d.batch.Steps))
		for i := range d.parts {
			t.apply(d.image(dst, i), d.image(other, i))
		}
	}
	if o.CFGRescale > 0 {
		guide(other, out, d.size, d.parts, negative, 1)
		for i := range d.parts {
			rescale(d.image(dst, i), d.image(other, i), o.CFGRescale)
		}
	}
}
