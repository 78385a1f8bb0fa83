package sdapi_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/detect"
)

var faceUnit = map[string]any{"ad_model": "face_yolov8n.pt"}

// with is a unit with further fields.
func faceWith(more map[string]any) map[string]any {
	unit := map[string]any{"ad_model": "face_yolov8n.pt"}
	maps.Copy(unit, more)
	return unit
}

// A unit's ControlNet sees what is repainted, by the preprocessor that goes with its name.
func TestADetailerControlNet(t *testing.T) {
	f := start(t)
	f.post("/sdapi/v1/txt2img", detailed(small(nil), faceWith(map[string]any{
		"ad_controlnet_model": "canny", "ad_controlnet_module": "tile_resample", "ad_controlnet_weight": 0.5, "ad_controlnet_guidance_start": 0.1, "ad_controlnet_guidance_end": 0.8,
	}))).generated(t)
	path := f.gen.Last().Details[0].Control[0].Model
	require.Equal(t, []inference.ControlUnit{{
		Model: path, Module: "tile_resample", OfInit: true, CropToMask: true, PixelPerfect: true, LowRes: true, HighRes: true,
		Weight: 0.5, Start: 0.1, End: 0.8, ResizeMode: 1, Resolution: -1, ThresholdA: -1, ThresholdB: -1,
	}}, f.gen.Last().Details[0].Control)
	require.NotEmpty(t, path)
	require.Empty(t, f.gen.Last().Control, "of the details alone")

	f.post("/sdapi/v1/txt2img", detailed(small(nil), faceWith(map[string]any{"ad_controlnet_model": "canny"}))).generated(t)
	require.Equal(t, "none", f.gen.Last().Details[0].Control[0].Module)

	// The job's own units are theirs only if they are passed through.
	for model, count := range map[string]int{"None": 0, "Passthrough": 1} {
		body := detailed(small(nil), faceWith(map[string]any{"ad_controlnet_model": model}))
		body["alwayson_scripts"].(map[string]any)["ControlNet"] = map[string]any{"args": []any{map[string]any{"enabled": true, "model": "canny", "module": "canny", "image": blackPNG(64)}}}
		f.post("/sdapi/v1/txt2img", body).generated(t)
		require.Len(t, f.gen.Last().Details[0].Control, count)
		require.Len(t, f.gen.Last().Control, 1)
	}
}

// In the jobs of details only those scripts act that the extension's options name, and of
// the request's own settings none.
func TestScriptsInsideOfADetailer(t *testing.T) {
	f := start(t)
	send := func(options map[string]any) inference.Request {
		t.Helper()
		body := detailed(small(map[string]any{"override_settings": options, "s_churn": 0.5, "eta": 0.3, "disable_extra_networks": true}), faceUnit)
		scripts := body["alwayson_scripts"].(map[string]any)
		for name, args := range map[string][]any{
			"FreeU Integrated": {true}, "PerturbedAttentionGuidance Integrated": {true}, `"APG's now your CFG" for Forge`: {true}, "CFG-Zero*": {true},
			"CFG Rescale Extension": {0.7}, "Dynamic Thresholding (CFG Scale Fix)": {true, 5},
		} {
			scripts[name] = map[string]any{"args": args}
		}
		f.post("/sdapi/v1/txt2img", body).generated(t)
		return *f.gen.Last()
	}
	r := send(nil)
	inner := r.Details[0].Settings
	require.True(t, r.Settings.FreeU.Version == 2 && r.Settings.Perturbation.Scale > 0 && r.Settings.Projection.Enabled && r.Settings.ZeroStar && r.Settings.CFGRescale == 0.7)
	require.Equal(t, r.Settings.Thresholding, inner.Thresholding, "is on the extension's list")
	require.True(t, inner.FreeU.Version == 0 && inner.Perturbation.Scale == 0 && !inner.Projection.Enabled && !inner.ZeroStar && inner.CFGRescale == 0, "are not")
	require.Equal(t, []any{0.0, 1.0, false}, []any{inner.SChurn, inner.Eta, inner.DisableExtraNetworks})

	require.Equal(t, 0.2, send(map[string]any{"cfg_rescale": 0.2}).Details[0].Settings.CFGRescale, "an option is for all")
	inner = send(map[string]any{"ad_script_names": "freeu, CFGRescale"}).Details[0].Settings
	require.True(t, inner.FreeU.Version == 2 && inner.CFGRescale == 0.7 && !inner.Thresholding.Enabled)
	r = send(map[string]any{"ad_only_selected_scripts": false})
	inner = r.Details[0].Settings
	require.Equal(t, []any{r.Settings.FreeU, r.Settings.Perturbation, r.Settings.Projection, true}, []any{inner.FreeU, inner.Perturbation, inner.Projection, inner.ZeroStar})
}

