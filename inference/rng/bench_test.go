package rng_test

import (
	"testing"

	"sdworker/inference/rng"
)

var latent512 = rng.Shape{C: 4, H: 64, W: 64}

func BenchmarkNoise512(b *testing.B) {
	for _, src := range []rng.Source{rng.CPU, rng.NV} {
		b.Run(src.String(), func(b *testing.B) {
			r := rng.NewImageRNG(rng.ImageConfig{Source: src, Shape: latent512, Seeds: []int64{1}})
			dst := make([]float32, r.Len())
			for b.Loop() {
				r.Next(dst)
			}
		})
	}
}

// One operation is the noise of one step of a 20 step job.
func BenchmarkBrownian512(b *testing.B) {
	for _, src := range []rng.Source{rng.CPU, rng.NV} {
		b.Run(src.String(), func(b *testing.B) {
			dst := make([]float32, latent512.Len())
			const steps = 20
			step := steps
			var noise *rng.Brownian
			var sigma float32
			for b.Loop() {
				if step == steps {
					noise = rng.NewBrownian(src, []int64{1}, latent512, 0.03, 14.6)
					step, sigma = 0, 14.6
				}
				next := sigma * 0.73
				noise.Noise(dst, sigma, next)
				sigma = next
				step++
			}
		})
	}
}
