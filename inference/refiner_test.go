package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
)

func TestRefinerTakesOver(t *testing.T) {
	run := func(change func(*inference.Request)) (calls []int, res *inference.Result) {
		b := newBench(t, nil)
		res = b.run(t, txt2img(func(r *inference.Request) {
			r.Sampler, r.Steps, r.BatchNum = "Euler", 10, 2
			r.Refiner = &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: 0.5}
			change(r)
		}))
		require.Equal(t, "a.safetensors", b.opened[0])
		for i, fake := range b.fakes {
			require.Equal(t, []string{"a.safetensors", "b.safetensors"}[i%2], b.opened[i])
			calls = append(calls, len(fake.Calls(enginetest.OpPredictNoise)))
		}
		return calls, res
	}
	// Timesteps of 10 steps are 999, 888, ..., 444: the fifth is the first below half.
	calls, res := run(func(*inference.Request) {})
	require.Equal(t, []int{5, 5, 5, 5}, calls, "each batch begins with the checkpoint")
	require.True(t, res.Refined)
	calls, _ = run(func(r *inference.Request) { r.Refiner.SwitchAt, r.Refiner.BySteps = 0.8, true })
	require.Equal(t, []int{8, 2, 8, 2}, calls)
	calls, res = run(func(r *inference.Request) { r.Refiner.SwitchAt = 1 })
	require.Equal(t, []int{20}, calls)
	require.False(t, res.Refined)
	calls, _ = run(func(r *inference.Request) { r.Refiner.SwitchAt, r.BatchNum = 0, 1 })
	require.Equal(t, []int{0, 10}, calls)

	hires := func(first, second bool) []int {
		calls, _ := run(func(r *inference.Request) {
			r.BatchNum, r.DenoisingStrength = 1, 1
			r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat", CFGScale: 7, Steps: 4}
			r.Refiner.BySteps, r.Refiner.FirstPass, r.Refiner.SecondPass = true, first, second
		})
		return calls
	}
	require.Equal(t, []int{12, 2}, hires(false, true))
	require.Equal(t, []int{5, 9}, hires(true, false), "the hires pass goes on with it")
}
