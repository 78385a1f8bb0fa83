package hint_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet/depth"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
)

func TestCannyEqualsOpenCV(t *testing.T) {
	raw, err := os.ReadFile("testdata/canny.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Name          string
			Width, Height int
			Low, High     float64
			RGB, Edges    []byte
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := hint.Canny(imageio.RGB{W: tc.Width, H: tc.Height, Pix: tc.RGB}, tc.Low, tc.High)
			for i, v := range got.Pix {
				want := tc.Edges[i/8]>>(7-i%8)&1 == 1
				require.Equal(t, want, v == 255, "x %d y %d", i%tc.Width, i/tc.Width)
			}
		})
	}
}

func TestMakeFitsTheSize(t *testing.T) {
	m := imageio.Fill(50, 30, [3]uint8{10, 20, 30})
	flat := func(_ depth.Version, _ []float32, h, w int) ([]float32, error) { return make([]float32, h*w), nil }
	for mode := range 3 {
		for _, mod := range hint.Modules() {
			got, err := hint.Make(hint.Picture{RGB: m}, hint.Options{Module: mod.Name, Depth: flat, ResizeMode: mode, Width: 64, Height: 72, Sliders: hint.Sliders{A: -1, B: -1, Resolution: -1}})
			require.NoError(t, err)
			require.Equal(t, 64, got.W)
			require.Equal(t, 72, got.H)
		}
	}
}

func TestMakeKeepsAPictureOfTheRightSize(t *testing.T) {
	m := imageio.NewRGB(8, 8)
	for i := range m.Pix {
		m.Pix[i] = uint8(i)
	}
	got, err := hint.Make(hint.Picture{RGB: m}, hint.Options{Module: "none", Width: 8, Height: 8})
	require.NoError(t, err)
	require.Equal(t, m, got.Shown().DropAlpha())
	require.Equal(t, got.Pixels, got.Seen())
	got, err = hint.Make(hint.Picture{RGB: m}, hint.Options{Module: "invert", Width: 8, Height: 8})
	require.NoError(t, err)
	require.Equal(t, uint8(255-17), got.Shown().DropAlpha().Pix[17])
}

func TestMakeRefusesAnUnknownModule(t *testing.T) {
	_, err := hint.Make(hint.Picture{RGB: imageio.NewRGB(8, 8)}, hint.Options{Module: "openpose_full", Width: 8, Height: 8})
	require.ErrorContains(t, err, `"openpose_full" is not built in`)
}

func TestEdgesStayBlackAndWhiteWhenResized(t *testing.T) {
	m := imageio.NewRGB(9, 9)
	copy(m.Pix[3*40:], []uint8{255, 255, 255})
	got, err := hint.Make(hint.Picture{RGB: m}, hint.Options{Module: "none", Width: 24, Height: 24})
	require.NoError(t, err)
	for _, v := range got.Pixels {
		require.True(t, v == 0 || v == 1)
	}
}

func TestMakeRefusesWhatGrowsTooLarge(t *testing.T) {
	narrow, square := imageio.NewRGB(1, 8000), imageio.NewRGB(64, 64)
	for _, tc := range []struct {
		m imageio.RGB
		o hint.Options
	}{
		{square, hint.Options{Module: "canny", Sliders: hint.Sliders{Resolution: 1e9}}},
		{square, hint.Options{Module: "canny", Sliders: hint.Sliders{Resolution: math.MaxInt}}},
		{narrow, hint.Options{Module: "canny", Sliders: hint.Sliders{Resolution: 512}}},
		{narrow, hint.Options{Module: "canny", PixelPerfect: true}},
		{narrow, hint.Options{Module: "none", ResizeMode: hint.Crop}},
	} {
		tc.o.Width, tc.o.Height = 512, 512
		_, err := hint.Make(hint.Picture{RGB: tc.m}, tc.o)
		require.ErrorContains(t, err, "processor_res", "%+v", tc.o)
	}
	for _, mode := range []int{hint.Stretch, hint.Pad} {
		m, err := hint.Make(hint.Picture{RGB: narrow}, hint.Options{Module: "none", ResizeMode: mode, Width: 512, Height: 512})
		require.NoError(t, err)
		require.Equal(t, 512, m.H)
	}
}
