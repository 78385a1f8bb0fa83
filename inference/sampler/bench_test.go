package sampler_test

import (
	"context"
	"testing"

	"sdworker/inference/rng"
	"sdworker/inference/sampler"
)

// BenchmarkJob runs 20 steps at 512x512 with a UNet that costs nothing: the time
// that sampling adds to a job.
func BenchmarkJob(b *testing.B) {
	in := loadInputs(b)
	shape := rng.Shape{C: 4, H: 64, W: 64}
	for _, name := range []string{"Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "UniPC"} {
		b.Run(name, func(b *testing.B) {
			var out []float32
			for b.Loop() {
				job := simpleJob(in, name, "", 20, shape, 1)
				job.UNet = func(_ context.Context, batch *sampler.Batch) ([]float32, error) {
					if out == nil {
						out = make([]float32, len(batch.X))
					}
					clear(out)
					return out[:len(batch.X)], nil
				}
				if _, err := sampler.Sample(b.Context(), job); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
