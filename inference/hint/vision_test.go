package hint_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/hint"
	"sdworker/inference/imageio"
)

// Pictures for CLIP's image encoder are those that OpenCV and transformers make; see
// testdata/record_vision.py.
func TestVision(t *testing.T) {
	raw, err := os.ReadFile("testdata/vision.json")
	require.NoError(t, err)
	var recorded struct {
		Cases []struct {
			Width, Height int
			Masked        bool
			Every         int
			Want          []float32
			Sum           float64
		}
	}
	require.NoError(t, json.Unmarshal(raw, &recorded))
	require.NotEmpty(t, recorded.Cases)
	for _, c := range recorded.Cases {
		p := hint.Picture{RGB: imageio.NewRGB(c.Width, c.Height)}
		mask := imageio.NewGray(c.Width, c.Height)
		for i := range mask.Pix {
			x, y := i%c.Width, i/c.Width
			for ch := range 3 {
				p.Pix[3*i+ch] = uint8(x*7 + y*13 + ch*29 + x*y/5)
			}
			if x > c.Width/2 {
				mask.Pix[i] = uint8(x*3 + y*2)
			}
		}
		if c.Masked {
			p.Mask = &mask
		}
		got := hint.Vision(p)
		require.Len(t, got, 3*224*224)
		sum := 0.0
		var some []float32
		for i, v := range got {
			sum += float64(v)
			if i%c.Every == 0 {
				some = append(some, v)
			}
		}
		require.InDeltaSlice(t, c.Want, some, 2e-6, "%dx%d", c.Width, c.Height)
		require.InDelta(t, c.Sum, sum, 0.05, "%dx%d", c.Width, c.Height)
	}
}
