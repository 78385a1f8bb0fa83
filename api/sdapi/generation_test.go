package sdapi_test

import (
	"encoding/base64"
	"encoding/json"
	"image"
	_ "image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

func TestReplyOfTxt2Img(t *testing.T) {
	f := start(t)
	got := f.post("/sdapi/v1/txt2img", map[string]any{
		"prompt": "a <lora:foo:0.5> cat\n# comment", "negative_prompt": "dog", "steps": 3, "width": 65, "height": 72, "batch_size": 2, "seed": 100, "cfg_scale": 7,
	})
	require.Regexp(t, `^queue;dur=\d+\.\d+, load;dur=.*, total;dur=500\.000$`, got.header.Get("Server-Timing"))
	g := got.generated(t)
	require.Len(t, g.images, 2)
	m, err := png.Decode(strings.NewReader(string(g.images[1])))
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 64, 72), m.Bounds())
	require.Equal(t, []any{100.0, 101.0}, g.info["all_seeds"])
	require.Equal(t, []any{4242.0, 4243.0}, g.info["all_subseeds"])
	require.EqualValues(t, 65, g.info["width"])
	require.Equal(t, "a <lora:foo:0.5> cat\n", g.info["prompt"])
	require.Equal(t, "20240422102030", g.info["job_timestamp"])
	require.Equal(t, "6ce0161689", g.info["sd_model_hash"])
	require.Equal(t, "v1-5-pruned-emaonly", g.info["sd_model_name"])
	require.Nil(t, g.info["sd_vae_name"])
	require.Nil(t, g.info["denoising_strength"])
	require.Equal(t, map[string]any{"Lora hashes": "foo: 0123456789ab"}, g.info["extra_generation_params"])
	require.Equal(t, []any{}, g.info["styles"])
	require.Contains(t, g.infoText, `"subseed_strength": 0, "width"`)
	require.Contains(t, g.infoText, `"cfg_scale": 7.0, "steps": 3, `)
	require.Contains(t, g.infoText, `"clip_skip": 1, `)
	infotext := g.info["infotexts"].([]any)[1].(string)
	require.Contains(t, infotext, "Seed: 101, Size: 65x72")
	require.Equal(t, infotext, imageio.ReadInfo(g.images[1]).Parameters)

	req := f.gen.Last()
	require.Equal(t, map[string]string{"foo": "/models/Lora/foo.safetensors"}, req.Files.LoRAs)
	require.Equal(t, "/models/v1-5-pruned-emaonly.safetensors", req.Files.Checkpoint)
	require.Equal(t, 64, req.Width)
}

func TestSendImagesOff(t *testing.T) {
	g := start(t).post("/sdapi/v1/txt2img", small(map[string]any{"send_images": false})).generated(t)
	require.Empty(t, g.images)
	require.Len(t, g.info["infotexts"], 1)
}

func TestImageFormats(t *testing.T) {
	f := start(t)
	for format, kind := range map[string]string{"jpg": "jpeg", "jpeg": "jpeg", "webp": "webp", "png": "png"} {
		g := f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "日本", "override_settings": map[string]any{"samples_format": format, "jpeg_quality": 90}})).generated(t)
		m, err := imageio.Decode(g.images[0], imageio.MaxPixels)
		require.NoError(t, err)
		require.Equal(t, kind, m.Format)
		require.Equal(t, g.info["infotexts"].([]any)[0], imageio.ReadInfo(g.images[0]).Parameters)
	}
	got := f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": map[string]any{"samples_format": "gif"}}))
	require.Equal(t, 500, got.status)
	require.JSONEq(t, `{"error":"HTTPException","detail":"Invalid image format","body":"","errors":""}`, string(got.body))
	g := f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": map[string]any{"enable_pnginfo": false}})).generated(t)
	require.Empty(t, imageio.ReadInfo(g.images[0]).Parameters)
}

