package sdapi_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
	"sdworker/internal/vectors"
)

const faceModel = "/models/adetailer/face_yolov8n.pt"

// detailed sends a request with arguments of ADetailer.
func detailed(body map[string]any, args ...any) map[string]any {
	body["alwayson_scripts"] = map[string]any{"ADetailer": map[string]any{"args": append([]any{}, args...)}}
	return body
}

func infotext(t *testing.T, g generated) string {
	t.Helper()
	return g.info["infotexts"].([]any)[0].(string)
}

// A unit of which only the model is named has the extension's defaults, and so has one
// with all fields at theirs.
func TestADetailerDefaults(t *testing.T) {
	var file struct {
		Cases []struct {
			Input string
			Want  any
		}
	}
	vectors.Load(t, "adetailer_fields.json", &file)
	require.NotEmpty(t, file.Cases)
	unit := map[string]any{}
	for _, tc := range file.Cases {
		unit[tc.Input] = tc.Want
	}
	unit["ad_model"] = "face_yolov8n.pt"
	f := start(t)
	for _, args := range [][]any{{unit}, {map[string]any{"ad_model": "face_yolov8n.pt"}}, {true, false, unit}, {true, unit}} {
		g := f.post("/sdapi/v1/txt2img", detailed(map[string]any{
			"prompt": "a cat", "negative_prompt": "bad", "width": 64, "height": 96, "steps": 3, "sampler_name": "Heun", "scheduler": "Karras", "cfg_scale": 5,
		}, args...)).generated(t)
		require.Empty(t, g.info["notes"])
		require.Equal(t, []inference.DetailUnit{{
			Model: faceModel, Confidence: 0.3, Selection: detect.Selection{MaxRatio: 1, Grow: 4},
			Prompts: []string{"a cat"}, NegativePrompts: []string{"bad"},
			Checkpoint: f.gen.Last().Files.Checkpoint, Sampler: "Heun", Scheduler: "Karras", Steps: 3, CFGScale: 5, Width: 64, Height: 96, Settings: f.gen.Last().Settings,
			DenoisingStrength: 0.4, NoiseMultiplier: 1, Mask: inference.Mask{BlurX: 4, BlurY: 4, Fill: 1, Round: true, OnlyMasked: true, Padding: 32},
		}}, f.gen.Last().Details)
	}
}

// What the extension writes into the infotext, and what it refuses.
func TestADetailerInfotext(t *testing.T) {
	var file struct {
		Cases []struct {
			Name    string
			Input   []any
			Want    string
			Invalid []int
		}
	}
	vectors.Load(t, "adetailer_infotext.json", &file)
	require.NotEmpty(t, file.Cases)
	f := start(t)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			g := f.post("/sdapi/v1/txt2img", detailed(small(nil), tc.Input...)).generated(t)
			_, got, ok := strings.Cut(infotext(t, g), "ADetailer model: ")
			if tc.Want == "" {
				require.False(t, ok, got)
			} else {
				got, _, _ = strings.Cut("ADetailer model: "+got, ", Version")
				require.Equal(t, tc.Want, got)
			}
			invalid := 0
			for _, note := range g.info["notes"].([]any) {
				if strings.Contains(note.(string), "of ADetailer is not valid and did nothing") {
					invalid++
				}
			}
			require.Equal(t, len(tc.Invalid), invalid, g.info["notes"])
		})
	}
}

