//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// textInput is a call whose rows have texts of these numbers.
func textInput(tokens int, texts ...uint64) inference.UNetInput {
	in := inference.UNetInput{H: 8, W: 8}
	for _, n := range texts {
		in.Timestep = append(in.Timestep, 400)
		in.Latent = append(in.Latent, noiseOf(77, 4*8*8)...)
		in.Context = append(in.Context, noiseOf(n, tokens*inference.TextWidth)...)
	}
	return in
}

func noiseOf(seed uint64, n int) []float32 {
	r, v := rand.New(rand.NewPCG(seed, 1)), make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// TestTextsOfEarlierCallsChangeNothing: keys and values that are kept of texts give, bit
// for bit, what an engine gives that has seen none of them.
func TestTextsOfEarlierCallsChangeNothing(t *testing.T) {
	checkpoint, lora := model(t, synth.Checkpoint), model(t, synth.LoRA)
	predict := func(e *sdcpp.Engine, in inference.UNetInput) []float32 {
		out, err := e.PredictNoise(t.Context(), in)
		require.NoError(t, err)
		return out
	}
	fresh := func(in inference.UNetInput, loras ...inference.LoRA) []float32 {
		e := open(t, sdcpp.Options{Checkpoint: checkpoint})
		defer e.Close()
		setLoRAs(t, e, loras...)
		return predict(e, in)
	}
	e := open(t, sdcpp.Options{Checkpoint: checkpoint})
	defer e.Close()

	two := textInput(77, 1, 2)
	want := fresh(two)
	require.NotEqual(t, want[:len(want)/2], want[len(want)/2:], "texts act")
	require.Equal(t, want, predict(e, two))
	require.Equal(t, want, predict(e, two), "the same again")
	for _, texts := range [][]uint64{{2, 1}, {1, 1, 3}, {4, 1, 4, 2}} {
		in := textInput(77, texts...)
		require.Equal(t, fresh(in), predict(e, in), "texts %d", texts)
	}
	long := textInput(154, 1, 5)
	require.Equal(t, fresh(long), predict(e, long), "another length")
	require.Equal(t, want, predict(e, two))

	var many []uint64 // more than are kept
	for n := range uint64(20) {
		many = append(many, 100+n)
	}
	in := textInput(77, many...)
	require.Equal(t, fresh(in), predict(e, in))
	require.Equal(t, want, predict(e, two))

	adapter := inference.LoRA{Path: lora, UNet: 1, TextEncoder: 1}
	changed := fresh(two, adapter)
	require.NotEqual(t, want, changed)
	setLoRAs(t, e, adapter)
	require.Equal(t, changed, predict(e, two), "weights of the layers have changed")
	setLoRAs(t, e)
	require.Equal(t, want, predict(e, two), "and again")
}

// TestTextsAreKept: all layers that make keys and values of texts are such that keep them.
func TestTextsAreKept(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	in := unetInput(16, 16) // of 8x8 cells the middle is a single one, whose attention is ggml's
	operations, err := e.Profile(t.Context(), func(ctx context.Context) error {
		_, err := e.PredictNoise(ctx, in)
		return err
	})
	require.NoError(t, err)
	kept := 0
	for _, o := range operations {
		if o.Kind == "linear of text" {
			kept += o.Calls
		}
	}
	require.Equal(t, 32, kept, "keys and values of 16 blocks")
}
