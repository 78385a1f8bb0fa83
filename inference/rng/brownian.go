package rng

import "math"

// Brownian is the noise of the SDE samplers: k-diffusion's
// BrownianTreeNoiseSampler with one tree per image. It is not safe for
// concurrent use.
type Brownian struct {
	trees []*brownianTree
	size  int // values of one image
	ahead *aheadNoise
	spare []float32 // memory of the noise made ahead
}

// aheadNoise is noise under way in the background.
type aheadNoise struct {
	sigma, next float32
	done        chan struct{}
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

// Prepare starts to make the noise of a step in the background, so that it costs
// no time beside a UNet call: a step takes about 25 draws for each image. Noise
// or Close must follow.
func (b *Brownian) Prepare(sigma, next float32) {
	b.Close()
	if b.spare == nil {
		b.spare = make([]float32, b.size*len(b.trees))
	}
	ahead := &aheadNoise{sigma, next, make(chan struct{})}
	b.ahead = ahead
	go func() {
		defer close(ahead.done)
		b.fill(b.spare, sigma, next)
	}()
}

// Close waits for noise under way.
func (b *Brownian) Close() {
	if b.ahead != nil {
		<-b.ahead.done
		b.ahead = nil
	}
}

// Noise fills dst [N,C,H,W] with the unit-variance noise of the step from sigma
// down to next. Steps that touch are independent, steps that overlap are
// correlated as one path is.
func (b *Brownian) Noise(dst []float32, sigma, next float32) {
	ahead := b.ahead
	b.Close()
	if ahead != nil && ahead.sigma == sigma && ahead.next == next {
		copy(dst, b.spare)
		return
	}
	b.fill(dst, sigma, next)
}

func (b *Brownian) fill(dst []float32, sigma, next float32) {
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