// Everything that a unit can say reaches the pipeline.
func TestADetailerUnit(t *testing.T) {
	f := start(t)
	unit := map[string]any{
		"ad_model": "hand_yolov8n.pt", "ad_prompt": "one, [PROMPT] [SEP] [SKIP][SEP]", "ad_negative_prompt": "[PROMPT], two", "ad_confidence": 0.5,
		"ad_mask_filter_method": "Confidence", "ad_mask_k": 2, "ad_mask_min_ratio": 0.1, "ad_mask_max_ratio": 0.9, "ad_dilate_erode": -8,
		"ad_x_offset": 3, "ad_y_offset": -4, "ad_mask_merge_invert": "Merge and Invert", "ad_mask_blur": 0, "ad_denoising_strength": 1,
		"ad_inpaint_only_masked": false, "ad_inpaint_only_masked_padding": 1, "ad_use_inpaint_width_height": true, "ad_inpaint_width": 643, "ad_inpaint_height": 768,
		"ad_use_steps": true, "ad_steps": 5, "ad_use_cfg_scale": true, "ad_cfg_scale": 3, "ad_use_checkpoint": true, "ad_checkpoint": "other.safetensors",
		"ad_use_vae": true, "ad_vae": "sharp.safetensors", "ad_use_sampler": true, "ad_sampler": "DPM++ 2M Karras", "ad_scheduler": "Use same scheduler",
		"ad_use_noise_multiplier": true, "ad_noise_multiplier": 1.25, "ad_use_clip_skip": true, "ad_clip_skip": 2,
	}
	g := f.post("/sdapi/v1/txt2img", detailed(map[string]any{"prompt": "a cat <lora:foo:1>", "negative_prompt": "bad", "width": 64, "height": 64}, unit)).generated(t)
	require.Empty(t, g.info["notes"])
	skipped := f.gen.Last().Settings
	skipped.ClipSkip = 2
	require.Equal(t, []inference.DetailUnit{{
		Model: "/models/adetailer/hand_yolov8n.pt", Confidence: 0.5,
		Selection: detect.Selection{MinRatio: 0.1, MaxRatio: 0.9, Top: 2, ByConfidence: true, OffsetX: 3, OffsetY: -4, Grow: -8, Merge: detect.MergeInvert},
		Prompts:   []string{"one, a cat <lora:foo:1>", "[SKIP]", "a cat <lora:foo:1>"}, NegativePrompts: []string{"bad, two"},
		Checkpoint: "/models/other.safetensors", VAE: "/models/VAE/sharp.safetensors",
		Sampler: "DPM++ 2M", Scheduler: "Automatic", Steps: 5, CFGScale: 3, Width: 643, Height: 768, OwnSize: true, Settings: skipped,
		DenoisingStrength: 1, NoiseMultiplier: 1.25, Mask: inference.Mask{Fill: 1, Round: true, Padding: 1},
	}}, f.gen.Last().Details)

	unit["ad_sampler"], unit["ad_scheduler"] = "Use same sampler", "Exponential"
	f.post("/sdapi/v1/txt2img", detailed(small(map[string]any{"sampler_name": "Heun", "scheduler": "Karras"}), unit)).generated(t)
	got := f.gen.Last().Details[0]
	require.Equal(t, [2]string{"Heun", "Exponential"}, [2]string{got.Sampler, got.Scheduler})
}

func TestADetailerArguments(t *testing.T) {
	f := start(t)
	face, hand := map[string]any{"ad_model": "face_yolov8n.pt"}, map[string]any{"ad_model": "hand_yolov8n.pt"}
	with := func(more ...any) map[string]any {
		unit := map[string]any{"ad_model": "face_yolov8n.pt"}
		for i := 0; i < len(more); i += 2 {
			unit[more[i].(string)] = more[i+1]
		}
		return unit
	}
	for _, tc := range []struct {
		name  string
		args  []any
		units int
		note  string // part of it, "" for none
	}{
		{"nothing", nil, 0, ""},
		{"off", []any{false, false, face}, 0, ""},
		{"on without units", []any{true}, 0, "ADetailer is on without a unit"},
		{"two", []any{face, hand}, 2, ""},
		{"one switched off", []any{true, false, with("ad_tab_enable", false), hand}, 1, ""},
		{"more than the extension takes", []any{true, false, face, hand, face, hand, face}, 4, "ADetailer takes 4 units (option ad_max_models)"},
		{"missing", []any{with("ad_model", "eyes.pt")}, 0, "put its file into the folder models/adetailer, where face_yolov8n.pt and others of Bingsu/adetailer go; there are face_yolov8n.pt, hand_yolov8n.pt"},
		{"missing beside another", []any{with("ad_model", "eyes.pt"), hand}, 1, "ADetailer model 'eyes.pt' was not found"},
		{"mediapipe", []any{with("ad_model", "mediapipe_face_full")}, 0, "needs MediaPipe, which this server does not have"},
		{"restored", []any{with("ad_restore_face", true)}, 1, "ad_restore_face did nothing"},
		{"controlled", []any{with("ad_controlnet_model", "canny")}, 1, ""},
		{"controlled by a missing model", []any{with("ad_controlnet_model", "nope")}, 1, "ControlNet 'nope' was not found"},
		{"controlled by a missing preprocessor", []any{with("ad_controlnet_model", "canny", "ad_controlnet_module", "nope")}, 1, "preprocessor 'nope' is not available"},
		{"checkpoint missing", []any{with("ad_use_checkpoint", true, "ad_checkpoint", "nope")}, 1, "checkpoint 'nope' was not found"},
		{"VAE missing", []any{with("ad_use_vae", true, "ad_vae", "nope")}, 1, "VAE 'nope' was not found"},
		{"sampler missing", []any{with("ad_use_sampler", true, "ad_sampler", "nope")}, 1, "there is no sampler 'nope'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := f.post("/sdapi/v1/txt2img", detailed(small(nil), tc.args...)).generated(t)
			require.Len(t, f.gen.Last().Details, tc.units)
			notes := g.info["notes"].([]any)
			if tc.note == "" {
				require.Empty(t, notes)
				return
			}
			require.Len(t, notes, 1)
			require.Contains(t, notes[0], tc.note)
		})
	}
	g := f.post("/sdapi/v1/txt2img", detailed(small(nil), with("ad_steps", 5, "ad_use_steps", true, "ad_width", 3)))
	require.Contains(t, string(g.body), "ad_width: extra fields not permitted")
	g = f.post("/sdapi/v1/txt2img", detailed(small(nil), with("ad_use_steps", true, "ad_steps", 100000)))
	require.Equal(t, 422, g.status, "%s", g.body)
	require.Contains(t, string(g.body), "ADetailer: steps is 100000, want 1 to 1000")
}

