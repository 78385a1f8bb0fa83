package sdapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/models/catalog"
)

// effect is an option with what it changes in the request to the pipeline.
type effect struct {
	option string
	value  any
	paste  string // the option in an infotext, "" where a text cannot set it
	got    func(*inference.Request) any
	want   any
}

var effects = []effect{
	{"CLIP_stop_at_last_layers", 2.0, "Clip skip: 2", func(r *inference.Request) any { return r.Settings.ClipSkip }, 2},
	{"CLIP_stop_at_last_layers", 0.0, "Clip skip: 0", func(r *inference.Request) any { return r.Settings.ClipSkip }, 1},
	{"eta_noise_seed_delta", 31337, "ENSD: 31337", func(r *inference.Request) any { return r.Settings.ENSD }, int64(31337)},
	{"randn_source", "NV", "RNG: NV", func(r *inference.Request) any { return r.Settings.NoiseSource }, "NV"},
	{"emphasis", "No norm", "Emphasis: No norm", func(r *inference.Request) any { return r.Settings.Emphasis }, "No norm"},
	{"emphasis", "of another program", "", func(r *inference.Request) any { return r.Settings.Emphasis }, "Original"},
	{"comma_padding_backtrack", 0, "", func(r *inference.Request) any { return r.Settings.CommaBacktrack }, 0},
	{"pad_cond_uncond", true, "Pad conds: True", func(r *inference.Request) any { return r.Settings.PadCondUncond }, true},
	{"pad_cond_uncond_v0", true, "Pad conds v0: True", func(r *inference.Request) any { return r.Settings.PadCondUncondV0 }, true},
	{"use_old_scheduling", true, "Old prompt editing timelines: True", func(r *inference.Request) any { return r.Settings.OldEditingTimelines }, true},
	{"tiling", true, "Tiling: True", func(r *inference.Request) any { return r.Tiling }, true},
	{"eta_ancestral", 0.5, "Eta: 0.5", func(r *inference.Request) any { return r.Settings.Eta }, 0.5},
	{"eta_ddim", 0.25, "Eta DDIM: 0.25", func(r *inference.Request) any { return r.Settings.EtaDDIM }, 0.25},
	{"eta_tcd", 0.5, "Eta TCD: 0.5", func(r *inference.Request) any { return r.Settings.EtaTCD }, 0.5},
	{"cfg_rescale", 0.4, "CFG Rescale: 0.4", func(r *inference.Request) any { return r.Settings.CFGRescale }, 0.4},
	{"step_cache", 0.1, "Step cache: 0.1", func(r *inference.Request) any { return r.Settings.StepCache }, 0.1},
	{"s_churn", 1.5, "Sigma churn: 1.5", func(r *inference.Request) any { return r.Settings.SChurn }, 1.5},
	{"s_tmin", 0.5, "Sigma tmin: 0.5", func(r *inference.Request) any { return r.Settings.STmin }, 0.5},
	{"s_tmax", 9, "Sigma tmax: 9", func(r *inference.Request) any { return r.Settings.STmax }, 9.0},
	{"s_noise", 1.01, "Sigma noise: 1.01", func(r *inference.Request) any { return r.Settings.SNoise }, 1.01},
	{"s_min_uncond", 2, "NGMS: 2", func(r *inference.Request) any { return r.Settings.SMinUncond }, 2.0},
	{"sigma_min", 0.1, "Schedule min sigma: 0.1", func(r *inference.Request) any { return r.Settings.SigmaMin }, 0.1},
	{"sigma_max", 10, "Schedule max sigma: 10", func(r *inference.Request) any { return r.Settings.SigmaMax }, 10.0},
	{"rho", 5, "Schedule rho: 5", func(r *inference.Request) any { return r.Settings.Rho }, 5.0},
	{"always_discard_next_to_last_sigma", true, "Discard penultimate sigma: True", func(r *inference.Request) any { return r.Settings.DiscardNextToLast }, true},
	{"use_old_karras_scheduler_sigmas", true, "", func(r *inference.Request) any { return r.Settings.OldKarrasSigmas }, true},
	{"sgm_noise_multiplier", true, "SGM noise multiplier: True", func(r *inference.Request) any { return r.Settings.SGMNoiseMultiplier }, true},
	{"enable_quantization", true, "", func(r *inference.Request) any { return r.Settings.Quantize }, true},
	{"sd_noise_schedule", "Zero Terminal SNR", "Noise Schedule: Zero Terminal SNR", func(r *inference.Request) any { return r.Settings.ZeroTerminalSNR }, true},
	{"use_downcasted_alpha_bar", true, "Downcast alphas_cumprod: True", func(r *inference.Request) any { return r.Settings.DowncastAlphas }, true},
	{"uni_pc_variant", "bh2", "UniPC variant: bh2", func(r *inference.Request) any { return r.Settings.UniPC.Variant }, "bh2"},
	{"uni_pc_skip_type", "logSNR", "UniPC skip type: logSNR", func(r *inference.Request) any { return r.Settings.UniPC.SkipType }, "logSNR"},
	{"uni_pc_order", 2, "UniPC order: 2", func(r *inference.Request) any { return r.Settings.UniPC.Order }, 2},
	{"uni_pc_lower_order_final", false, "UniPC lower order final: False", func(r *inference.Request) any { return r.Settings.UniPC.LowerOrderFinal }, false},
	{"img2img_fix_steps", true, "", func(r *inference.Request) any { return r.Settings.FixSteps }, true},
	{"img2img_extra_noise", 0.1, "Extra noise: 0.1", func(r *inference.Request) any { return r.Settings.ExtraNoise }, 0.1},
	{"img2img_color_correction", true, "", func(r *inference.Request) any { return r.Settings.ColorCorrection }, true},
	{"overlay_inpaint", false, "", func(r *inference.Request) any { return r.Settings.OverlayInpaint }, false},
	{"inpainting_mask_weight", 0.5, "Conditional mask weight: 0.5", func(r *inference.Request) any { return r.Settings.ConditionWeight }, 0.5},
	{"initial_noise_multiplier", 1.1, "Noise multiplier: 1.1", func(r *inference.Request) any { return r.Init.NoiseMultiplier }, 1.1},
	{"img2img_background_color", "#00ff00", "", func(r *inference.Request) any { return [3]uint8(r.Init.Images[0].Pix[:3]) }, [3]uint8{0, 255, 0}},
	{"upscaler_for_img2img", "Lanczos", "", func(r *inference.Request) any { return r.Settings.UpscalerForImg2Img }, "Lanczos"},
	{"sd_model_checkpoint", "other", "", func(r *inference.Request) any { return r.Files.Checkpoint }, "/models/other.safetensors"},
	{"sd_vae", "sharp.safetensors", "VAE: sharp.safetensors", func(r *inference.Request) any { return r.Files.VAE }, "/models/VAE/sharp.safetensors"},
	{"show_progress_every_n_steps", 3, "", func(r *inference.Request) any { return r.Preview.Every }, 3},
	{"show_progress_type", "Full", "", func(r *inference.Request) any { return r.Preview.Method }, "full"},
	{"live_previews_enable", false, "", func(r *inference.Request) any { return r.Preview.Every }, 0},
}

