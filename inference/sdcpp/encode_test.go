//go:build cgo && sdcpp

package sdcpp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// Pixels that fill no latent cell of their own tell on the others by convolution
// and normalisation: without them the moments would be 20 % off. The numbers are
// those of the VAE encoder in PyTorch 2.1 with the same weights, [4,3,2].
func TestEncodeSidesThatAreNoMultipleOf8(t *testing.T) {
	want := []float32{
		0.1314, -0.0015, 0.604, -0.0121, 0.1652, -0.1621,
		-0.4233, -0.2995, -0.4516, -0.5147, -0.0358, -0.6008,
		-0.0095, 0.4075, 0.2369, 0.0398, -0.2037, -0.1534,
		0.0645, 0.2334, -0.2914, 0.324, 0.0527, -0.1827,
	}
	const h, w = 30, 22
	pixels := make([]float32, 3*h*w)
	for i := range pixels {
		x, y, c := i%w, i/w%h, i/w/h
		pixels[i] = float32((7*x+3*y+40*c)%97) / 96
	}
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	moments, err := e.Encode(t.Context(), inference.PixelInput{Pixels: pixels, H: h, W: w})
	require.NoError(t, err)
	require.Len(t, moments, 2*len(want))
	for i, v := range want {
		require.InDelta(t, v, moments[i], 5e-3, "value %d", i)
	}
}