func TestSaveImagesAndGrid(t *testing.T) {
	dir := t.TempDir()
	f := start(t, func(c *sdapi.Config) { c.OutputDir = dir })
	body := small(map[string]any{"save_images": true, "batch_size": 2, "seed": 5})
	g := f.post("/sdapi/v1/txt2img", body).generated(t)
	require.Len(t, g.images, 2, "no grid unless asked for")
	folder := filepath.Join(dir, "outputs/txt2img-images/2024-04-22")
	require.FileExists(t, filepath.Join(folder, "00000-5.png"))
	saved, err := os.ReadFile(filepath.Join(folder, "00001-6.png"))
	require.NoError(t, err)
	require.Equal(t, g.images[1], saved)

	body["override_settings"] = map[string]any{"return_grid": true}
	g = f.post("/sdapi/v1/txt2img", body).generated(t)
	require.Len(t, g.images, 3)
	require.Len(t, g.info["infotexts"], 3)
	require.EqualValues(t, 1, g.info["index_of_first_image"])
	require.FileExists(t, filepath.Join(folder, "00003-6.png"))

	body["override_settings"] = map[string]any{"outdir_txt2img_samples": "../elsewhere"}
	g = f.post("/sdapi/v1/txt2img", body).generated(t)
	require.Contains(t, g.info["notes"].([]any)[0], "is not inside")
	require.NoDirExists(t, filepath.Join(filepath.Dir(dir), "elsewhere"))
}

func TestStyles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "styles.csv")
	require.NoError(t, os.WriteFile(path, []byte("\ufeffname,prompt,negative_prompt\nfine,\"masterpiece, {prompt}\",ugly\nnight,dark,\n"), 0o600))
	f := start(t, func(c *sdapi.Config) { c.StylesFiles = []string{path, path + ".missing"} })
	g := f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "cat", "styles": []string{"fine", "night", "unknown"}})).generated(t)
	require.Equal(t, "masterpiece, cat, dark", g.info["prompt"])
	require.Equal(t, "ugly", g.info["negative_prompt"])
	require.Equal(t, []any{"fine", "night", "unknown"}, g.info["styles"])
	require.JSONEq(t, `[{"name":"fine","prompt":"masterpiece, {prompt}","negative_prompt":"ugly"},{"name":"night","prompt":"dark","negative_prompt":""}]`,
		string(f.get("/sdapi/v1/prompt-styles").body))
}

func TestHires(t *testing.T) {
	f := start(t)
	hires := func(more map[string]any) *inference.Hires {
		f.post("/sdapi/v1/txt2img", small(more)).generated(t)
		return f.gen.Last().Hires
	}
	require.Nil(t, hires(nil))
	h := hires(map[string]any{"enable_hr": true, "prompt": "p", "negative_prompt": "n"})
	require.Equal(t, inference.Hires{Width: 128, Height: 128, Upscaler: "Latent", Sampler: "Euler", Prompt: "p", NegativePrompt: "n", CFGScale: 7}, *h)
	require.InDelta(t, 0.75, f.gen.Last().DenoisingStrength, 0, "instead of the original's failure on null")
	h = hires(map[string]any{
		"enable_hr": true, "denoising_strength": 0, "hr_resize_x": 96, "hr_resize_y": 128, "hr_second_pass_steps": 7.0,
		"hr_sampler_name": "DDIM", "hr_scheduler": "Karras", "hr_prompt": "hp", "hr_upscaler": "R-ESRGAN 4x+", "hr_checkpoint_name": "other",
	})
	require.Equal(t, inference.Hires{
		Width: 128, Height: 128, TruncateX: 4, Steps: 7, Upscaler: "R-ESRGAN 4x+", Sampler: "DDIM", Scheduler: "Karras",
		Prompt: "hp", Checkpoint: "/models/other.safetensors", CFGScale: 7,
	}, *h)
	require.Zero(t, f.gen.Last().DenoisingStrength)
	hires(map[string]any{"enable_hr": true, "denoising_strength": 0.5, "hr_sampler_name": "Use same sampler", "hr_scheduler": "Use same scheduler", "hr_checkpoint_name": "Use same checkpoint", "hr_prompt": nil})
	h = hires(map[string]any{"enable_hr": true, "denoising_strength": 0.5, "firstphase_width": 32, "firstphase_height": 40})
	require.Equal(t, 32, f.gen.Last().Width)
	require.Equal(t, [2]int{64, 80}, [2]int{h.Width, h.Height})
	got := f.post("/sdapi/v1/txt2img", small(map[string]any{"enable_hr": true, "hr_scale": 1e300}))
	require.Equal(t, 422, got.status)
}

