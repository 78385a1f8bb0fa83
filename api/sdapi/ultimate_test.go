package sdapi_test

import (
	"context"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/inference"
)

// ultimate sends an img2img request with arguments of the script by their places.
func ultimate(t *testing.T, args map[int]any, more map[string]any) map[string]any {
	t.Helper()
	list := []any{"", 64, 0, 8, 32, 64, 0.35, 16, 0, false, 0, false, 4, 0, 2, 2048, 2048, 2}
	for i, v := range args {
		list[i] = v
	}
	body := map[string]any{
		"init_images": []string{encoded(t, 100, 60)}, "width": 64, "height": 64, "steps": 3, "seed": 7, "denoising_strength": 0.3, "n_iter": 3,
		"script_name": "Ultimate SD Upscale", "script_args": list,
	}
	maps.Copy(body, more)
	return body
}

func TestUltimateUpscale(t *testing.T) {
	dir := t.TempDir()
	f := start(t, func(c *sdapi.Config) { c.OutputDir = dir })
	f.gen.Record = true
	g := f.post("/sdapi/v1/img2img", ultimate(t, map[int]any{8: "lanczos", 9: true, 11: true, 13: "half tile offset pass + intersections"}, map[string]any{
		"mask": coloured(t, 100, 60, [3]uint8{255, 255, 255}), "inpainting_fill": 2,
	})).generated(t)
	require.Empty(t, g.info["notes"])
	// 200x120 pixels become 256x128: 4x2 tiles, then 4+6 halves and 3 corners.
	require.Len(t, g.images, 2)
	for _, image := range g.images {
		m, _ := reply{}.picture(t, b64(image))
		require.Equal(t, [2]int{256, 128}, [2]int{m.W, m.H})
	}
	jobs := f.gen.Recorded()
	require.Len(t, jobs, 8+10+3)
	for i, r := range jobs {
		mask := r.Init.Mask
		require.Equal(t, []any{int64(7), 1, 1, true, 1, true}, []any{r.Seed, r.BatchSize, r.BatchNum, mask.OnlyMasked, mask.Fill, mask.Round}, "job %d", i)
		require.Equal(t, [2]int{256, 128}, [2]int{r.Init.Images[0].W, r.Init.Images[0].H})
		want := []any{0.3, 128, 128, 8, 32}
		if i >= 8 {
			want = []any{0.35, 64, 64, 4, 16}
		}
		if i >= 18 {
			want[4] = 0
		}
		require.Equal(t, want, []any{r.DenoisingStrength, r.Width, r.Height, mask.BlurX, mask.Padding}, "job %d", i)
	}
	require.NotEqual(t, jobs[0].Init.Images[0].Pix, jobs[1].Init.Images[0].Pix, "a tile goes on with what the one before has left")
	require.Equal(t, uint8(255), jobs[1].Init.Mask.Image.Pix[64])

	texts := g.info["infotexts"].([]any)
	keys := "Ultimate SD upscale upscaler: Lanczos, Ultimate SD upscale tile_width: 64, Ultimate SD upscale tile_height: 64, Ultimate SD upscale mask_blur: 8, Ultimate SD upscale padding: 32"
	for i, want := range []string{"Denoising strength: 0.3, " + keys + ", Mask blur: 8, Inpaint area: Only masked, Masked area padding: 32", "Denoising strength: 0.35, " + keys + ", Mask blur: 4"} {
		require.Contains(t, texts[i], "Size: 256x128")
		require.Contains(t, texts[i], want)
	}
	require.Equal(t, [2]any{256.0, 128.0}, [2]any{g.info["width"], g.info["height"]})

	// Its own arguments say what is saved.
	saved := func() (n int) {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if strings.HasSuffix(path, ".png") {
				n++
			}
			return err
		}))
		return n
	}
	require.Equal(t, 2, saved())
	f.post("/sdapi/v1/img2img", ultimate(t, map[int]any{11: true, 13: 1}, map[string]any{"save_images": true})).generated(t)
	require.Equal(t, 3, saved(), "the one with its seams mended")
	f.post("/sdapi/v1/img2img", ultimate(t, nil, map[string]any{"save_images": true})).generated(t)
	require.Equal(t, 3, saved())

	read, err := f.server.ReadParameters(texts[0].(string))
	require.NoError(t, err)
	require.Equal(t, "ultimate sd upscale", read.ScriptName)
	require.Equal(t, map[string]any{"Upscaler": "Lanczos", "Tile width": int64(64), "Tile height": int64(64), "Mask blur": int64(8), "Padding": int64(32)}, read.Script)
}

