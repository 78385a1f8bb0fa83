package sdapi_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/internal/vectors"
	"sdworker/models"
	"sdworker/models/catalog"
)

func (r reply) picture(t *testing.T, v any) (imageio.Decoded, []byte) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(v.(string))
	require.NoError(t, err)
	m, err := imageio.Decode(data, imageio.MaxPixels)
	require.NoError(t, err)
	return m, data
}

func TestExtrasSizeVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				Width, Height int
				Scale         float64
			}
			Want [2]int
		}
	}
	vectors.Load(t, "upscale_size.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			got := f.post("/sdapi/v1/extra-single-image", map[string]any{
				"image": encoded(t, tc.Input.Width, tc.Input.Height), "upscaling_resize": tc.Input.Scale, "upscaler_1": "Nearest",
			})
			m, _ := got.picture(t, got.object(t)["image"])
			require.Equal(t, tc.Want, [2]int{m.W, m.H})
		})
	}
}

func TestExtras(t *testing.T) {
	f := start(t)
	image := encoded(t, 40, 20)
	for _, tc := range []struct {
		name string
		body map[string]any
		w, h int
		html string
	}{
		{"nothing", nil, 40, 20, "<p></p>"},
		{"default factor", map[string]any{"upscaler_1": "Lanczos"}, 80, 40, "<p>Postprocess upscale by: 2, Postprocess upscaler: Lanczos</p>"},
		{"factor", map[string]any{"upscaler_1": "Lanczos", "upscaling_resize": 1.5}, 56, 24, "<p>Postprocess upscale by: 1.5, Postprocess upscaler: Lanczos</p>"},
		{
			"to size, cropped",
			map[string]any{"upscaler_1": "Nearest", "resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64},
			64, 64,
			"<p>Postprocess upscale to: 64x64, Postprocess crop to: 64x64, Postprocess upscaler: Nearest</p>",
		},
		{
			"to size, whole",
			map[string]any{"upscaler_1": "Nearest", "resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64, "upscaling_crop": false},
			128, 64,
			"<p>Postprocess upscale to: 64x64, Postprocess upscaler: Nearest</p>",
		},
		{
			"two",
			map[string]any{"upscaler_1": "R-ESRGAN 4x+", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5},
			80, 40,
			"<p>Postprocess upscale by: 2, Postprocess upscaler: R-ESRGAN 4x+, Postprocess upscaler 2: Nearest</p>",
		},
		{"second unseen", map[string]any{"upscaler_1": "Lanczos", "upscaler_2": "Nearest"}, 80, 40, "<p>Postprocess upscale by: 2, Postprocess upscaler: Lanczos</p>"},
		{
			"faces",
			map[string]any{"gfpgan_visibility": 0.5, "codeformer_visibility": 1, "codeformer_weight": 0.25},
			40, 20,
			"<p>GFPGAN visibility: 0.5, CodeFormer visibility: 1.0, CodeFormer weight: 0.25</p>",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := map[string]any{"image": image}
			maps.Copy(body, tc.body)
			got := f.post("/sdapi/v1/extra-single-image", body)
			o := got.object(t)
			require.Equal(t, tc.html, o["html_info"])
			m, data := got.picture(t, o["image"])
			require.Equal(t, [2]int{tc.w, tc.h}, [2]int{m.W, m.H})
			require.Contains(t, imageio.ReadInfo(data).Items, imageio.Item{Key: "postprocessing", Value: strings.TrimSuffix(strings.TrimPrefix(tc.html, "<p>"), "</p>")})
		})
	}
	require.Equal(t, "/models/ESRGAN/R-ESRGAN 4x+.pth", func() string {
		f.post("/sdapi/v1/extra-single-image", map[string]any{"image": image, "upscaler_1": "R-ESRGAN 4x+"}).object(t)
		return f.gen.Upscaled().Model.Path
	}())
	got := f.post("/sdapi/v1/extra-single-image", map[string]any{"image": image, "upscaler_1": "zzz"})
	require.Equal(t, 500, got.status)
	require.JSONEq(t, `{"error":"AssertionError","detail":"","body":"","errors":"could not find upscaler named zzz"}`, string(got.body))
	for _, factor := range []any{1e9, 0.01} {
		require.Equal(t, 422, f.post("/sdapi/v1/extra-single-image", map[string]any{"image": image, "upscaler_1": "Lanczos", "upscaling_resize": factor}).status)
	}
	require.Equal(t, 500, f.post("/sdapi/v1/extra-single-image", map[string]any{"image": image, "show_extras_results": false}).status)
}

func TestExtrasBatch(t *testing.T) {
	f := start(t)
	item := map[string]any{"data": encoded(t, 8, 8), "name": "a.png"}
	got := f.post("/sdapi/v1/extra-batch-images", map[string]any{"imageList": []any{item, item}, "upscaler_1": "Lanczos"})
	o := got.object(t)
	require.Len(t, o["images"], 2)
	require.Equal(t, "<p>Postprocess upscale by: 2, Postprocess upscaler: Lanczos</p>", o["html_info"])
	require.Empty(t, f.post("/sdapi/v1/extra-batch-images", map[string]any{"imageList": []any{}}).object(t)["images"])
}

func TestPNGInfo(t *testing.T) {
	f := start(t)
	g := f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "(cat:1.2)", "negative_prompt": "dog"})).generated(t)
	o := f.post("/sdapi/v1/png-info", map[string]any{"image": base64.StdEncoding.EncodeToString(g.images[0])}).object(t)
	require.Equal(t, g.info["infotexts"].([]any)[0], o["info"])
	require.Equal(t, map[string]any{}, o["items"])
	p := o["parameters"].(map[string]any)
	require.Equal(t, "(cat:1.2)", p["Prompt"])
	require.Equal(t, "dog", p["Negative prompt"])
	require.Equal(t, "1", p["Seed"])
	require.Equal(t, "Original", p["Emphasis"])

	o = f.post("/sdapi/v1/png-info", map[string]any{"image": encoded(t, 8, 8)}).object(t)
	require.Empty(t, o["info"])
	require.Equal(t, "GPU", o["parameters"].(map[string]any)["RNG"])
}