// Options count the same whether they are set for good, for one job, or by the
// text of a picture.
func TestOptionsReachTheJob(t *testing.T) {
	picture := transparent(t)
	run := func(f *fixture, more map[string]any) *inference.Request {
		more["init_images"] = []string{picture}
		f.post("/sdapi/v1/img2img", small(more)).generated(t)
		return f.gen.Last()
	}
	for _, e := range effects {
		t.Run(fmt.Sprintf("%s=%v", e.option, e.value), func(t *testing.T) {
			f := start(t)
			if e.want != 1 && e.want != "Original" {
				require.NotEqual(t, e.want, e.got(run(f, map[string]any{})), "the default must differ")
			}
			require.Equal(t, e.want, e.got(run(f, map[string]any{"override_settings": map[string]any{e.option: e.value}})), "override_settings")
			if e.paste != "" {
				text := "a cat\nSteps: 1, Sampler: Euler, Seed: 1, " + e.paste
				require.Equal(t, e.want, e.got(run(f, map[string]any{"infotext": text})), "infotext")
			}
			require.Equal(t, 200, f.post(optionsPath, map[string]any{e.option: e.value}).status)
			require.Equal(t, e.want, e.got(run(f, map[string]any{})), "options")
		})
	}
}

// transparent is a picture that shows the colour behind it.
func transparent(t *testing.T) string {
	t.Helper()
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, image.NewNRGBA(image.Rect(0, 0, 64, 64))))
	return b64(file.Bytes())
}