// Of styles the units have theirs once more, as the extension's jobs do.
func TestADetailerOfImg2Img(t *testing.T) {
	f := start(t)
	unit := map[string]any{"ad_model": "face_yolov8n.pt"}
	body := func(more map[string]any) map[string]any {
		b := map[string]any{"init_images": []string{encoded(t, 80, 48)}, "width": 64, "height": 40, "steps": 6, "sampler_name": "Heun", "seed": 1}
		maps.Copy(b, more)
		return b
	}
	g := f.post("/sdapi/v1/img2img", detailed(body(nil), true, true, unit)).generated(t)
	last := f.gen.Last()
	require.True(t, last.DetailsOnly)
	require.Equal(t, [4]any{6, "Heun", 64, 40}, [4]any{last.Details[0].Steps, last.Details[0].Sampler, last.Details[0].Width, last.Details[0].Height})
	require.Contains(t, infotext(t, g), "Steps: 1, Sampler: Euler,")
	require.Contains(t, infotext(t, g), "Size: 128x128")

	f.post("/sdapi/v1/img2img", detailed(body(nil), true, false, unit)).generated(t)
	require.False(t, f.gen.Last().DetailsOnly)
	require.Len(t, f.gen.Last().Details, 1)

	data, err := imageio.EncodePNG(imageio.NewRGB(80, 48))
	require.NoError(t, err)
	black := map[string]any{"mask": base64.StdEncoding.EncodeToString(data), "inpainting_mask_invert": 0}
	for note, tc := range map[string]struct {
		more map[string]any
		skip bool
	}{
		"the mask of the request is black":                  {black, false},
		"it cannot leave img2img out where that has a mask": {map[string]any{"mask": maskPicture(t, 80, 48)}, true},
	} {
		g := f.post("/sdapi/v1/img2img", detailed(body(tc.more), true, tc.skip, unit)).generated(t)
		require.Empty(t, f.gen.Last().Details)
		require.False(t, f.gen.Last().DetailsOnly)
		require.Contains(t, g.info["notes"].([]any)[0], note)
		require.NotContains(t, infotext(t, g), "ADetailer")
	}
}

func TestADetailerRoutes(t *testing.T) {
	f := start(t)
	require.JSONEq(t, `{"version": "25.3.0"}`, string(f.get("/adetailer/v1/version").body))
	require.JSONEq(t, `{"ad_model": ["face_yolov8n.pt", "hand_yolov8n.pt"]}`, string(f.get("/adetailer/v1/ad_model").body))
	var unit struct{ Properties map[string]any }
	require.NoError(t, json.Unmarshal(f.get("/adetailer/v1/schema").body, &unit))
	var file struct {
		Cases []struct {
			Input string
			Want  any
		}
	}
	vectors.Load(t, "adetailer_fields.json", &file)
	for _, tc := range file.Cases {
		require.Contains(t, unit.Properties, tc.Input)
	}
	require.Contains(t, string(f.get("/adetailer/v1/schema").body), `"ad_confidence":{"title":"Ad Confidence","default":0.3,"minimum":0.0,"maximum":1.0,"type":"number"}`)
}
