package imageio_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

// load reads a file of testdata, recorded from the libraries its source names. A
// misspelt key must not pass.
func load(t *testing.T, name string, dst any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(dst))
}

// origin is the head of every file.
type origin struct{ About, Source string }

type picture struct {
	Size [2]int
	Pix  []byte // base64 in the file
}

func (p picture) rgb() imageio.RGB   { return imageio.RGB{W: p.Size[0], H: p.Size[1], Pix: p.Pix} }
func (p picture) gray() imageio.Gray { return imageio.Gray{W: p.Size[0], H: p.Size[1], Pix: p.Pix} }

// channels is 3 for RGB and 1 for grey.
func (p picture) channels() int { return len(p.Pix) / (p.Size[0] * p.Size[1]) }

type resizeFile struct {
	origin
	Pictures map[string]picture
	Cases    []struct {
		Name, Picture, Filter string
		Size                  [2]int
		Want                  []byte
	}
}

func TestResizeEqualsPillow(t *testing.T) {
	filters := map[string]imageio.Filter{
		"nearest": imageio.Nearest, "box": imageio.AreaAverage, "bilinear": imageio.Bilinear,
		"bicubic": imageio.Bicubic, "lanczos": imageio.Lanczos,
	}
	var f resizeFile
	load(t, "resize.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p, filter := f.Pictures[c.Picture], filters[c.Filter]
			if p.channels() == 1 {
				require.Equal(t, c.Want, p.gray().Resize(c.Size[0], c.Size[1], filter).Pix)
				return
			}
			require.Equal(t, c.Want, p.rgb().Resize(c.Size[0], c.Size[1], filter).Pix)
		})
	}
}

func TestResizeModesEqualPillow(t *testing.T) {
	var pictures resizeFile
	load(t, "resize.json", &pictures)
	var f struct {
		origin
		Cases []struct {
			Name, Picture string
			Mode          int
			Size          [2]int
			Want          []byte
		}
	}
	load(t, "resize_mode.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p := pictures.Pictures[c.Picture]
			if p.channels() == 1 {
				require.Equal(t, c.Want, imageio.ResizeMaskMode(c.Mode, p.gray(), c.Size[0], c.Size[1]).Pix)
				return
			}
			got, err := imageio.ResizeMode(c.Mode, p.rgb(), c.Size[0], c.Size[1], nil)
			require.NoError(t, err)
			require.Equal(t, c.Want, got.Pix)
		})
	}
}

func TestBlurMaskEqualsOpenCV(t *testing.T) {
	var f struct {
		origin
		Mask  picture
		Cases []struct {
			Name string
			Blur [2]int
			Want []byte
		}
	}
	load(t, "mask_blur.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			require.Equal(t, c.Want, imageio.BlurMask(f.Mask.gray(), c.Blur[0], c.Blur[1]).Pix)
		})
	}
}

func TestInpaintEqualsPillow(t *testing.T) {
	const w, h = 48, 40
	var f struct {
		origin
		Picture, Result []byte
		Cases           []struct {
			Name                                   string
			Mask, Fill, Overlay, Lay, Small, Paste []byte
			Box                                    [4]int
		}
	}
	load(t, "inpaint.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m := imageio.RGB{W: w, H: h, Pix: f.Picture}
			mask := imageio.Gray{W: w, H: h, Pix: c.Mask}
			require.Equal(t, c.Fill, imageio.FillMasked(m, mask).Pix, "fill")
			overlay := imageio.Overlay(m, mask)
			require.Equal(t, c.Overlay, overlay.Pix, "overlay")
			require.Equal(t, c.Lay, imageio.LayOver(imageio.RGB{W: w, H: h, Pix: f.Result}, overlay).Pix, "lay")
			box := box4(c.Box)
			small, err := imageio.ResizeMode(imageio.CropAndResize, imageio.RGB{W: 32, H: 32, Pix: c.Small}, box.W(), box.H(), nil)
			require.NoError(t, err)
			require.Equal(t, c.Paste, imageio.PasteOver(small, box, overlay).Pix, "paste")
		})
	}
}

// Differences of a level come from the libraries' single precision.
func TestColourCorrection(t *testing.T) {
	const w, h = 48, 40
	var f struct {
		origin
		Cases []struct {
			Name                  string
			Target, Picture, Want []byte
		}
	}
	load(t, "colour.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			target := imageio.NewColorTarget(imageio.RGB{W: w, H: h, Pix: c.Target})
			got := target.Apply(imageio.RGB{W: w, H: h, Pix: c.Picture})
			requireClose(t, c.Want, got.Pix, 1)
		})
	}
}

// requireClose fails when any byte is further away than tolerance levels.
func requireClose(t *testing.T, want, got []uint8, tolerance int) {
	t.Helper()
	require.Len(t, got, len(want))
	worst, differing := 0, 0
	for i := range want {
		d := max(int(want[i])-int(got[i]), int(got[i])-int(want[i]))
		worst = max(worst, d)
		if d > 0 {
			differing++
		}
	}
	require.LessOrEqual(t, worst, tolerance, "%d of %d bytes differ", differing, len(want))
	t.Logf("%d of %d bytes differ, by at most %d", differing, len(want), worst)
}

func TestBlurKernelSize(t *testing.T) {
	each(t, "mask_blur.json", func(t *testing.T, blur, want int) {
		require.Equal(t, want, imageio.BlurKernelSize(blur))
	})
}

func TestTilesEqualA1111(t *testing.T) {
	var f struct {
		origin
		Cases []struct {
			Name          string
			Size, Tile    [2]int
			Overlap       int
			Picture, Want []byte
			Tiles, Made   [][]byte
		}
	}
	load(t, "tiles.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			grid := imageio.SplitTiles(imageio.RGB{W: c.Size[0], H: c.Size[1], Pix: c.Picture}, c.Tile[0], c.Tile[1], c.Overlap)
			require.Len(t, grid.Tiles, len(c.Tiles))
			made := make([]imageio.RGB, len(c.Made))
			for i := range c.Tiles {
				require.Equal(t, c.Tiles[i], grid.Tiles[i].Pix, "tile %d", i)
				made[i] = imageio.RGB{W: c.Tile[0], H: c.Tile[1], Pix: c.Made[i]}
			}
			require.Equal(t, c.Want, grid.Join(made).Pix)
		})
	}
}
