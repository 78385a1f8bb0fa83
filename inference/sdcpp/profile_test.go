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

func TestProfile(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	in := inference.UNetInput{
		Latent: enginetest.Noise(1, 2*inference.LatentChannels*16*16), H: 16, W: 16, Timestep: []float32{500, 500},
		Context: enginetest.Noise(2, 2*inference.ChunkTokens*inference.TextWidth),
	}
	want, err := e.PredictNoise(t.Context(), in)
	require.NoError(t, err)

	var got []float32
	operations, err := e.Profile(t.Context(), func(ctx context.Context) error {
		got, err = e.PredictNoise(ctx, in)
		return err
	})
	require.NoError(t, err)
	require.Equal(t, want, got, "one operation after the other gives the same numbers")

	kinds := map[string]inference.Operation{}
	for _, o := range operations {
		require.Positive(t, o.Seconds, o)
		require.Positive(t, o.Calls, o)
		sum := kinds[o.Kind]
		kinds[o.Kind] = inference.Operation{Calls: sum.Calls + o.Calls, FLOPs: sum.FLOPs + o.FLOPs}
	}
	// The UNet has 16 transformers with two attentions and one gate each.
	require.Equal(t, 32, kinds["attention"].Calls)
	require.Positive(t, kinds["attention"].FLOPs)
	require.Positive(t, kinds["linear"].FLOPs)
	require.Equal(t, 52, kinds["convolution 3x3"].Calls)
	if !e.Info().GPU {
		require.Equal(t, 16, kinds["geglu"].Calls)
		peak, err := e.PeakFLOPS(t.Context())
		require.NoError(t, err)
		require.Greater(t, peak, 1e8)
	}

	_, err = e.Profile(t.Context(), func(context.Context) error { return context.DeadlineExceeded })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	none, err := e.Profile(t.Context(), func(context.Context) error { return nil })
	require.NoError(t, err)
	require.Empty(t, none, "each profile begins anew")
}
