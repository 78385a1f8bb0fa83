package sdapi_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/internal/vectors"
)

func TestScriptErrors(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		body   string
		status int
		detail string
	}{
		{`{"script_name": "nope"}`, 422, "Script 'nope' not found"},
		{`{"script_name": "seed"}`, 422, "Script 'seed' not found"},
		{`{"script_name": "SD Upscale"}`, 422, "Script 'SD Upscale' not found"}, // of img2img only
		{`{"script_name": "ControlNet m2m"}`, 422, "Script 'ControlNet m2m' is not available on this server"},
		{`{"script_name": ""}`, 200, ""},
		{`{"alwayson_scripts": {"Nope": {"args": []}}}`, 422, "Script 'Nope' not found"},
		{`{"alwayson_scripts": {"x/y/z plot": {"args": []}}}`, 422, "Cannot have a selectable script in the always on scripts params"},
		{`{"alwayson_scripts": {"Seed": {"args": [1, 2, 3, 4, 5, 6, 7, 8]}}}`, 200, ""},
		{`{"alwayson_scripts": {"Refiner": {}}}`, 200, ""},
		{`{"alwayson_scripts": {"seed": null}}`, 500, ""},
		{`{"alwayson_scripts": {"seed": {"args": null}}}`, 500, ""},
		{`{"alwayson_scripts": {"ControlNet": {"args": []}}}`, 200, ""},
		{`{"alwayson_scripts": {"ControlNet": {"args": [{}, {"enabled": true}, {"enabled": false, "model": "zzz"}, null, 3]}}}`, 200, ""},
		{`{"alwayson_scripts": {"controlnet": {"args": [{"enabled": true, "model": "zzz", "image": "x"}]}}}`, 500, ""},
		{
			`{"alwayson_scripts": {"controlnet": {"args": [{"enabled": true, "model": "canny", "module": "openpose", "image": "x"}]}}}`, 422,
			"ControlNet preprocessor 'openpose' is not available: send the preprocessed picture with module none",
		},
		{`{"alwayson_scripts": {"controlnet": {"args": [{"enabled": true, "model": "canny"}]}}}`, 422, "ControlNet unit 0 has no image"},
		{`{"script_name": "nope", "sampler_name": "nope"}`, 422, "Script 'nope' not found"}, // scripts are looked for first
		{`{"alwayson_scripts": {"nope": {}}, "sampler_name": "nope"}`, 404, "Sampler not found"},
	} {
		t.Run(tc.body, func(t *testing.T) {
			got := f.post("/sdapi/v1/txt2img", tc.body[:len(tc.body)-1]+`, "width": 64, "height": 64}`)
			require.Equal(t, tc.status, got.status, "%s", got.body)
			if tc.detail != "" {
				var four map[string]string
				require.NoError(t, json.Unmarshal(got.body, &four))
				require.Equal(t, tc.detail, four["detail"])
			}
		})
	}
}

