//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet/clipvision"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// TestGPUGraphs compares what a GPU is given to compute, zero-padded heads and direct
// convolutions, with what a CPU computes. Attention's f16 is all that may differ.
func TestGPUGraphs(t *testing.T) {
	const rows, side = 2, 24
	unet := inference.UNetInput{
		Latent: enginetest.Noise(1, rows*inference.LatentChannels*side*side), H: side, W: side, Timestep: []float32{500, 20},
		Context: enginetest.Noise(2, rows*inference.ChunkTokens*inference.TextWidth),
	}
	vae := inference.LatentInput{Latent: enginetest.Noise(3, inference.LatentChannels*side*side), H: side, W: side}
	type results struct{ noise, pixels []float32 }
	compute := func(o sdcpp.Options) (r results, widths map[string]bool) {
		o.Checkpoint = model(t, synth.Checkpoint)
		e := open(t, o)
		defer e.Close()
		widths = map[string]bool{}
		operations, err := e.Profile(t.Context(), func(ctx context.Context) (err error) {
			r.noise, err = e.PredictNoise(ctx, unet)
			return err
		})
		require.NoError(t, err)
		for _, o := range operations {
			widths[o.Kind] = true
		}
		r.pixels, err = e.Decode(t.Context(), vae)
		require.NoError(t, err)
		return r, widths
	}
	want, ours := compute(sdcpp.Options{})
	got, theirs := compute(sdcpp.Options{GPUGraphs: true, Attention: sdcpp.AttentionFused})
	require.True(t, theirs["PAD"], "heads are padded")
	require.False(t, theirs["IM2COL"], "convolutions are direct")
	require.False(t, ours["PAD"])
	require.Less(t, enginetest.RelativeError(want.noise, got.noise), 2e-3)
	require.Less(t, enginetest.RelativeError(want.pixels, got.pixels), 1e-4)
}

// A call for a device with memory of its own copies all it needs there at once, and the
// result back. A ControlNet's results are thirteen, which the host adds up for the UNet.
func TestOneCopyInAndOneOut(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), GPUGraphs: true})
	defer e.Close()
	chunk := enginetest.Chunk(320, inference.VocabSize)
	prompt, err := e.ImagePrompt(t.Context(), inference.ImagePromptInput{
		Adapter: model(t, synth.IPAdapter), Encoder: model(t, synth.ImageEncoder), Pixels: make([]float32, 3*clipvision.Side*clipvision.Side),
	})
	require.NoError(t, err)
	step := func(change func(*inference.UNetInput)) func() error {
		return func() error {
			in := unetInput(8, 8)
			change(&in)
			_, err := e.PredictNoise(t.Context(), in)
			return err
		}
	}
	controlled := step(func(in *inference.UNetInput) {
		in.Control = []inference.ControlInput{{
			Model: model(t, synth.ControlNet), Hint: make([]float32, 3*64*64), Rows: []float32{1}, Layers: make([]float32, inference.ControlLayers),
		}}
	})
	require.NoError(t, controlled()) // from now on it knows the hint
	one, control := [2]int{1, 1}, [2]int{2, 1 + inference.ControlLayers}
	for _, c := range []struct {
		what string
		want [2]int
		call func() error
	}{
		{"text", one, func() error {
			_, err := e.EncodeText(t.Context(), inference.TextInput{
				Chunks: [][inference.ChunkTokens]int32{chunk}, Vectors: [][]float32{make([]float32, inference.TextWidth)}, Skip: 1,
			})
			return err
		}},
		{"step", one, step(func(*inference.UNetInput) {})},
		{"step with all that acts inside", one, step(func(in *inference.UNetInput) {
			in.FreeU, in.Perturbed = inference.SimpleFreeU(2, 1.3, 1.4, 0.9, 0.2), []float32{1}
			in.Images = []inference.ImageInput{{Tokens: prompt.Tokens, Values: [][]float32{prompt.Seen}}}
		})},
		{"step with a ControlNet", control, controlled},
		{"decode", one, func() error {
			_, err := e.Decode(t.Context(), inference.LatentInput{Latent: make([]float32, 4*64), H: 8, W: 8})
			return err
		}},
		{"encode", one, func() error {
			_, err := e.Encode(t.Context(), inference.PixelInput{Pixels: make([]float32, 3*64), H: 8, W: 8})
			return err
		}},
		{"preview", one, func() error {
			_, err := e.DecodePreview(t.Context(), model(t, synth.TAESD), make([]float32, 4*64), 8, 8)
			return err
		}},
		{"upscale", one, func() error {
			_, _, err := e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: model(t, synth.ESRGAN)}, make([]float32, 3*64), 8, 8)
			return err
		}},
	} {
		for range 2 { // the second time the graph is there
			in, out := e.Copies()
			require.NoError(t, c.call(), c.what)
			afterIn, afterOut := e.Copies()
			t.Logf("%s: %d to the device, %d back", c.what, afterIn-in, afterOut-out)
			require.Equal(t, c.want, [2]int{afterIn - in, afterOut - out}, c.what)
		}
	}
}
