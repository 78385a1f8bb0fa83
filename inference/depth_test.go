package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
)

func depthUnit(u *inference.ControlUnit) {
	u.Network, u.Resolution = "/d/depth_anything_vits14.pth", 64
}

// The network looks at a unit's picture once for both passes, and the ControlNet gets what
// it saw.
func TestDepthOfUnits(t *testing.T) {
	b := newBench(t, nil)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.DenoisingStrength = 0.5
		r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat", CFGScale: 7}
		r.Control = []inference.ControlUnit{unitOf("depth_anything", depthUnit)}
	}))
	looks := b.engine().Calls(enginetest.OpDepth)
	require.Len(t, looks, 1)
	require.Equal(t, "/d/depth_anything_vits14.pth", looks[0].Path)
	require.Len(t, res.Maps, 2)
	m := res.Maps[1]
	require.Equal(t, [2]int{64, 48}, [2]int{m.W, m.H})
	require.Less(t, m.Pix[0], m.Pix[4*(m.W*m.H-1)], "what is low is near")
	require.NotEmpty(t, b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Control)
}

// A request for maps alone makes no pictures.
func TestMapsOnly(t *testing.T) {
	b := newBench(t, nil)
	req := inference.MapsOf(inference.Files{Checkpoint: "a.safetensors"}, unitOf("depth_anything", depthUnit), unitOf("canny", func(u *inference.ControlUnit) { u.Resolution = 64 }))
	res := b.run(t, req)
	require.Empty(t, res.Images)
	require.Len(t, res.Maps, 2)
	require.Equal(t, []int{85, 64, 85, 64}, []int{res.Maps[0].W, res.Maps[0].H, res.Maps[1].W, res.Maps[1].H})
	require.Empty(t, b.engine().Calls(enginetest.OpPredictNoise))

	b.engine().Before = enginetest.FailAt(enginetest.OpDepth, 1, fault.Errorf(fault.Exhausted, "depth", "no room"))
	_, err := b.Generate(t.Context(), inference.MapsOf(inference.Files{Checkpoint: "a.safetensors"}, unitOf("depth_anything", func(u *inference.ControlUnit) {
		depthUnit(u)
		u.Image = imageio.Fill(70, 60, [3]uint8{1, 2, 3})
	})), inference.Hooks{})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err))
}