func TestControlNetUnit(t *testing.T) {
	var file struct {
		Cases []struct {
			Input string
			Want  any
		}
	}
	vectors.Load(t, "controlnet_unit_fields.json", &file)
	require.NotEmpty(t, file.Cases)
	unit := map[string]any{}
	for _, tc := range file.Cases {
		unit[tc.Input] = tc.Want
	}
	unit["enabled"], unit["model"], unit["image"] = true, "canny [01234567]", encoded(t, 16, 16)
	f := start(t)
	send := func(unit map[string]any) (generated, inference.ControlUnit) {
		g := f.post("/sdapi/v1/txt2img", small(map[string]any{"alwayson_scripts": map[string]any{"ControlNet": map[string]any{"args": []any{unit}}}})).generated(t)
		require.Len(t, f.gen.Last().Control, 1)
		return g, f.gen.Last().Control[0]
	}
	defaults := inference.ControlUnit{
		Model: "/models/ControlNet/canny.safetensors", Module: "none", Weight: 1, ResizeMode: 1, End: 1,
		Resolution: -1, ThresholdA: -1, ThresholdB: -1, LowRes: true, HighRes: true, ReturnMap: true, CropToMask: true,
	}
	g, got := send(unit)
	require.Equal(t, 16, got.Image.W)
	got.Image = defaults.Image
	require.Equal(t, defaults, got)
	require.Len(t, g.images, 2, "the map comes after the pictures")

	bare := map[string]any{"enabled": true, "model": "canny", "input_image": encoded(t, 16, 16)}
	g, got = send(bare)
	require.Contains(t, g.info["infotexts"].([]any)[0], `ControlNet 0: "Module: none, Model: canny, Weight: 1.0, Resize Mode: Crop and Resize, `+
		`Processor Res: 512, Threshold A: 0.5, Threshold B: 0.5, Guidance Start: 0, Guidance End: 1, Pixel Perfect: False, Control Mode: Balanced"`)
	got.Image = defaults.Image
	require.Equal(t, defaults, got, "fields left out have the same defaults")

	_, got = send(map[string]any{
		"enabled": true, "model": "canny", "module": "canny", "image": map[string]any{"image": encoded(t, 16, 16), "mask": nil},
		"weight": 0.5, "resize_mode": 2, "guidance": 0.75, "lowvram": true, "control_mode": "My prompt is more important", "hr_option": "Low res only",
		"processor_res": 256, "threshold_a": 50, "pixel_perfect": true, "save_detected_map": false, "something": "else",
	})
	got.Image = defaults.Image
	require.Equal(t, inference.ControlUnit{
		Model: "/models/ControlNet/canny.safetensors", Module: "canny", Weight: 0.5, ResizeMode: 2, End: 0.75,
		Mode: inference.ControlModePrompt, PixelPerfect: true, Resolution: 256, ThresholdA: 50, ThresholdB: -1, LowRes: true, CropToMask: true,
	}, got)
}

func TestControlNetArgs(t *testing.T) {
	f := start(t)
	send := func(args ...any) []any {
		g := f.post("/sdapi/v1/txt2img", small(map[string]any{"alwayson_scripts": map[string]any{"controlnet": map[string]any{"args": args}}})).generated(t)
		notes, _ := g.info["notes"].([]any)
		return notes
	}
	picture := encoded(t, 16, 16)
	for _, tc := range []struct {
		name  string
		args  []any
		units int
		note  string
	}{
		{"positional", []any{true, "canny", "canny [01234567]", 1.0, picture}, 0, "5 of the 5 args of ControlNet are no objects and did nothing"},
		{"positional in a list", []any{[]any{true, "canny"}, map[string]any{"enabled": true, "model": "canny", "image": picture}}, 1, "1 of the 2 args of ControlNet"},
		{"without enabled", []any{map[string]any{"model": "canny", "image": picture}}, 1, ""},
		{"enabled null", []any{map[string]any{"enabled": nil, "model": "canny", "image": picture}}, 1, ""},
		{"switched off", []any{map[string]any{"enabled": false, "model": "canny", "image": picture}}, 0, "ControlNet unit 0 is not enabled and did nothing"},
		{"without enabled and model", []any{map[string]any{"module": "canny", "image": picture}}, 0, ""},
		{"empty", []any{map[string]any{}, nil, map[string]any{"model": "None", "module": "none"}}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			notes := send(tc.args...)
			require.Len(t, f.gen.Last().Control, tc.units)
			if tc.note == "" {
				require.Empty(t, notes)
				return
			}
			require.Len(t, notes, 1)
			require.Contains(t, notes[0], tc.note)
		})
	}
}