// patterned is a picture that does not compress well.
func patterned(t *testing.T, texts ...imageio.Text) string {
	t.Helper()
	m := imageio.NewRGB(32, 32)
	for i := range m.Pix {
		m.Pix[i] = uint8(i * i * 7919 >> 5)
	}
	file, err := imageio.EncodePNG(m, texts...)
	require.NoError(t, err)
	return b64(file)
}

// The checkpoint of a text is taken only where the option allows it.
func TestPastedCheckpoint(t *testing.T) {
	f := start(t)
	body := small(map[string]any{"infotext": "a\nSteps: 1, Sampler: Euler, Model hash: cc6cb27103, Seed: 1"})
	f.post("/sdapi/v1/txt2img", body).generated(t)
	require.Equal(t, "/models/v1-5-pruned-emaonly.safetensors", f.gen.Last().Files.Checkpoint)
	f.post(optionsPath, map[string]any{"disable_weights_auto_swap": false})
	f.post("/sdapi/v1/txt2img", body).generated(t)
	require.Equal(t, "/models/other.safetensors", f.gen.Last().Files.Checkpoint)
}

// What options say about the reading of texts.
func TestReadingOptions(t *testing.T) {
	f := start(t)
	read := func(text string) map[string]any {
		picture := patterned(t, imageio.Text{Key: "parameters", Value: text})
		return f.post("/sdapi/v1/png-info", map[string]any{"image": picture}).object(t)["parameters"].(map[string]any)
	}
	const old = "a [b:c:1]\nSteps: 1, Sampler: DDIM, Seed: 1, Size: 64x64, Hires resize: 128x128, Version: v1.5.1"
	got := read(old)
	require.Equal(t, []any{true, "64"}, []any{got["Pad conds v0"], got["Size-1"]})
	f.post(optionsPath, map[string]any{"auto_backcompat": false, "use_old_hires_fix_width_height": true, "infotext_skip_pasting": []string{"Seed"}})
	got = read(old)
	require.NotContains(t, got, "Pad conds v0")
	require.NotContains(t, got, "Seed")
	require.InDelta(t, 128, got["Size-1"], 0)
}

// Options of the reply act for good and for one job alike.
func TestOptionsOfTheReply(t *testing.T) {
	file := func(g generated) string { return string(g.images[0]) }
	for option, tc := range map[string]struct {
		value any
		of    func(generated) string
		gone  string // what is there by default
	}{
		"samples_format":              {"jpg", file, "\x89PNG"},
		"enable_pnginfo":              {false, file, "Steps: 1"},
		"add_model_hash_to_info":      {false, text, "Model hash: "},
		"add_model_name_to_info":      {false, text, "Model: "},
		"add_vae_hash_to_info":        {false, text, "VAE hash: "},
		"add_vae_name_to_info":        {false, text, "VAE: "},
		"add_version_to_infotext":     {false, text, "Version: "},
		"lora_add_hashes_to_infotext": {false, text, "Lora hashes: "},
	} {
		t.Run(option, func(t *testing.T) {
			f := start(t)
			f.post(optionsPath, map[string]any{"sd_vae": "sharp.safetensors"})
			body := small(map[string]any{"prompt": "a <lora:foo:1>"})
			require.Contains(t, tc.of(f.post("/sdapi/v1/txt2img", body).generated(t)), tc.gone)
			body["override_settings"] = map[string]any{option: tc.value}
			require.NotContains(t, tc.of(f.post("/sdapi/v1/txt2img", body).generated(t)), tc.gone)
			delete(body, "override_settings")
			f.post(optionsPath, map[string]any{option: tc.value})
			require.NotContains(t, tc.of(f.post("/sdapi/v1/txt2img", body).generated(t)), tc.gone)
		})
	}
}

