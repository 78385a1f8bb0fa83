package latent_test

import (
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/rng"
	"sdworker/internal/vectors"
)

func TestUpscale(t *testing.T) {
	var file struct {
		Cases []struct {
			ID, Name      string
			InShape       [3]int `json:"in_shape"`
			OutShape      [3]int `json:"out_shape"`
			Input, Output []float32
		}
	}
	vectors.Load(t, "numeric/latent_upscale.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.ID, func(t *testing.T) {
			mode, ok := latent.ParseUpscaleMode(tc.Name)
			require.True(t, ok)
			in, out := tc.InShape, tc.OutShape
			got := latent.Upscale(tc.Input, in[0], in[1], in[2], out[1], out[2], mode)
			requireNear(t, tc.Output, got, 1e-5)
			if mode == latent.Bilinear {
				require.Equal(t, got, latent.Resize(tc.Input, in[0], in[1], in[2], out[1], out[2]))
			}
		})
	}
}

// requireNear compares with a tolerance relative to the largest number.
func requireNear(t *testing.T, want, got []float32, relative float32) {
	t.Helper()
	require.Len(t, got, len(want))
	var largest float32
	for _, v := range want {
		largest = max(largest, v, -v)
	}
	for i, v := range want {
		require.InDelta(t, v, got[i], float64(relative*largest), "value %d", i)
	}
}

func TestUpscaleModes(t *testing.T) {
	var file struct {
		Cases []struct {
			Name string
			Want []string
		}
	}
	vectors.Load(t, "lists.json", &file)
	for _, tc := range file.Cases {
		if tc.Name == "latent upscale modes" {
			require.Equal(t, tc.Want, latent.UpscaleModes())
			return
		}
	}
	t.Fatal("lists.json has no latent upscale modes")
}

func TestParseUpscaleModeLeavesOtherUpscalers(t *testing.T) {
	for _, name := range []string{"", "None", "Lanczos", "latent"} {
		_, ok := latent.ParseUpscaleMode(name)
		require.False(t, ok, name)
	}
}

func TestUpscaleKeepsConstantsAndSize(t *testing.T) {
	for i := range latent.UpscaleModes() {
		mode := latent.UpscaleMode(i)
		for _, size := range [][4]int{{1, 1, 3, 5}, {5, 3, 2, 1}, {4, 4, 4, 4}, {2, 7, 9, 3}} {
			x := make([]float32, 2*size[0]*size[1])
			for k := range x {
				x[k] = 1.5
			}
			got := latent.Upscale(x, 2, size[0], size[1], size[2], size[3], mode)
			require.Len(t, got, 2*size[2]*size[3])
			for _, v := range got {
				require.InDelta(t, 1.5, v, 1e-6, "mode %d, size %v", mode, size)
			}
		}
	}
}

type maskCase struct {
	Width, Height int
	Rows          []string `json:"mask_rows_hex"`
	Round         bool     `json:"mask_round"`
	LatentWidth   int      `json:"latent_width"`
	LatentHeight  int      `json:"latent_height"`
	Levels        []int    `json:"resized_levels"`
	NMask         []float32
}

type fillCase struct {
	Fill   int    `json:"inpainting_fill"`
	Source string `json:"randn_source"`
	Seeds  []int64
	Init   []int
	NMask  []float32
	Result []float32
}

// TestInpaint runs the masks and fills; whole denoiser calls under a mask belong
// to package sampler.
func TestInpaint(t *testing.T) {
	var file struct{ Cases []json.RawMessage }
	vectors.Load(t, "numeric/inpaint.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, raw := range file.Cases {
		var head struct{ Kind, ID string }
		require.NoError(t, json.Unmarshal(raw, &head))
		switch head.Kind {
		case "latent_mask":
			var tc maskCase
			require.NoError(t, json.Unmarshal(raw, &tc))
			t.Run(head.ID, func(t *testing.T) { checkMask(t, tc) })
		case "inpainting_fill":
			var tc fillCase
			require.NoError(t, json.Unmarshal(raw, &tc))
			t.Run(head.ID, func(t *testing.T) { checkFill(t, tc) })
		default:
			require.Equal(t, "forward", head.Kind)
		}
	}
}

func checkMask(t *testing.T, tc maskCase) {
	pixels := imageio.NewGray(tc.Width, tc.Height)
	require.Len(t, tc.Rows, tc.Height)
	for y, row := range tc.Rows {
		levels, err := hex.DecodeString(row)
		require.NoError(t, err)
		copy(pixels.Pix[y*tc.Width:], levels)
	}
	require.Equal(t, tc.NMask, latent.Mask(pixels, tc.LatentWidth, tc.LatentHeight, tc.Round))
}

func checkFill(t *testing.T, tc fillCase) {
	var inputs struct {
		Cases []struct {
			ID     string
			Values json.RawMessage
		}
	}
	vectors.Load(t, "numeric/inputs.json", &inputs)
	var init [][]float32
	for _, c := range inputs.Cases {
		if c.ID == "init" {
			require.NoError(t, json.Unmarshal(c.Values, &init))
		}
	}
	var got []float32
	for _, i := range tc.Init {
		got = append(got, init[i]...)
	}
	switch tc.Fill {
	case 2:
		src, err := rng.ParseSource(tc.Source)
		require.NoError(t, err)
		noise := make([]float32, len(got))
		rng.NewImageRNG(rng.ImageConfig{Source: src, Shape: rng.Shape{C: 4, H: 4, W: 4}, Seeds: tc.Seeds}).Next(noise)
		latent.FillNoise(got, noise, tc.NMask)
	case 3:
		latent.FillNothing(got, tc.NMask)
	default:
		t.Fatalf("fill %d does not act on latents", tc.Fill)
	}
	requireNear(t, tc.Result, got, 1e-5)
}

func TestBlendServesAllPlanes(t *testing.T) {
	x := []float32{1, 2, 3, 4}
	latent.Blend(x, []float32{10, 20, 30, 40}, []float32{1, 0.5})
	require.Equal(t, []float32{1, 11, 3, 22}, x)
}
