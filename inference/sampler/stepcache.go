package sampler

import (
	"math"
	"slices"
)

// The first and the last steps always have a prediction of their own: the early
// ones decide the composition, the last one the finest detail. The shares are
// those of stable-diffusion.cpp's caches.
const (
	cacheFrom = 0.15
	cacheTo   = 0.95
)

// stepCache lets a call take the picture that an earlier one predicted, where the
// prediction would hardly change. What it would change by is estimated as in
// EasyCache (Zhou et al., "Less is enough: training-free video diffusion
// acceleration via runtime-adaptive caching", 2025): by how far the input moved
// since, times the ratio of output and input change between the last two
// predictions.
//
// What is kept is the guided picture, not the noise: for the same picture the
// noise in x, also what an ancestral sampler just added, is taken out in full.
//
// Each image decides alone, so that a picture does not depend on its batch.
type stepCache struct {
	threshold float64 // relative change of the picture that is accepted
	images    []cachedImage
}

// inForce tells whether the call after so many reported steps may be served.
func inForce(reported, steps int) bool {
	last := min(cacheTo*float64(steps), float64(steps-1))
	return float64(reported) >= cacheFrom*float64(steps) && float64(reported) < last
}

// cachedImage is the last prediction of one image.
type cachedImage struct {
	conds  []Row     // what it was predicted for; empty before the first
	inputs uint64    // see Job.Inputs
	input  []float32 // as the network saw it
	result []float32 // the guided picture
	rate   float64   // change of the picture per change of the input; NaN before the second
}

// newStepCache returns nil where the option is off, and for the samplers that
// make steps of their own out of several calls.
func newStepCache(job *Job, info Info) *stepCache {
	if job.Options.StepCache <= 0 || info.ownSteps {
		return nil
	}
	return &stepCache{threshold: job.Options.StepCache, images: make([]cachedImage, len(job.Prompts))}
}

// serves tells whether the prediction of an image can stand in for one at input
// under the given conditions.
func (c *stepCache) serves(image int, input []float32, conds []Row, inputs uint64) bool {
	e := &c.images[image]
	if len(e.conds) == 0 || e.inputs != inputs || !slices.Equal(e.conds, conds) {
		return false
	}
	change := e.rate * distance(input, e.input)
	return change <= c.threshold*magnitude(e.result) // false for NaN
}

// keep stores a new prediction.
func (c *stepCache) keep(image int, input, result []float32, conds []Row, inputs uint64) {
	e := &c.images[image]
	e.rate = math.NaN()
	if len(e.conds) > 0 {
		e.rate = distance(result, e.result) / distance(input, e.input)
	}
	e.conds, e.inputs = append(e.conds[:0], conds...), inputs
	e.input = append(e.input[:0], input...)
	e.result = append(e.result[:0], result...)
}

// distance is the sum of the absolute differences.
func distance(a, b []float32) float64 {
	var sum float64
	for i, v := range a {
		sum += math.Abs(float64(v) - float64(b[i]))
	}
	return sum
}

// magnitude is the sum of the absolute values.
func magnitude(a []float32) float64 {
	var sum float64
	for _, v := range a {
		sum += math.Abs(float64(v))
	}
	return sum
}