func text(g generated) string { return g.info["infotexts"].([]any)[0].(string) }

// Quality changes the size of a JPEG, losslessness the kind of a WebP.
func TestQualityOptions(t *testing.T) {
	f := start(t)
	made := func(o map[string]any) []byte {
		raw, err := json.Marshal(map[string]any{"image": patterned(t), "upscaler_1": "Nearest", "upscaling_resize": 2})
		require.NoError(t, err)
		require.Equal(t, 200, f.post(optionsPath, o).status)
		var reply struct{ Image []byte }
		require.NoError(t, json.Unmarshal(f.post("/sdapi/v1/extra-single-image", string(raw)).body, &reply))
		return reply.Image
	}
	low := made(map[string]any{"samples_format": "jpeg", "jpeg_quality": 10})
	high := made(map[string]any{"samples_format": "jpeg", "jpeg_quality": 100})
	require.Less(t, 2*len(low), len(high))
	lossy := made(map[string]any{"samples_format": "webp", "jpeg_quality": 50})
	exact := made(map[string]any{"samples_format": "webp", "webp_lossless": true})
	require.Contains(t, string(exact[:32]), "VP8L")
	require.NotContains(t, string(lossy[:32]), "VP8L")
}

// The networks of two options act in every prompt that does not name them itself, and
// texts tell it.
func TestNetworksOfOptions(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "hypernetworks"), 0o755))
	data, err := os.ReadFile("../../formats/hypernet/testdata/hypernet.pt")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "hypernetworks", "anime.pt"), data, 0o600))
	f := start(t, func(c *sdapi.Config) {
		c.Catalog = catalog.New(catalog.Config{Roots: []string{root}, AllowPickle: true})
		c.Catalog.Tell(sdapitest.Files(sdapitest.Checkpoint("v1-5-pruned-emaonly.safetensors", ""))...)
	})
	send := func(body, options map[string]any) (generated, *inference.Request) {
		t.Helper()
		body["override_settings"] = options
		return f.post("/sdapi/v1/txt2img", small(body)).generated(t), f.gen.Last()
	}
	g, r := send(map[string]any{"prompt": "a cat"}, map[string]any{"sd_hypernetwork": "anime", "extra_networks_default_multiplier": 0.7})
	require.Equal(t, "a cat<hypernet:anime:0.7>", r.Prompt)
	require.Contains(t, text(g), "<hypernet:anime:0.7>\n")
	require.Empty(t, g.info["notes"])
	require.Contains(t, r.Files.Hypernets["anime"], "anime.pt")

	_, r = send(map[string]any{"prompt": "a cat", "enable_hr": true, "hr_prompt": "a dog", "denoising_strength": 0.5}, map[string]any{"sd_lora": "foo"})
	require.Equal(t, [2]string{"a cat<lora:foo:1.0>", "a dog<lora:foo:1.0>"}, [2]string{r.Prompt, r.Hires.Prompt})
	require.NotEmpty(t, r.Files.LoRAs["foo"])
	_, r = send(detailed(map[string]any{"prompt": "a cat"}, map[string]any{"ad_model": "face_yolov8n.pt", "ad_prompt": "a face[SEP][PROMPT]!"}), map[string]any{"sd_lora": "foo"})
	require.Equal(t, []string{"a face<lora:foo:1.0>", "a cat<lora:foo:1.0>!"}, r.Details[0].Prompts)

	_, r = send(map[string]any{"prompt": "a cat <hypernet:anime:0.3>"}, map[string]any{"sd_hypernetwork": "anime"})
	require.Equal(t, "a cat <hypernet:anime:0.3>", r.Prompt, "its own strength")
	for _, options := range []map[string]any{{"sd_hypernetwork": "None", "sd_lora": ""}, {"sd_hypernetwork": "nope", "sd_lora": "nope"}} {
		_, r = send(map[string]any{"prompt": "a cat"}, options)
		require.Equal(t, "a cat", r.Prompt)
	}
	_, r = send(map[string]any{"prompt": "a cat", "disable_extra_networks": true}, map[string]any{"sd_lora": "foo"})
	require.Equal(t, "a cat", r.Prompt)
}
