package inference_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
)

// Strengths that sd-webui-freeu has in its calls of a run of 8 steps.
func TestFreeUByCalls(t *testing.T) {
	full := inference.SimpleFreeU(1, 1.4, 1, 1, 1)
	for _, tc := range []struct {
		f    inference.TimedFreeU
		want []float64 // strength of each call; calls beyond have none
	}{
		{inference.TimedFreeU{End: 1}, []float64{1, 1, 1, 1, 1, 1, 1, 1}},
		{inference.TimedFreeU{Start: 0.25, End: 0.75}, []float64{0, 0, 1, 1, 1, 1}},
		{inference.TimedFreeU{Start: 0.25, End: 0.75, Smoothness: 1}, []float64{0, 0.5, 1, 0.75, 0.5, 0.25}},
		{inference.TimedFreeU{Start: 2, End: 6, StartCall: true, EndCall: true, Smoothness: 0.5}, []float64{0, 0.25, 1, 0.875, 0.75, 0.625}},
		{inference.TimedFreeU{Start: 0.5, End: 0.5, Smoothness: 1}, nil},
		{inference.TimedFreeU{End: 10, EndCall: true}, slices.Repeat([]float64{1}, 10)}, // on into the hires pass
	} {
		tc.f.FreeU, tc.f.ByCalls = full, true
		b := newBench(t, nil)
		b.run(t, txt2img(func(r *inference.Request) {
			r.Sampler, r.Steps, r.DenoisingStrength, r.Settings.FreeU = "Euler", 8, 1, tc.f
			r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat", CFGScale: 7, Steps: 4}
		}))
		calls := b.engine().Calls(enginetest.OpPredictNoise)
		require.Len(t, calls, 12)
		for i, call := range calls {
			strength := 0.0
			if i < len(tc.want) {
				strength = tc.want[i]
			}
			if strength == 0 {
				require.Zero(t, call.UNet.FreeU, "%+v call %d", tc.f, i)
				continue
			}
			require.InDelta(t, 1+0.4*strength, call.UNet.FreeU.Stages[0].Backbone, 1e-12, "%+v call %d", tc.f, i)
		}
	}
}

func TestFreeUChecks(t *testing.T) {
	for _, change := range []func(*inference.TimedFreeU){
		func(f *inference.TimedFreeU) { f.Version = 3 },
		func(f *inference.TimedFreeU) { f.Stages[2].Backbone = 5 },
		func(f *inference.TimedFreeU) { f.Stages[1].Cutoff = 1.5 },
		func(f *inference.TimedFreeU) { f.Stages[0].Window.To = 2 },
		func(f *inference.TimedFreeU) { f.Smoothness = -1 },
	} {
		f := inference.TimedFreeU{FreeU: inference.SimpleFreeU(2, 1, 1, 1, 1), End: 1}
		require.NoError(t, f.Check())
		change(&f)
		require.Error(t, f.Check())
	}
}
