//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

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