func TestInfotextField(t *testing.T) {
	f := start(t)
	text := "a cat\nNegative prompt: dog\nSteps: 7, Sampler: DPM++ 2M Karras, CFG scale: 3.5, Seed: 99, Size: 72x80, Clip skip: 2, Seed resize from: 64x128, Version: v1.9.3"
	g := f.post("/sdapi/v1/txt2img", map[string]any{"infotext": text, "cfg_scale": 5}).generated(t)
	req := f.gen.Last()
	require.Equal(t, "a cat", req.Prompt)
	require.Equal(t, "dog", req.NegativePrompt)
	require.Equal(t, []any{7, "DPM++ 2M", 5.0, int64(99), 72, 80, 2, 64, 128}, []any{
		req.Steps, req.Sampler, req.CFGScale, req.Seed, req.Width, req.Height,
		req.Settings.ClipSkip, req.SeedResizeW, req.SeedResizeH,
	})
	require.EqualValues(t, 7, g.parameters["steps"], "the echo shows what was pasted")
	require.Equal(t, map[string]any{"CLIP_stop_at_last_layers": 2.0}, g.parameters["override_settings"])

	got := f.post("/sdapi/v1/txt2img", map[string]any{"infotext": strings.Replace(text, "Steps: 7", "Steps: x", 1)})
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), `"error":"ValueError"`)

	other := "a\nSteps: 3, Sampler: DPM++ 4M, Schedule type: Turbo, CFG scale: 7.0, Seed: 1, Size: 64x64"
	g = f.post("/sdapi/v1/txt2img", map[string]any{"infotext": other}).generated(t)
	require.Equal(t, "DPM++ 2M", f.gen.Last().Sampler, "A1111 takes the first one")
	require.Equal(t, []any{
		"the parameters name the sampler 'DPM++ 4M', which is not here; DPM++ 2M is used",
		"the parameters name the schedule 'Turbo', which is not here; the sampler's own is used",
	}, g.info["notes"])
	g = f.post("/sdapi/v1/txt2img", map[string]any{"infotext": other, "sampler_name": "Euler", "scheduler": "Karras"}).generated(t)
	require.Equal(t, []any{}, g.info["notes"], "the request's own go first")
	for _, known := range []string{"DPM++ 2M Karras", "UniPC", "DDIM", "DPM++ 2M SDE Exponential"} {
		g = f.post("/sdapi/v1/txt2img", map[string]any{"infotext": strings.Replace(text, "DPM++ 2M Karras", known, 1)}).generated(t)
		require.Equal(t, []any{}, g.info["notes"], known)
	}

	img2img := "a\nSteps: 3, Sampler: Euler, CFG scale: 7.0, Seed: 1, Size: 64x64, Denoising strength: 0.5, Version: v1.9.3"
	f.post("/sdapi/v1/txt2img", map[string]any{"infotext": img2img}).generated(t)
	require.NotNil(t, f.gen.Last().Hires, "any infotext with a denoising strength turns hires on, as in A1111")
	f.post("/sdapi/v1/img2img", map[string]any{"infotext": text, "init_images": []string{encoded(t, 8, 8)}}).generated(t)
	require.Equal(t, []any{7, 7.0, ""}, []any{f.gen.Last().Steps, f.gen.Last().CFGScale, f.gen.Last().Prompt})
}

// A model needs an engine, and so a loaded checkpoint.
func TestExtrasLoadsAnEngine(t *testing.T) {
	f := start(t)
	body := map[string]any{"image": encoded(t, 8, 8), "upscaler_1": "Lanczos"}
	f.post("/sdapi/v1/extra-single-image", body).object(t)
	require.Empty(t, f.gen.Status().Engine.Checkpoint)
	body["upscaler_1"] = "R-ESRGAN 4x+"
	f.post("/sdapi/v1/extra-single-image", body).object(t)
	require.NotEmpty(t, f.gen.Status().Engine.Checkpoint)
}

