package sampler_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/latent"
	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

// TestSoftInpainting compares whole runs with loops in torch that mix each prediction, or
// what goes into it, by its level; see ../latent/testdata/record_soft.py.
func TestSoftInpainting(t *testing.T) {
	raw, err := os.ReadFile("../latent/testdata/soft.json")
	require.NoError(t, err)
	var file struct {
		Shape [4]int
		Runs  []struct {
			Sampler          string
			Settings         struct{ Bias, Preservation, Contrast float64 }
			Mask, Init, Want vectors.Float32s
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Runs)
	for _, tc := range file.Runs {
		one := []sampler.Part{{Weight: 1, Schedule: sampler.Schedule{{EndAt: 100}}}}
		negative := one[0].Schedule
		job := &sampler.Job{
			Sampler: tc.Sampler, Steps: 8, CFGScale: 3, Options: sampler.DefaultOptions(),
			Prompts: [][]sampler.Part{one, one}, Negatives: []sampler.Schedule{negative, negative},
			RNG: rng.NewImageRNG(rng.ImageConfig{Source: rng.CPU, Seeds: []int64{3, 4}, Shape: rng.Shape{C: file.Shape[1], H: file.Shape[2], W: file.Shape[3]}}),
			UNet: func(_ ctx, b *sampler.Batch) ([]float32, error) {
				out := make([]float32, len(b.X))
				for i, v := range b.X {
					out[i] = float32(math.Tanh(float64(v)))*0.8 + 0.1
				}
				return out, nil
			},
			Img2Img: &sampler.Img2Img{
				Latent: tc.Init, Strength: 0.7, NoiseMultiplier: 1, Mask: tc.Mask,
				Soft: &latent.Soft{Bias: tc.Settings.Bias, Preservation: tc.Settings.Preservation, Contrast: tc.Settings.Contrast},
			},
		}
		got, err := sampler.Sample(t.Context(), job)
		require.NoError(t, err)
		for i, want := range tc.Want {
			require.InDelta(t, want, got[i], 1e-4, "%s, value %d", tc.Sampler, i)
		}
	}
}