func TestSDUpscale(t *testing.T) {
	f := start(t)
	g := f.post("/sdapi/v1/img2img", map[string]any{
		"init_images": []string{encoded(t, 64, 64)}, "width": 64, "height": 64, "steps": 2, "seed": 5, "n_iter": 2, "batch_size": 2,
		"script_name": "SD upscale", "script_args": []any{"", 8, "lanczos", 2.0},
	}).generated(t)
	require.Len(t, g.images, 2)
	require.Equal(t, 10, f.gen.Jobs(), "9 tiles in batches of 2, twice")
	m, _ := reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, [2]int{128, 128}, [2]int{m.W, m.H})
	require.Equal(t, []any{5.0, 6.0}, g.info["all_seeds"])
	require.Contains(t, g.info["infotexts"].([]any)[0], "SD upscale overlap: 8, SD upscale upscaler: Lanczos")
	for _, args := range []string{`["", 64]`, `["", 8, "zzz"]`, `["", 8, 99]`, `["", "x"]`, `["", 8, "None", -1]`} {
		got := f.post("/sdapi/v1/img2img", `{"init_images": ["`+encoded(t, 64, 64)+`"], "width": 64, "height": 64, "script_name": "sd upscale", "script_args": `+args+`}`)
		require.Equal(t, 500, got.status, args)
	}
	got := f.post("/sdapi/v1/img2img", `{"init_images": ["`+encoded(t, 2000, 64)+`"], "width": 64, "height": 64, "script_name": "sd upscale", "script_args": ["", 0, "None", 16]}`)
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "a side of 32000 pixels")
}

func TestDetect(t *testing.T) {
	f := start(t)
	image := encoded(t, 32, 16)
	o := f.post("/controlnet/detect", map[string]any{"controlnet_module": "canny", "controlnet_input_images": []string{image}, "controlnet_processor_res": 64}).object(t)
	require.Equal(t, "Success", o["info"])
	m, _ := reply{}.picture(t, o["images"].([]any)[0])
	require.Equal(t, [2]int{128, 64}, [2]int{m.W, m.H})
	for body, detail := range map[string]string{
		`{"controlnet_module": "zzz"}`:   "Module not available",
		`{"controlnet_module": "canny"}`: "No image selected",
		`{"controlnet_module": "ip-adapter-auto", "controlnet_input_images": ["` + image + `"]}`: "Module not supported",
		`{"controlnet_module": "inpaint", "controlnet_input_images": ["` + image + `"]}`:         "Preprocessor inpaint requires `controlnet_masks` param.",
	} {
		got := f.post("/controlnet/detect", body)
		require.Equal(t, 422, got.status)
		require.Contains(t, string(got.body), detail)
	}
	sized := func(body map[string]any) [2]int {
		t.Helper()
		body["controlnet_input_images"] = []string{image}
		m, _ := reply{}.picture(t, f.post("/controlnet/detect", body).object(t)["images"].([]any)[0])
		return [2]int{m.W, m.H}
	}
	require.Equal(t, [2]int{1024, 512}, sized(map[string]any{"controlnet_module": "canny", "controlnet_processor_res": 5000}), "out of bounds")
	require.Equal(t, [2]int{32, 16}, sized(map[string]any{"controlnet_module": "invert", "controlnet_processor_res": 64}))
	require.Equal(t, [2]int{16, 8}, sized(map[string]any{"controlnet_module": "tile_resample", "controlnet_threshold_a": 2}))
	require.Equal(t, [2]int{32, 16}, sized(map[string]any{"controlnet_module": "inpaint_only", "controlnet_masks": []string{image}}))

	list := f.get("/controlnet/module_list?alias_names=false").object(t)
	require.Equal(t, []any{
		"none", "ip-adapter-auto", "tile_resample", "recolor_luminance", "lineart_standard", "ip-adapter_clip_sd15", "inpaint_only", "canny", "invert",
		"tile_colorfix+sharp", "tile_colorfix",
		"threshold", "shuffle", "scribble_xdog", "recolor_intensity", "inpaint", "depth_anything_v2", "depth_anything", "blur_gaussian",
	}, list["module_list"])
	require.Equal(t, map[string]any{"model_free": false, "sliders": []any{
		map[string]any{"name": "Resolution", "value": 512.0, "min": 64.0, "max": 2048.0, "step": 8.0},
		map[string]any{"name": "Variation", "value": 8.0, "min": 3.0, "max": 32.0, "step": 1.0},
		map[string]any{"name": "Sharpness", "value": 1.0, "min": 0.0, "max": 2.0, "step": 0.01},
	}}, list["module_detail"].(map[string]any)["tile_colorfix+sharp"])
	require.Contains(t, f.get("/controlnet/module_list?alias_names=true").object(t)["module_list"], "inpaint_global_harmonious")
	types := f.get("/controlnet/control_types").object(t)["control_types"].(map[string]any)
	require.Equal(t, []any{"none", "tile_resample", "tile_colorfix+sharp", "tile_colorfix", "blur_gaussian"}, types["Tile"].(map[string]any)["module_list"])
	require.Equal(t, "tile_resample", types["Tile"].(map[string]any)["default_option"])
}