func TestOptionsOfADetailer(t *testing.T) {
	f := start(t)
	send := func(options map[string]any, units ...any) (inference.DetailUnit, []any) {
		t.Helper()
		g := f.post("/sdapi/v1/txt2img", detailed(small(map[string]any{"override_settings": options}), append([]any{faceUnit}, units...)...)).generated(t)
		return f.gen.Last().Details[0], g.info["notes"].([]any)
	}
	for name, order := range map[string]detect.Order{
		"None": detect.AsFound, "Position (left to right)": detect.LeftToRight, "Position (center to edge)": detect.FromCentre, "Area (large to small)": detect.ByArea,
	} {
		u, notes := send(map[string]any{"ad_bbox_sortby": name})
		require.Equal(t, order, u.Selection.Order)
		require.Empty(t, notes)
	}
	u, notes := send(map[string]any{"ad_same_seed_for_each_tab": true, "ad_dynamic_denoise_power": 2, "ad_match_inpaint_bbox_size": "Free"})
	require.Equal(t, []any{true, 2.0, true}, []any{u.SameSeed, u.DenoisePower, u.MatchBoxes})
	require.Empty(t, notes)
	for option, value := range map[string]any{
		"ad_save_previews": true, "ad_save_images_before": true, "ad_extra_models_dir": "/etc", "ad_bbox_sortby": "zzz", "ad_match_inpaint_bbox_size": "Strict (SDXL only)",
	} {
		_, notes := send(map[string]any{option: value})
		require.Len(t, notes, 1, option)
		require.Contains(t, notes[0], option)
	}
	require.Equal(t, 422, f.post("/sdapi/v1/txt2img", detailed(small(map[string]any{"override_settings": map[string]any{"ad_dynamic_denoise_power": 11}}), faceUnit)).status)

	// How many units there are is settled before a request overrides anything.
	f.post("/sdapi/v1/options", map[string]any{"ad_max_models": 5}).object(t)
	f.post("/sdapi/v1/txt2img", detailed(small(nil), faceUnit, faceUnit, faceUnit, faceUnit, faceUnit)).generated(t)
	require.Len(t, f.gen.Last().Details, 5)
}

// Details of a picture whose prompt is made of a template have that prompt, and their own
// templates are expanded by the seed of each object.
func TestADetailerOfDynamicPrompts(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	send := func(options map[string]any, unit map[string]any) []*inference.Request {
		before := len(f.gen.Recorded())
		body := detailed(small(map[string]any{"prompt": "a {red|green|blue} cat", "batch_size": 3, "override_settings": options}), unit)
		body["alwayson_scripts"].(map[string]any)["Dynamic Prompts v2.17.1"] = map[string]any{"args": []any{}}
		f.post("/sdapi/v1/txt2img", body).generated(t)
		return f.gen.Recorded()[before:]
	}
	for _, r := range send(nil, faceUnit) {
		require.NotContains(t, r.Prompt, "{")
		require.Equal(t, []string{r.Prompt}, r.Details[0].Prompts)
	}
	jobs := send(nil, faceWith(map[string]any{"ad_prompt": "a {big|small|round|long} face, [PROMPT]"}))
	require.Len(t, jobs, 3, "each picture has details of its own")
	seen := map[string]bool{}
	for _, r := range jobs {
		for _, text := range r.Details[0].Prompts {
			require.NotContains(t, text, "{")
			require.Contains(t, text, " face, "+r.Prompt)
			seen[text[:7]] = true
		}
		require.Greater(t, len(r.Details[0].Prompts), 1)
	}
	require.Len(t, seen, 4, "all of them come")
	jobs = send(map[string]any{"ad_script_names": ""}, faceWith(map[string]any{"ad_prompt": "a {big|small} face"}))
	require.Equal(t, []string{"a {big|small} face"}, jobs[0].Details[0].Prompts)
}

// Templates of units are expanded for each object of each picture, and are bounded together.
func TestTemplatesOfADetailerTakeBoundedMemory(t *testing.T) {
	f := start(t)
	unit := maps.Clone(faceUnit)
	unit["ad_prompt"] = "{a|b}" + strings.Repeat(" ", 100_000) + "c"
	body := detailed(small(map[string]any{"prompt": "a {red|green|blue} cat", "n_iter": 1000, "steps": 1}), unit, unit, unit, unit)
	body["alwayson_scripts"].(map[string]any)["Dynamic Prompts v2.17.1"] = map[string]any{"args": []any{}}
	var got reply
	taken := allocated(func() { got = f.post("/sdapi/v1/txt2img", body) })
	require.Equal(t, 422, got.status, "%s", got.body)
	require.Contains(t, string(got.body), "ask for fewer pictures or shorter templates")
	require.Less(t, taken, uint64(1<<30), "the text would be 13 GB")
	require.Zero(t, f.gen.Jobs())
}
