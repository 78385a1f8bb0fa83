package hint_test

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet/depth"
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

// A depth network gets what the extension's gets, and its values become grey as there.
func TestDepthMaps(t *testing.T) {
	raw, err := os.ReadFile("testdata/vision.json")
	require.NoError(t, err)
	var recorded struct {
		Depths []struct {
			Width, Height int
			SeenWidth     int `json:"seen_width"`
			SeenHeight    int `json:"seen_height"`
			Every         int
			Seen          []float32
			Want          []uint8
		}
	}
	require.NoError(t, json.Unmarshal(raw, &recorded))
	require.NotEmpty(t, recorded.Depths)
	mod, ok := hint.Lookup("depth_anything")
	require.True(t, ok)
	for _, c := range recorded.Depths {
		m := imageio.NewRGB(c.Width, c.Height)
		for i := range m.W * m.H {
			x, y := i%c.Width, i/c.Width
			for ch := range 3 {
				m.Pix[3*i+ch] = uint8(x*7 + y*13 + ch*29 + x*y/5)
			}
		}
		calls := 0
		network := func(version depth.Version, pixels []float32, h, w int) ([]float32, error) {
			calls++
			require.Equal(t, []any{depth.V1, c.SeenWidth, c.SeenHeight}, []any{version, w, h})
			var some []float32
			for i := 0; i < len(pixels); i += c.Every {
				some = append(some, pixels[i])
			}
			require.InDeltaSlice(t, c.Seen, some, 2e-5, "%dx%d", c.Width, c.Height)
			near := make([]float32, w*h)
			for i := range near {
				near[i] = pixels[i] + 0.5*pixels[w*h+i]
			}
			return near, nil
		}
		got, err := hint.Preprocess(mod, m, hint.Sliders{Resolution: min(c.Width, c.Height)}, network)
		require.NoError(t, err)
		require.Equal(t, 1, calls)
		require.Equal(t, [2]int{c.Width, c.Height}, [2]int{got.W, got.H})
		for i, want := range c.Want {
			require.InDelta(t, want, got.Pix[3*997*i], 1, "%dx%d", c.Width, c.Height)
		}
	}
	_, err = hint.Preprocess(mod, imageio.NewRGB(64, 64), hint.Sliders{}, func(depth.Version, []float32, int, int) ([]float32, error) { return nil, errors.New("no network") })
	require.EqualError(t, err, "no network")
	same, err := hint.Preprocess(mod, imageio.NewRGB(64, 64), hint.Sliders{Resolution: 64}, func(_ depth.Version, _ []float32, h, w int) ([]float32, error) {
		return make([]float32, h*w), nil
	})
	require.NoError(t, err)
	require.Equal(t, make([]uint8, 3*64*64), same.Pix, "nothing is nearer than anything else")
}