func TestControlNetPictures(t *testing.T) {
	f := start(t)
	send := func(path string, body, unit map[string]any) reply {
		unit["enabled"], unit["model"] = true, "canny"
		body["alwayson_scripts"] = map[string]any{"ControlNet": map[string]any{"args": []any{unit}}}
		return f.post(path, small(body))
	}
	grey, white := coloured(t, 16, 16, [3]uint8{100, 100, 100}), coloured(t, 16, 16, [3]uint8{255, 255, 255})

	send("/sdapi/v1/txt2img", map[string]any{}, map[string]any{"module": "inpaint_only", "image": white, "mask": grey}).generated(t)
	got := f.gen.Last().Control[0]
	require.Equal(t, uint8(100), got.Mask.Pix[0])
	require.Equal(t, uint8(255), got.Image.Pix[0])

	send("/sdapi/v1/txt2img", map[string]any{}, map[string]any{"module": "canny", "image": []any{white, grey}}).generated(t)
	got = f.gen.Last().Control[0]
	require.Nil(t, got.Mask)
	require.Equal(t, uint8(100), got.Image.Pix[0], "a drawn mask is the picture")

	send("/sdapi/v1/txt2img", map[string]any{}, map[string]any{"module": "canny", "image": map[string]any{"image": grey, "mask": white}}).generated(t)
	require.Equal(t, uint8(100), f.gen.Last().Control[0].Image.Pix[0], "a mask of all is none")

	body := map[string]any{"init_images": []any{grey}, "mask": white}
	send("/sdapi/v1/img2img", body, map[string]any{"module": "inpaint_only"}).generated(t)
	got = f.gen.Last().Control[0]
	require.True(t, got.OfInit)
	require.Equal(t, "inpaint", got.Module, "the job inpaints itself")

	weights := make([]any, inference.ControlLayers)
	for i := range weights {
		weights[i] = float64(i)
	}
	g := send("/sdapi/v1/txt2img", map[string]any{}, map[string]any{"module": "tile_colorfix", "image": grey, "advanced_weighting": weights, "threshold_a": 99}).generated(t)
	require.InDelta(t, 12, f.gen.Last().Control[0].LayerWeights[12], 0)
	require.Contains(t, g.info["infotexts"].([]any)[0], "Threshold A: 8.0, Threshold B: 0.5")

	for detail, unit := range map[string]map[string]any{
		"advanced_weighting must be a list of 13 numbers": {"image": grey, "advanced_weighting": []any{1, 2}},
		"not aligned with mask shape":                     {"image": grey, "mask": coloured(t, 8, 16, [3]uint8{9, 9, 9})},
		"has a mask and no image":                         {"mask": grey},
		"takes one image, 3 were sent":                    {"image": []any{grey, grey, grey}},
	} {
		got := send("/sdapi/v1/txt2img", map[string]any{}, unit)
		require.Equal(t, 422, got.status)
		require.Contains(t, string(got.body), detail)
	}
}

// coloured is a picture of one colour as clients send it.
func coloured(t *testing.T, w, h int, colour [3]uint8) string {
	t.Helper()
	file, err := imageio.EncodePNG(imageio.Fill(w, h, colour))
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(file)
}
