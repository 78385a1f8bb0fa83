package inference_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
)

// TestRefinerVectors compares the call at which the refiner takes over with A1111's rule,
// written down once more; see testdata/record_refiner.py.
func TestRefinerVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/refiner.json")
	require.NoError(t, err)
	var cases []struct {
		Sampler, Scheduler string
		Steps              int
		Strength           *float64
		BySteps            bool `json:"by_steps"`
		At                 float64
		Before, After      int
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	for _, tc := range cases {
		b := newBench(t, nil)
		request := txt2img
		if tc.Strength != nil {
			request = img2img
		}
		res := b.run(t, request(func(r *inference.Request) {
			r.Width, r.Height = 16, 16
			r.Sampler, r.Scheduler, r.Steps = tc.Sampler, tc.Scheduler, tc.Steps
			if tc.Strength != nil {
				r.DenoisingStrength = *tc.Strength
			}
			r.Refiner = &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: tc.At, BySteps: tc.BySteps}
		}))
		calls := []int{0, 0}
		for i, fake := range b.fakes {
			calls[i] = len(fake.Calls(enginetest.OpPredictNoise))
		}
		require.Equal(t, []int{tc.Before, tc.After}, calls, "%+v", tc)
		require.Equal(t, tc.After > 0, res.Refined)
	}
}

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
	require.Equal(t, []int{5, 5, 4}, hires(true, false), "the hires pass is the checkpoint's")
	require.Equal(t, []int{5, 5, 2, 2}, hires(true, true), "each pass begins with the checkpoint")
}

func TestHiresPassOfAnotherCheckpoint(t *testing.T) {
	run := func(upscaler string, change func(*inference.Request)) (opened []string, decoded, encoded, noise []int) {
		b := newBench(t, nil)
		b.run(t, txt2img(func(r *inference.Request) {
			r.Sampler, r.DenoisingStrength = "Euler", 1
			r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: upscaler, Sampler: "Euler", Prompt: "a cat", CFGScale: 7, Steps: 2}
			change(r)
		}))
		for _, fake := range b.fakes {
			decoded = append(decoded, len(fake.Calls(enginetest.OpDecode)))
			encoded = append(encoded, len(fake.Calls(enginetest.OpEncode)))
			noise = append(noise, len(fake.Calls(enginetest.OpPredictNoise)))
		}
		return b.opened, decoded, encoded, noise
	}
	other := func(r *inference.Request) { r.Hires.Checkpoint = "b.safetensors" }
	opened, decoded, encoded, noise := run("Lanczos", other)
	require.Equal(t, []string{"a.safetensors", "b.safetensors"}, opened)
	require.Equal(t, []int{1, 1}, decoded, "what is enlarged is decoded by the VAE of the checkpoint that made it")
	require.Equal(t, []int{0, 1}, encoded)
	require.Equal(t, []int{4, 2}, noise)

	_, decoded, encoded, _ = run("Latent", other)
	require.Equal(t, []int{0, 1}, decoded)
	require.Equal(t, []int{0, 0}, encoded)

	opened, decoded, encoded, noise = run("Lanczos", func(r *inference.Request) {
		r.Refiner = &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: 0.5, BySteps: true, FirstPass: true}
	})
	require.Equal(t, []string{"a.safetensors", "b.safetensors", "a.safetensors"}, opened)
	require.Equal(t, []int{0, 1, 1}, decoded)
	require.Equal(t, []int{0, 0, 1}, encoded)
	require.Equal(t, []int{2, 2, 2}, noise)
}

// The refiner takes over at its call, whatever the step cache has of the checkpoint.
func TestStepCacheAndRefiner(t *testing.T) {
	first := func(at, threshold float64) float32 {
		b := newBench(t, nil)
		b.run(t, txt2img(func(r *inference.Request) {
			r.Steps, r.Settings.StepCache = 20, threshold
			r.Refiner = &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: at, BySteps: true}
		}))
		return b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Timestep[0]
	}
	for at := 0.2; at < 0.9; at += 0.1 {
		require.Equal(t, first(at, 0), first(at, 0.9), "the refiner takes over at %g", at)
	}
}
