package rng

import "math"

// Brownian is the noise of the SDE samplers: k-diffusion's
// BrownianTreeNoiseSampler with one tree per image.
type Brownian struct {
	trees []*brownianTree
	size  int // values of one image
}

// NewBrownian returns the noise of a batch over the sigmas [sigmaMin, sigmaMax],
// which are the smallest sigma above 0 and the largest of the whole schedule.
func NewBrownian(src Source, seeds []int64, shape Shape, sigmaMin, sigmaMax float32) *Brownian {
	b := &Brownian{trees: make([]*brownianTree, len(seeds)), size: shape.Len()}
	for i, seed := range seeds {
		b.trees[i] = newBrownianTree(src, uint64(seed), float64(sigmaMin), float64(sigmaMax), b.size)
	}
	return b
}

// Noise fills dst [N,C,H,W] with the unit-variance noise of the step from sigma
// down to next. Steps that touch are independent, steps that overlap are
// correlated as one path is.
func (b *Brownian) Noise(dst []float32, sigma, next float32) {
	scale := float32(math.Sqrt(math.Abs(float64(next - sigma))))
	for i, t := range b.trees {
		image := dst[i*b.size : (i+1)*b.size]
		t.increment(image, float64(min(sigma, next)), float64(max(sigma, next)))
		if scale == 0 {
			continue
		}
		divisor := scale
		if next < sigma {
			divisor = -scale // the path runs up in sigma, the sampler down
		}
		for j := range image {
			image[j] /= divisor
		}
	}
}
