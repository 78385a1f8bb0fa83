package inference

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/hint"
	"sdworker/inference/sampler"
)

// TestControlVectors compares with the extension's arithmetic in torch and OpenCV;
// see testdata/record_control.py.
func TestControlVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/control.json")
	require.NoError(t, err)
	var file struct {
		Corrections []struct {
			Name                            string
			Radius, H, W                    int
			Sharpness, Weight               float64
			X, Eps, Timesteps, Origin, Mask []float32
			Want                            []float32
		}
		Pictures []struct {
			Module             string
			X, Raw, Mask, Want []float32
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Corrections)
	require.NotEmpty(t, file.Pictures)
	for _, tc := range file.Corrections {
		c := &correction{origin: tc.Origin, h: tc.H, w: tc.W, weight: float32(min(tc.Weight, 1))}
		if tc.Name == "inpaint" {
			c.mask = largest(tc.Mask, 8*tc.H, 8*tc.W, 10, 8, 1)
		} else {
			c.radius, c.soften = tc.Radius, float32(tc.Sharpness*0.01)
			c.origin = blurred(c.origin, c.h, c.w, c.radius)
		}
		c.apply(tc.Eps, &sampler.Batch{X: tc.X, Timestep: tc.Timesteps, Rows: []sampler.Row{{Kind: sampler.Prompt}, {Kind: sampler.Negative}}})
		for i, want := range tc.Want {
			require.InDelta(t, want, tc.Eps[i], 2e-4, "%s, value %d", tc.Name, i)
		}
	}
	for _, tc := range file.Pictures {
		made := hint.Hint{W: 20, H: 24, Pixels: tc.Raw}
		switch tc.Module {
		case "inpaint_only":
			made.Mask = tc.Mask
			keepUnmasked(tc.X, made)
		case "recolor_luminance":
			keepLuminance(tc.X, made)
		default:
			keepIntensity(tc.X, made)
		}
		for i, want := range tc.Want {
			require.InDelta(t, want, tc.X[i], 1e-5, "%s, value %d", tc.Module, i)
		}
	}
}
