package imageio_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/internal/vectors"
)

// file is the common form of the recorded cases.
type file[I, W any] struct {
	Cases []struct {
		Name  string
		Input I
		Want  W
	}
}

func each[I, W any](t *testing.T, name string, check func(t *testing.T, in I, want W)) {
	t.Helper()
	var f file[I, W]
	vectors.Load(t, name, &f)
	require.NotEmpty(t, f.Cases)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) { check(t, c.Input, c.Want) })
	}
}

type size struct{ Width, Height int }

func TestFloorToLatent(t *testing.T) {
	type want struct {
		Image [2]int
		Size  string `json:"infotext_size"`
	}
	each(t, "image_size.json", func(t *testing.T, in size, want want) {
		require.Equal(t, want.Image, [2]int{imageio.FloorToLatent(in.Width), imageio.FloorToLatent(in.Height)})
		require.Equal(t, want.Size, fmt.Sprintf("%dx%d", in.Width, in.Height))
	})
}

func TestUpscaleSize(t *testing.T) {
	type input struct {
		size
		Scale float64
	}
	each(t, "upscale_size.json", func(t *testing.T, in input, want [2]int) {
		w, h := imageio.UpscaleSize(in.Width, in.Height, in.Scale)
		require.Equal(t, want, [2]int{w, h})
	})
}

func TestHires(t *testing.T) {
	type input struct {
		size
		Scale   float64 `json:"hr_scale"`
		ResizeX int     `json:"hr_resize_x"`
		ResizeY int     `json:"hr_resize_y"`
	}
	type want struct{ Upscaled, Truncate, Final [2]int }
	each(t, "hires.json", func(t *testing.T, in input, expected want) {
		s := imageio.Hires(in.Width, in.Height, in.Scale, in.ResizeX, in.ResizeY)
		w, h := s.Final()
		require.Equal(t, expected, want{[2]int{s.W, s.H}, [2]int{s.TruncateX, s.TruncateY}, [2]int{w, h}})
	})
}

func TestFirstPass512(t *testing.T) {
	each(t, "hires_first_pass_512.json", func(t *testing.T, in size, want [2]int) {
		w, h := imageio.FirstPass512(in.Width, in.Height)
		require.Equal(t, want, [2]int{w, h})
	})
}

func TestCropRegion(t *testing.T) {
	type input struct {
		Image      [2]int
		WhiteRect  *[4]int `json:"white_rect"`
		Padding    int
		Processing [2]int
	}
	type want struct {
		PaddedBox [4]int `json:"padded_box"`
		Crop      [4]int
	}
	each(t, "inpaint_crop.json", func(t *testing.T, in input, want *want) {
		mask := imageio.NewGray(in.Image[0], in.Image[1])
		if r := in.WhiteRect; r != nil {
			for y := r[1]; y <= r[3]; y++ {
				for x := r[0]; x <= r[2]; x++ {
					mask.Pix[y*mask.W+x] = 255
				}
			}
		}
		crop, ok := imageio.CropRegion(mask, in.Padding, in.Processing[0], in.Processing[1])
		require.Equal(t, want != nil, ok)
		if want == nil {
			return
		}
		box, _ := imageio.MaskBox(mask)
		require.Equal(t, box4(want.PaddedBox), box.Pad(in.Padding, mask.W, mask.H))
		require.Equal(t, box4(want.Crop), crop)
	})
}

func box4(b [4]int) imageio.Box { return imageio.Box{X0: b[0], Y0: b[1], X1: b[2], Y1: b[3]} }