// With both files of Real-ESRGAN's general network there are mixtures of them.
func TestUpscalersOfADenoiseStrength(t *testing.T) {
	const general, noisy = "realesr-general-x4v3.pth", "realesr-general-wdn-x4v3.pth"
	with := func(names ...string) *fixture {
		return start(t, func(c *sdapi.Config) {
			files := sdapitest.Files(sdapitest.Checkpoint("v1-5-pruned-emaonly.safetensors", ""))
			for _, name := range names {
				files = append(files, catalog.Made{File: catalog.File{Kind: models.Upscaler, Path: "/models/RealESRGAN/" + name, Name: name}})
			}
			c.Catalog = catalog.Of(files...)
		})
	}
	const half = "R-ESRGAN General 4xV3 denoise 0.5"
	f := with(general, noisy)
	type listed struct {
		Name  string
		Model *string `json:"model_name"`
		Path  *string `json:"model_path"`
	}
	var list []listed
	require.NoError(t, json.Unmarshal(f.get("/sdapi/v1/upscalers").body, &list))
	i := slices.IndexFunc(list, func(u listed) bool { return u.Name == half })
	require.Positive(t, i)
	require.Nil(t, list[i].Model)
	require.Equal(t, "/models/RealESRGAN/"+general, *list[i].Path)

	for name, share := range map[string]float64{half: 0.5, "R-ESRGAN General 4xV3 denoise 0.25": 0.25} {
		want := inference.UpscalerModel{Path: "/models/RealESRGAN/" + general, Other: "/models/RealESRGAN/" + noisy, Share: share}
		f.post("/sdapi/v1/extra-single-image", map[string]any{"image": blackPNG(8), "upscaler_1": name, "upscaling_resize": 2}).object(t)
		require.Equal(t, want, f.gen.Upscaled().Model)
		g := f.post("/sdapi/v1/txt2img", small(map[string]any{"enable_hr": true, "hr_upscaler": name, "denoising_strength": 0.5})).generated(t)
		require.Equal(t, want, f.gen.Last().Files.Upscalers[f.gen.Last().Hires.Upscaler])
		require.Contains(t, infotext(t, g), "Hires upscaler: "+name)
	}
	f = with(general)
	require.NotContains(t, string(f.get("/sdapi/v1/upscalers").body), "denoise")
	require.Equal(t, 500, f.post("/sdapi/v1/txt2img", small(map[string]any{"enable_hr": true, "hr_upscaler": half, "denoising_strength": 0.5})).status)
}

// Files of Real-ESRGAN as they are published have A1111's names in lists, and are found by
// these and by their own, by every route that takes an upscaler.
func TestPublishedUpscalers(t *testing.T) {
	f := start(t, func(c *sdapi.Config) {
		files := sdapitest.Files(sdapitest.Checkpoint("v1-5-pruned-emaonly.safetensors", ""))
		for _, name := range []string{"RealESRGAN_x4plus.pth", "realesr-general-wdn-x4v3.pth"} {
			files = append(files, catalog.Made{File: catalog.File{Kind: models.Upscaler, Path: "/models/RealESRGAN/" + name, Name: name}})
		}
		c.Catalog = catalog.Of(files...)
	})
	var names []string
	var list []struct{ Name string }
	require.NoError(t, json.Unmarshal(f.get("/sdapi/v1/upscalers").body, &list))
	for _, u := range list {
		names = append(names, u.Name)
	}
	require.Subset(t, names, []string{"R-ESRGAN 4x+", "R-ESRGAN General WDN 4xV3"})
	require.NotContains(t, names, "RealESRGAN_x4plus")
	for _, name := range []string{"R-ESRGAN General WDN 4xV3", "realesr-general-wdn-x4v3"} {
		const path = "/models/RealESRGAN/realesr-general-wdn-x4v3.pth"
		f.post("/sdapi/v1/extra-single-image", map[string]any{"image": blackPNG(8), "upscaler_1": name, "upscaling_resize": 2}).object(t)
		require.Equal(t, path, f.gen.Upscaled().Model.Path)
		f.post("/sdapi/v1/txt2img", small(map[string]any{"enable_hr": true, "hr_upscaler": name, "denoising_strength": 0.5})).generated(t)
		require.Equal(t, path, f.gen.Last().Files.Upscalers[f.gen.Last().Hires.Upscaler].Path)
		g := f.post("/sdapi/v1/img2img", ultimate(t, map[int]any{8: name, 10: 2}, nil)).generated(t)
		require.Contains(t, infotext(t, g), "Ultimate SD upscale upscaler: R-ESRGAN General WDN 4xV3")
	}
}
