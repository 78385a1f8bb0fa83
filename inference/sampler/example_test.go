package sampler_test

import (
	"context"
	"fmt"

	"sdworker/inference/rng"
	"sdworker/inference/sampler"
)

// A job needs noise, conditions and a UNet. The handles in the schedules mean
// whatever the UNet callback makes of them.
func ExampleSample() {
	const prompt, negative = 0, 1
	always := func(handle int) sampler.Schedule { return sampler.Schedule{{EndAt: 1 << 30, Cond: handle}} }
	job := &sampler.Job{
		Sampler:  "DPM++ 2M",
		Steps:    4,
		CFGScale: 7,
		RNG: rng.NewImageRNG(rng.ImageConfig{
			Source: rng.NV,
			Shape:  rng.Shape{C: 4, H: 64, W: 64},
			Seeds:  []int64{1234},
		}),
		Prompts:   [][]sampler.Part{{{Weight: 1, Schedule: always(prompt)}}},
		Negatives: []sampler.Schedule{always(negative)},
		Options:   sampler.DefaultOptions(),
		UNet: func(_ context.Context, b *sampler.Batch) ([]float32, error) {
			fmt.Printf("call %d: %d rows at timestep %.1f\n", b.Call, len(b.Rows), b.Timestep[0])
			return make([]float32, len(b.X)), nil
		},
	}
	latents, err := sampler.Sample(context.Background(), job)
	fmt.Println(len(latents), err)
	// Output:
	// call 0: 2 rows at timestep 999.0
	// call 1: 2 rows at timestep 687.2
	// call 2: 2 rows at timestep 145.9
	// call 3: 2 rows at timestep 0.0
	// 16384 <nil>
}
