package latent_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/internal/vectors"
)

// softSettings are those of a recorded case.
type softSettings struct{ Bias, Preservation, Contrast, Influence, Threshold, Difference float64 }

func (s softSettings) soft() latent.Soft {
	return latent.Soft{
		Bias: s.Bias, Preservation: s.Preservation, Contrast: s.Contrast,
		MaskInfluence: s.Influence, Threshold: s.Threshold, Sharpness: s.Difference,
	}
}

// TestSoft compares with the formulas in torch, NumPy and Pillow; see
// testdata/record_soft.py.
func TestSoft(t *testing.T) {
	raw, err := os.ReadFile("testdata/soft.json")
	require.NoError(t, err)
	var file struct {
		Shape  [4]int
		Blends []struct {
			Settings            softSettings
			Level               float32
			Mask, X, Init, Want vectors.Float32s
		}
		Composites []struct {
			Settings         softSettings
			Mask, Init, Made vectors.Float32s
			Opacity          [][]byte
			Picture, Result  []byte
			Size             [2]int
			Box              *[4]int
			Want             []byte
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Blends)
	require.NotEmpty(t, file.Composites)
	channels, h, w := file.Shape[1], file.Shape[2], file.Shape[3]
	for _, tc := range file.Blends {
		s := tc.Settings.soft()
		require.NoError(t, s.Check())
		s.Blend(tc.X, tc.Init, tc.Mask, channels, tc.Level)
		requireNear(t, tc.Want, tc.X, 2e-6)
	}
	for _, tc := range file.Composites {
		s, size := tc.Settings.soft(), channels*h*w
		for i, want := range tc.Opacity {
			got := s.Changed(tc.Made[i*size:][:size], tc.Init[i*size:][:size], tc.Mask, channels, w)
			requireLevels(t, want, got.Pix, 1)
		}
		mask := imageio.Gray{W: w, H: h, Pix: tc.Opacity[0]}.Resize(8*w, 8*h, imageio.Lanczos).GaussianBlur(4)
		result := imageio.RGB{W: 8 * w, H: 8 * h, Pix: tc.Result}
		picture := imageio.RGB{W: tc.Size[0], H: tc.Size[1], Pix: tc.Picture}
		var got imageio.RGB
		if tc.Box == nil {
			got = imageio.LayOver(result, imageio.Overlay(picture, mask))
		} else {
			box := imageio.Box{X0: tc.Box[0], Y0: tc.Box[1], X1: tc.Box[2], Y1: tc.Box[3]}
			mask = mask.Onto(box, picture.W, picture.H)
			got = imageio.PasteOver(result.Resize(box.W(), box.H(), imageio.Lanczos), box, imageio.Overlay(picture, mask))
		}
		requireLevels(t, tc.Want, got.Pix, 0)
	}
}

// requireLevels compares bytes.
func requireLevels(t *testing.T, want, got []byte, most int) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDelta(t, want[i], got[i], float64(most), "byte %d", i)
	}
}

func TestSoftTakesNumbersThatItsFormulasTake(t *testing.T) {
	require.NoError(t, latent.DefaultSoft().Check())
	for name, change := range map[string]func(*latent.Soft){
		"bias":         func(s *latent.Soft) { s.Bias = -1 },
		"preservation": func(s *latent.Soft) { s.Preservation = math.NaN() },
		"contrast":     func(s *latent.Soft) { s.Contrast = 0 },
		"influence":    func(s *latent.Soft) { s.MaskInfluence = 1.5 },
		"threshold":    func(s *latent.Soft) { s.Threshold = math.Inf(1) },
		"sharpness":    func(s *latent.Soft) { s.Sharpness = -0.5 },
	} {
		s := latent.DefaultSoft()
		change(&s)
		require.Error(t, s.Check(), name)
	}
	// What has not moved is the picture's, also where every change counts.
	s := latent.Soft{Contrast: 1, Preservation: 1}
	x := make([]float32, 4*9)
	require.Equal(t, make([]byte, 9), s.Changed(x, x, make([]float32, 9), 4, 3).Pix)
}