// The other orders, sizes and kinds of seams.
func TestUltimateUpscaleArguments(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	for name, tc := range map[string]struct {
		args map[int]any
		jobs int
		size [2]int // of the picture
		last [2]int // of the last job
	}{
		"chess":       {map[int]any{10: 1}, 8, [2]int{256, 128}, [2]int{128, 128}},
		"bands":       {map[int]any{10: "None", 13: 1, 5: 32}, 3 + 1, [2]int{256, 128}, [2]int{256, 64}},
		"only larger": {map[int]any{10: 2}, 0, [2]int{256, 128}, [2]int{}},
		"custom size": {map[int]any{14: 1, 15: 90, 16: 70}, 4, [2]int{90, 70}, [2]int{128, 128}},
		"of img2img":  {map[int]any{14: 0}, 1, [2]int{64, 64}, [2]int{128, 128}},
		"odd tiles":   {map[int]any{1: 100, 2: 50, 13: "Half tile offset pass"}, 9 + 6 + 6, [2]int{256, 128}, [2]int{96, 48}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.gen.Recorded())
			g := f.post("/sdapi/v1/img2img", ultimate(t, tc.args, nil)).generated(t)
			m, _ := reply{}.picture(t, b64(g.images[len(g.images)-1]))
			size := [2]int{m.W, m.H}
			require.Equal(t, tc.size, size)
			jobs := f.gen.Recorded()[before:]
			require.Len(t, jobs, tc.jobs)
			if tc.jobs > 0 {
				r := jobs[len(jobs)-1]
				last := [2]int{r.Width, r.Height}
				require.Equal(t, tc.last, last)
			}
		})
	}
	for name, args := range map[string]map[int]any{
		"no tiles":       {1: 0, 2: 0},
		"negative":       {4: -1},
		"too large":      {17: 1000},
		"too many tiles": {1: 8, 2: 8, 17: 16},
		"no band":        {13: 1, 5: 0},
		"denoising":      {6: 2},
		"no upscaler":    {8: "zzz"},
		"number":         {8: 99},
		"no number":      {3: "x"},
		"size":           {14: 1, 15: 0},
		"thin band":      {13: 1, 5: 1, 7: 0},
	} {
		got := f.post("/sdapi/v1/img2img", ultimate(t, args, nil))
		require.GreaterOrEqual(t, got.status, http.StatusUnprocessableEntity, name)
		require.Contains(t, strings.ToLower(string(got.body)), "ultimate sd upscale", name)
	}
	got := f.post("/sdapi/v1/txt2img", small(map[string]any{"script_name": "Ultimate SD upscale"}))
	require.Equal(t, http.StatusUnprocessableEntity, got.status, "a script of img2img")
}

// What runs with every job of A1111 runs with each tile.
func TestUltimateUpscaleWithOtherScripts(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	scripts := map[string]any{
		"ADetailer":       map[string]any{"args": []any{map[string]any{"ad_model": "face_yolov8n.pt"}, map[string]any{"ad_model": "hand_yolov8n.pt", "ad_use_inpaint_width_height": true}}},
		"ControlNet":      map[string]any{"args": []any{map[string]any{"enabled": true, "model": "canny", "module": "tile_resample"}}},
		"soft inpainting": map[string]any{"args": []any{true}},
	}
	g := f.post("/sdapi/v1/img2img", ultimate(t, map[int]any{13: 2}, map[string]any{"alwayson_scripts": scripts})).generated(t)
	require.Empty(t, g.info["notes"])
	require.Len(t, g.images, 2, "maps of tiles are left out")
	jobs := f.gen.Recorded()
	for i, side := range map[int]int{0: 128, len(jobs) - 1: 64} {
		r := jobs[i]
		require.True(t, r.Control[0].OfInit && r.Control[0].CropToMask)
		require.NotNil(t, r.Init.Mask.Soft)
		require.False(t, r.Init.Mask.Round)
		require.Equal(t, [][2]int{{side, side}, {512, 512}}, [][2]int{{r.Details[0].Width, r.Details[0].Height}, {r.Details[1].Width, r.Details[1].Height}})
	}
	require.Contains(t, infotext(t, g), "Ultimate SD upscale padding: 32, Soft inpainting enabled: True")
}

// An interrupt ends with the picture as far as it is.
func TestUltimateUpscaleInterrupted(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	f.gen.Wait = func(_ context.Context, hooks inference.Hooks, _ int) error {
		if len(f.gen.Recorded()) == 2 {
			hooks.Control.Interrupt()
		}
		return nil
	}
	g := f.post("/sdapi/v1/img2img", ultimate(t, map[int]any{13: 2}, nil)).generated(t)
	require.Len(t, f.gen.Recorded(), 2)
	require.Len(t, g.images, 2)
	m, _ := reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, [2]int{256, 128}, [2]int{m.W, m.H})
}