func TestImg2Img(t *testing.T) {
	f := start(t)
	clear := imageio.NewRGBA(8, 8)
	rgba := image.NewNRGBA(image.Rect(0, 0, 8, 8))
	copy(rgba.Pix, clear.Pix)
	var buf strings.Builder
	require.NoError(t, png.Encode(&buf, rgba))
	transparent := base64.StdEncoding.EncodeToString([]byte(buf.String()))

	body := map[string]any{
		"init_images": []string{transparent, "data:image/png;base64," + encoded(t, 16, 16)}, "batch_size": 3, "steps": 2, "width": 64, "height": 64,
		"mask": maskPicture(t, 16, 16), "mask_blur": 2, "inpaint_full_res": false, "inpainting_mask_invert": true, "resize_mode": 9,
		"override_settings": map[string]any{"img2img_background_color": "#f00"},
	}
	g := f.post("/sdapi/v1/img2img", body).generated(t)
	require.Nil(t, g.parameters["init_images"])
	require.Nil(t, g.parameters["mask"])
	require.Len(t, g.images, 2, "fewer pictures than batch_size lower it")
	req := f.gen.Last()
	require.Equal(t, imageio.Fill(8, 8, [3]uint8{255, 0, 0}), req.Init.Images[0])
	require.Equal(t, 2, req.Init.ResizeMode)
	mask := req.Init.Mask
	require.Equal(t, [2]int{2, 2}, [2]int{mask.BlurX, mask.BlurY})
	require.True(t, mask.Invert)
	require.True(t, mask.Round)
	require.Equal(t, uint8(255), mask.Image.Pix[0])
	require.InDelta(t, 0.75, req.DenoisingStrength, 0)
	require.InDelta(t, 1, req.Init.NoiseMultiplier, 0)

	body["include_init_images"] = true
	g = f.post("/sdapi/v1/img2img", body).generated(t)
	require.Len(t, g.parameters["init_images"], 2)

	body["batch_size"] = 1
	got := f.post("/sdapi/v1/img2img", body)
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), `"errors":"bad number of images passed: 2; expecting 1 or less"`)
	require.Equal(t, 500, f.post("/sdapi/v1/img2img", map[string]any{"init_images": []string{}}).status)
}

func TestImageFields(t *testing.T) {
	f := start(t)
	for name, tc := range map[string]struct {
		image  any
		status int
		text   string
	}{
		"local address":      {"http://127.0.0.1:1/x.png", 500, "Request to local resource not allowed"},
		"local name":         {"http://localhost:1/x.png", 500, "Request to local resource not allowed"},
		"private address":    {"http://10.0.0.1/x.png", 500, "Request to local resource not allowed"},
		"no web":             {"https://8.8.8.8/x.png", 500, "Requests not allowed"},
		"empty":              {"", 422, "Invalid encoded image"},
		"other media type":   {"data:text/plain;base64,aGk=", 422, "Invalid encoded image"},
		"no payload":         {"data:image/png", 500, "list index out of range"},
		"number":             {3, 500, "must be a string"},
		"gaps in the base64": {strings.Join(strings.SplitAfterN(encoded(t, 8, 8), "A", 3), "\n "), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := f.post("/sdapi/v1/img2img", small(map[string]any{"init_images": []any{tc.image}}))
			require.Equal(t, tc.status, got.status, "%s", got.body)
			require.Contains(t, string(got.body), tc.text)
		})
	}
}

func TestSeeds(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		seed any
		want int64
	}{{-1, 4242}, {nil, 4242}, {"7", 7}, {8.9, 8}, {int64(1) << 40, 1 << 40}} {
		body := small(map[string]any{"seed": tc.seed})
		g := f.post("/sdapi/v1/txt2img", body).generated(t)
		require.Equal(t, tc.want, f.gen.Last().Seed)
		require.EqualValues(t, tc.want, g.info["seed"])
	}
	require.Equal(t, 500, f.post("/sdapi/v1/txt2img", small(map[string]any{"seed": json.RawMessage("99999999999999999999")})).status)
}

// Schedules of other programs and misspelt ones draw as in A1111, and are told.
func TestUnknownSchedules(t *testing.T) {
	f := start(t)
	notes := func(more map[string]any) any {
		return f.post("/sdapi/v1/txt2img", small(more)).generated(t).info["notes"]
	}
	require.Equal(t, []any{"there is no schedule 'beta57'; the noise levels of the model are used"}, notes(map[string]any{"scheduler": "beta57"}))
	require.Equal(t, []any{"there is no schedule 'KARRAS'; the noise levels of the model are used"},
		notes(map[string]any{"enable_hr": true, "denoising_strength": 0.5, "hr_scheduler": "KARRAS"}))
	require.Equal(t, []any{}, notes(map[string]any{"scheduler": "beta57", "sampler_name": "DDIM"}), "it has its own steps")
	for _, known := range []any{nil, "", "automatic", "Automatic", "karras", "SGM Uniform", "beta"} {
		require.Equal(t, []any{}, notes(map[string]any{"scheduler": known, "enable_hr": true, "denoising_strength": 0.5, "hr_scheduler": known}), known)
	}
}

