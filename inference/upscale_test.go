package inference

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

// notNumbers is an upscaler whose weights are no numbers.
type notNumbers struct{}

func (notNumbers) UpscalePixels(_ context.Context, _ UpscalerModel, pixels []float32, _, _ int) ([]float32, int, error) {
	out := make([]float32, 4*len(pixels))
	out[len(out)-1] = float32(math.NaN())
	return out, 2, nil
}

func TestUpscalerOfNaNs(t *testing.T) {
	_, err := upscale(t.Context(), notNumbers{}, &UpscaleRequest{Image: imageio.NewRGB(8, 8), Upscaler: "x", Model: UpscalerModel{Path: "x.safetensors"}, Scale: 2}, Hooks{})
	require.ErrorContains(t, err, "the upscaler x produced a picture of NaNs")
}
