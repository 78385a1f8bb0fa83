package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
)

func unitOf(module string, change func(*inference.ControlUnit)) inference.ControlUnit {
	u := inference.ControlUnit{
		Model: "/c/a.safetensors", Module: module, Image: gradient(64, 48), Weight: 1, End: 1, ThresholdA: -1, ThresholdB: -1,
		LowRes: true, HighRes: true, ReturnMap: true,
	}
	if change != nil {
		change(&u)
	}
	return u
}

func TestControlMapsOfAHiresJob(t *testing.T) {
	b := newBench(t, nil)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.BatchNum, r.DenoisingStrength = 2, 0.5
		r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat", CFGScale: 7}
		mask := halfMask(64, 48)
		r.Control = []inference.ControlUnit{
			unitOf("inpaint_only", func(u *inference.ControlUnit) { u.Mask = &mask }),
			unitOf("canny", func(u *inference.ControlUnit) { u.ReturnMap = false }),
			unitOf("none", func(u *inference.ControlUnit) { u.HighRes = false }),
		}
	}))
	var sizes [][2]int
	for _, m := range res.Maps {
		sizes = append(sizes, [2]int{m.W, m.H})
	}
	require.Equal(t, [][2]int{{128, 96}, {64, 48}, {128, 96}, {64, 48}}, sizes)
	require.Equal(t, []uint8{255, 128}, []uint8{res.Maps[1].Pix[3], res.Maps[1].Pix[4*63+3]}, "what is masked is half transparent")
	require.True(t, res.Maps[2].Opaque())
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls[0].UNet.Control, 3)
	require.Len(t, calls[len(calls)-1].UNet.Control, 2)
}

// The picture outside of the mask is the unit's own, and the ControlNet sees -1 inside.
func TestInpaintOnlyKeepsWhatIsNotMasked(t *testing.T) {
	b := newBench(t, nil)
	mask := halfMask(64, 48)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{unitOf("inpaint_only", func(u *inference.ControlUnit) { u.Mask = &mask })}
	}))
	want, got := gradient(64, 48), res.Images[0].Pixels
	for _, x := range []int{0, 10, 25} {
		for c := range 3 {
			require.InDelta(t, want.Pix[3*(20*64+x)+c], got.Pix[3*(20*64+x)+c], 1)
		}
	}
	seen := b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Control[0].Hint
	require.InDelta(t, -1, seen[20*64+60], 0)
	require.InDelta(t, float64(want.Pix[3*(20*64+5)])/255, seen[20*64+5], 1e-6)
}

// A unit without a picture of its own takes the init image with the job's mask, cut as
// the job cuts it.
func TestControlUnitsOfTheInitImage(t *testing.T) {
	corner := imageio.NewGray(64, 48)
	for i := range corner.Pix {
		if i%64 >= 32 && i/64 >= 24 {
			corner.Pix[i] = 255
		}
	}
	seen := func(only, crop bool) []float32 {
		b := newBench(t, nil)
		b.run(t, img2img(func(r *inference.Request) {
			r.Init.Mask = &inference.Mask{Image: corner, Fill: 1, OnlyMasked: only}
			r.Control = []inference.ControlUnit{unitOf("inpaint", func(u *inference.ControlUnit) { u.OfInit, u.CropToMask, u.Image = true, crop, imageio.RGB{} })}
		}))
		return b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Control[0].Hint
	}
	masked := func(seen []float32) (n int) {
		for _, v := range seen[:64*48] {
			if v == -1 {
				n++
			}
		}
		return n
	}
	require.Equal(t, 32*24, masked(seen(false, true)))
	require.Equal(t, 32*24, masked(seen(true, false)))
	require.Equal(t, 64*48, masked(seen(true, true)))
}

func TestLayerWeightsReplaceTheWeight(t *testing.T) {
	b := newBench(t, nil)
	weights := make([]float64, inference.ControlLayers)
	weights[3] = 0.25
	b.run(t, txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{unitOf("canny", func(u *inference.ControlUnit) {
			u.LayerWeights, u.Weight, u.Mode = weights, 0.5, inference.ControlModePrompt
		})}
	}))
	unit := b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Control[0]
	require.Equal(t, []float32{1, 1}, unit.Rows)
	require.InDelta(t, 0.25, unit.Layers[3], 0)
	require.InDelta(t, 0, unit.Layers[12], 0)
}

func TestFreeUAndPerturbedRowsReachTheEngine(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Prompt, r.Sampler, r.BatchSize = "a cat AND a dog", "Euler", 2
		r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(2, 1.5, 1.6, 0.9, 0.2), End: 0.5}
		r.Settings.Perturbation = sampler.Perturbation{Scale: 3, Start: 0.5, End: 1}
	}))
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls, 4)
	// A call is at the step that was reported last, as for A1111's scripts.
	require.Equal(t, inference.SimpleFreeU(2, 1.5, 1.6, 0.9, 0.2), calls[2].UNet.FreeU)
	require.Nil(t, calls[2].UNet.Perturbed)
	require.Equal(t, 6, calls[2].UNet.Rows(), "two parts and the negative prompt of two images")
	require.Zero(t, calls[3].UNet.FreeU)
	require.Equal(t, []float32{0, 0, 0, 0, 1, 1, 1, 1, 0, 0}, calls[3].UNet.Perturbed)
}

func TestRegionsAreScaledToTheResiduals(t *testing.T) {
	b := newBench(t, nil)
	region := halfMask(64, 48)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{unitOf("none", func(u *inference.ControlUnit) { u.Region = &region })}
	}))
	got := b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Control[0].Region
	require.Len(t, got, 6*8+3*4+2*2+1)
	require.Equal(t, []float32{0, 0, 0, 0, 1, 1, 1, 1}, got[:8])
	require.Equal(t, []float32{0, 1, 0, 1}, got[60:64])
	require.InDelta(t, 0.5, got[64], 1e-6, "between the two middle pixels")
}