func TestOddNumbers(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		field  string
		value  any
		status int
	}{
		{"width", 0, 500},
		{"height", 7, 500},
		{"n_iter", -1, 500},
		{"steps", 0, 500},
		{"steps", nil, 500},
		{"cfg_scale", nil, 500},
		{"subseed_strength", nil, 500},
		{"width", 100000, 422},
		{"steps", 100000, 422},
		{"batch_size", 100000, 422},
		{"cfg_scale", json.RawMessage("NaN"), 500},
		{"cfg_scale", json.RawMessage("1e999"), 500},
		{"eta", "inf", 500},
		{"prompt", nil, 200},
		{"prompt", strings.Repeat("a cat, ", 800_000), 422},
		{"negative_prompt", strings.Repeat("(", 200_000), 422},
		{"prompt", strings.Repeat("a AND ", 10_000) + "b", 422},
		{"hr_scale", nil, 200},
		{"scheduler", "no such", 200},
		{"sampler_name", "", 200},
		{"sampler_name", "euler", 404},
		{"sampler_name", "k_euler", 404},
		{"refiner_checkpoint", "zzz", 500},
		{"seed", json.RawMessage("9223372036854775808"), 500},
	} {
		raw := `{"steps":1,"width":64,"height":64,"` + tc.field + `":` + jsonText(t, tc.value) + `}`
		got := f.send("POST", "/sdapi/v1/txt2img", raw)
		require.Equal(t, tc.status, got.status, "%s %v: %s", tc.field, tc.value, got.body)
		if tc.status >= 404 {
			require.Equal(t, []string{"error", "detail", "body", "errors"}, keysOf(t, got.body))
		}
	}
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	if raw, ok := v.(json.RawMessage); ok {
		return string(raw)
	}
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out)
}

func TestConditionalKeys(t *testing.T) {
	f := start(t)
	f.gen.Channels = 9
	for _, tc := range []struct {
		path string
		body map[string]any
		want string
	}{
		{"txt2img", map[string]any{"restore_faces": true}, ", Face restoration: CodeFormer, Size: 64x64, "},
		{"txt2img", map[string]any{}, ", Conditional mask weight: 1.0, Version"},
		{"txt2img", map[string]any{"override_settings": map[string]any{"token_merging_ratio": 0.5}}, ", Token merging ratio: 0.5, Version"},
		{"img2img", map[string]any{"override_settings": map[string]any{"token_merging_ratio_img2img": 0.25}, "image_cfg_scale": 1.5}, ", Token merging ratio: 0.25, Version"},
		{"img2img", map[string]any{"image_cfg_scale": 1.5}, "CFG scale: 7.0, Image CFG scale: 1.5, Seed: 1"},
		{"img2img", map[string]any{"initial_noise_multiplier": 0.5, "override_settings": map[string]any{"img2img_extra_noise": 0.1}}, ", Noise multiplier: 0.5, Extra noise: 0.1, Version"},
	} {
		if tc.path == "img2img" {
			tc.body["init_images"] = []string{encoded(t, 8, 8)}
		}
		g := f.post("/sdapi/v1/"+tc.path, small(tc.body)).generated(t)
		require.Contains(t, g.info["infotexts"].([]any)[0], tc.want)
	}
}

// Weights that are no number fail as in A1111, in any of the prompts; with
// emphasis "None" brackets are text.
func TestBrokenWeights(t *testing.T) {
	f := start(t)
	const broken = "a (b:1.2.3) c"
	for name, change := range map[string]map[string]any{
		"prompt":    {"prompt": broken},
		"negative":  {"negative_prompt": broken},
		"AND":       {"prompt": "a AND " + broken},
		"timetable": {"prompt": "[a:" + broken + ":0.5]"},
		"hires":     {"hr_prompt": broken, "enable_hr": true, "denoising_strength": 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			got := f.post("/sdapi/v1/txt2img", small(change))
			require.Equal(t, 500, got.status)
			require.JSONEq(t, `{"error":"ValueError","detail":"","body":"","errors":"could not convert string to float: '1.2.3'"}`, string(got.body))
		})
	}
	for _, body := range []map[string]any{
		{"prompt": broken, "override_settings": map[string]any{"emphasis": "None"}},
		{"hr_prompt": broken},
		{"prompt": "(a AND b:1.2.3)"},
	} {
		f.post("/sdapi/v1/txt2img", small(body)).generated(t)
	}
}
