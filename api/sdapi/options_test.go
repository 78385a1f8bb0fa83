package sdapi_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/fault"
	"sdworker/inference"
)

const optionsPath = "/sdapi/v1/options"

func TestOptionsRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	f := start(t, func(c *sdapi.Config) { c.OptionsFile = file })
	all := f.get(optionsPath)
	require.Equal(t, "null", string(f.post(optionsPath, string(all.body)).body), "the whole body may be posted back")
	require.Equal(t, string(all.body), string(f.get(optionsPath).body))

	require.Equal(t, "null", string(f.post(optionsPath, map[string]any{"send_seed": false, "jpeg_quality": "55", "api_useragent": "x", "unknown": nil, "CLIP_stop_at_last_layers": 2}).body))
	want := func(f *fixture) {
		o := f.get(optionsPath).object(t)
		require.Equal(t, false, o["send_seed"])
		require.InDelta(t, 55.0, o["jpeg_quality"], 0)
		require.Empty(t, o["api_useragent"])
		require.InDelta(t, 2.0, o["CLIP_stop_at_last_layers"], 0)
	}
	want(f)
	want(start(t, func(c *sdapi.Config) { c.OptionsFile = file })) // after a restart
}

func TestOptionErrors(t *testing.T) {
	f := start(t)
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{"nope": 1}`:                     {500, `{"error":"KeyError","detail":"","body":"","errors":"'nope'"}`},
		`{"it's": 1}`:                     {500, `{"error":"KeyError","detail":"","body":"","errors":"\"it's\""}`},
		`{"jpeg_quality": "abc"}`:         {422, `{"detail":[{"loc":["body","jpeg_quality"],"msg":"value is not a valid float","type":"type_error.float"}]}`},
		`3`:                               {422, `{"detail":[{"loc":["body"],"msg":"value is not a valid dict","type":"type_error.dict"}]}`},
		`{"sd_model_checkpoint": "a'b"}`:  {500, `{"error":"RuntimeError","detail":"","body":"","errors":"model \"a'b\" not found"}`},
		`{"sd_model_checkpoint": "zzz" }`: {500, `{"error":"RuntimeError","detail":"","body":"","errors":"model 'zzz' not found"}`},
	} {
		got := f.post(optionsPath, body)
		require.Equal(t, want.status, got.status, body)
		require.JSONEq(t, want.text, string(got.body))
	}
}

// Whatever an option is set to, requests that say nothing of it are answered: it is refused
// otherwise.
func TestNoOptionSpoilsTheJobsOfOthers(t *testing.T) {
	f := start(t)
	picture := transparent(t)
	defaults := f.get(optionsPath).object(t)
	refused := map[string]int{}
	for key, def := range defaults {
		if key == "sd_model_checkpoint" || key == "sd_vae" { // TestCheckpointSwitch
			continue
		}
		for _, value := range []any{nil, true, 0, -1, 1, 64, 1e18, -1e18, 1e-300, 0.5, "", "x", "\x00", "1", "None", "%s\n", []any{}, []any{[]any{}}, map[string]any{"a": 1}} {
			if f.post(optionsPath, map[string]any{key: value}).status != 200 {
				refused[key]++
				continue
			}
			require.Equal(t, 200, f.post("/sdapi/v1/txt2img", small(nil)).status, "%s=%v", key, value)
			require.Equal(t, 200, f.post("/sdapi/v1/img2img", small(map[string]any{"init_images": []string{picture}, "mask": picture})).status, "%s=%v", key, value)
		}
		require.Equal(t, 200, f.post(optionsPath, map[string]any{key: def}).status, key)
	}
	for _, key := range []string{"randn_source", "samples_format", "CLIP_stop_at_last_layers"} {
		require.NotZero(t, refused[key], key)
	}
	got := f.post(optionsPath, map[string]any{"jpeg_quality": 50, "randn_source": "x"})
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "randn_source must be one of GPU, CPU, NV")
	require.InDelta(t, 80, f.get(optionsPath).object(t)["jpeg_quality"], 0, "all of them or none")
}

func TestCheckpointSwitch(t *testing.T) {
	f := start(t)
	require.Nil(t, f.get(optionsPath).object(t)["sd_model_checkpoint"])
	f.post("/sdapi/v1/txt2img", small(nil)).generated(t)
	o := f.get(optionsPath).object(t)
	require.Equal(t, "v1-5-pruned-emaonly.safetensors [6ce0161689]", o["sd_model_checkpoint"], "the loaded one is shown")
	require.Len(t, o["sd_checkpoint_hash"], 64)
	require.Equal(t, 200, f.get("/readyz").status)

	for _, name := range []string{"other", "other.safetensors", "cc6cb27103", "other.safetensors [cc6cb27103]"} {
		f.post(optionsPath, map[string]any{"sd_model_checkpoint": nil})
		require.Equal(t, "null", string(f.post(optionsPath, map[string]any{"sd_model_checkpoint": name}).body))
		require.Equal(t, "other.safetensors [cc6cb27103]", f.get(optionsPath).object(t)["sd_model_checkpoint"])
		require.Equal(t, "/models/other.safetensors", f.gen.Status().Engine.Checkpoint, "it is loaded at once")
	}

	f.gen.Fail = fault.Errorf(fault.Broken, "load", "the file is damaged")
	got := f.post(optionsPath, map[string]any{"sd_model_checkpoint": "v1-5-pruned-emaonly"})
	require.Equal(t, 500, got.status)
	require.Equal(t, "other.safetensors [cc6cb27103]", f.get(optionsPath).object(t)["sd_model_checkpoint"], "a failed load changes nothing")
	f.gen.Fail = nil

	require.Equal(t, "{}", string(f.post("/sdapi/v1/unload-checkpoint", `""`).body))
	require.Empty(t, f.gen.Status().Engine.Checkpoint)
	require.Equal(t, "{}", string(f.post("/sdapi/v1/reload-checkpoint", `""`).body))
	require.Equal(t, "/models/other.safetensors", f.gen.Status().Engine.Checkpoint)
}

// A file may get its hash, and so another title, after it was chosen.
func TestTitleAfterHashing(t *testing.T) {
	f := start(t)
	f.catalog.Tell(sdapitest.Files(sdapitest.Checkpoint("a.safetensors", ""))...)
	f.post(optionsPath, map[string]any{"sd_model_checkpoint": "a"})
	require.Equal(t, "a.safetensors", f.get(optionsPath).object(t)["sd_model_checkpoint"])
	g := f.post("/sdapi/v1/txt2img", small(nil)).generated(t)
	require.Equal(t, "aaaaaaaaaa", g.info["sd_model_hash"], "the job waits for the hash")
	f.catalog.Tell(sdapitest.Files(sdapitest.Checkpoint("a.safetensors", strings.Repeat("a", 64)))...)
	require.Equal(t, "a.safetensors [aaaaaaaaaa]", f.get(optionsPath).object(t)["sd_model_checkpoint"])
}

func TestStartCheckpoint(t *testing.T) {
	for _, name := range []string{"other", "/models/other.safetensors", "othe"} {
		f := start(t, func(c *sdapi.Config) { c.Checkpoint = name })
		f.post("/sdapi/v1/txt2img", small(nil)).generated(t)
		require.Equal(t, "/models/other.safetensors", f.gen.Last().Files.Checkpoint)
	}
	f := start(t)
	_, err := sdapi.New(sdapi.Config{Config: generation.Config{Queue: f.queue, Catalog: f.catalog.Catalog, Hashes: f.catalog, Checkpoint: "zzz"}})
	require.ErrorContains(t, err, `no checkpoint is called "zzz"`)
	f.catalog.Tell()
	got := f.post("/sdapi/v1/txt2img", small(nil))
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), "No checkpoints found")
}

func TestOverrideSettings(t *testing.T) {
	f := start(t)
	run := func(overrides map[string]any, more ...any) (generated, *inference.Request) {
		body := small(map[string]any{"override_settings": overrides})
		for i := 0; i+1 < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		return f.post("/sdapi/v1/txt2img", body).generated(t), f.gen.Last()
	}
	g, req := run(map[string]any{"sd_model_checkpoint": "other", "sd_vae": "sharp.safetensors", "CLIP_stop_at_last_layers": 3, "randn_source": "NV"})
	require.Equal(t, "/models/other.safetensors", req.Files.Checkpoint)
	require.Equal(t, "/models/VAE/sharp.safetensors", req.Files.VAE)
	require.Equal(t, "cc6cb27103", g.info["sd_model_hash"])
	require.Equal(t, []any{"sharp.safetensors", "aaaaaaaaaa"}, []any{g.info["sd_vae_name"], g.info["sd_vae_hash"]})
	require.Contains(t, g.info["infotexts"].([]any)[0], "VAE hash: aaaaaaaaaa, VAE: sharp.safetensors, Clip skip: 3, RNG: NV")
	require.InDelta(t, 3.0, g.info["clip_skip"], 0)

	g, req = run(map[string]any{"sd_model_checkpoint": "zzz", "sd_vae": "zzz"})
	require.Equal(t, "/models/v1-5-pruned-emaonly.safetensors", req.Files.Checkpoint, "put back, and an unknown one is ignored")
	require.Empty(t, req.Files.VAE)
	require.Equal(t, 1, req.Settings.ClipSkip)
	require.Equal(t, map[string]any{"sd_vae": "zzz"}, g.parameters["override_settings"])
	require.Len(t, g.info["notes"], 2)
	g, _ = run(map[string]any{"sd_vae": "sharp.ckpt"})
	require.Equal(t, []any{"VAE 'sharp.ckpt' was not found; the checkpoint's own is used (PyTorch files are found only where ALLOW_PICKLE is on)"}, g.info["notes"])

	run(map[string]any{"CLIP_stop_at_last_layers": 2}, "override_settings_restore_afterwards", false)
	_, req = run(nil)
	require.Equal(t, 2, req.Settings.ClipSkip, "kept when asked to")

	for _, overrides := range []map[string]any{{"CLIP_stop_at_last_layers": 13}, {"randn_source": "TPU"}, {"eta_noise_seed_delta": "abc"}, {"forge_preset": "sd"}} {
		got := f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": overrides}))
		require.Equal(t, 500, got.status, "%v", overrides)
	}
}

// Every option that shapes a picture reaches the pipeline.
func TestSettings(t *testing.T) {
	f := start(t)
	f.post("/sdapi/v1/txt2img", small(nil)).generated(t)
	require.Equal(t, inference.DefaultSettings(), f.gen.Last().Settings)

	set := map[string]any{
		"CLIP_stop_at_last_layers": 2, "emphasis": "No norm", "comma_padding_backtrack": 0, "randn_source": "CPU", "eta_noise_seed_delta": 31337,
		"img2img_color_correction": true, "overlay_inpaint": false, "pad_cond_uncond": true, "pad_cond_uncond_v0": true,
		"use_old_scheduling": true, "upscaler_for_img2img": "Lanczos", "eta_ancestral": 0.5, "eta_ddim": 0.25, "eta_tcd": 0.5, "step_cache": 0.1, "cfg_rescale": 0.5,
		"s_churn": 1, "s_tmin": 2, "s_tmax": 3, "s_noise": 1.5, "s_min_uncond": 4, "sigma_min": 0.1, "sigma_max": 10, "rho": 6,
		"use_old_karras_scheduler_sigmas": true, "always_discard_next_to_last_sigma": true, "sgm_noise_multiplier": true, "enable_quantization": true,
		"img2img_fix_steps": true, "img2img_extra_noise": 0.1, "inpainting_mask_weight": 0.5,
		"uni_pc_variant": "bh2", "uni_pc_skip_type": "logSNR", "uni_pc_order": 2, "uni_pc_lower_order_final": false,
		"sd_noise_schedule": "Zero Terminal SNR", "use_downcasted_alpha_bar": true,
	}
	f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": set, "disable_extra_networks": true})).generated(t)
	got, standard := f.gen.Last().Settings, inference.DefaultSettings()
	differs(t, "Settings", reflect.ValueOf(got), reflect.ValueOf(standard), map[string]bool{
		"BetaAlpha": true, "BetaBeta": true, // no option of v1.9.3
		"Tiles":        true,                                                                            // ours
		"Thresholding": true, "Projection": true, "Perturbation": true, "ZeroStar": true, "FreeU": true, // of scripts
	})

	f.post("/sdapi/v1/txt2img", small(map[string]any{"eta": 0.4, "s_churn": 5, "s_noise": 1.1})).generated(t)
	st := f.gen.Last().Settings
	require.Equal(t, []float64{0.4, 0.4, 0.4, 5, 1.1}, []float64{st.Eta, st.EtaDDIM, st.EtaTCD, st.SChurn, st.SNoise})
	f.post("/sdapi/v1/txt2img", small(map[string]any{"s_churn": 5, "override_settings": map[string]any{"s_churn": 2}})).generated(t)
	require.InDelta(t, 2.0, f.gen.Last().Settings.SChurn, 0, "an option off its default wins over the request, as in A1111")
}

// differs requires every field, but for those in skip, to differ.
func differs(t *testing.T, path string, a, b reflect.Value, skip map[string]bool) {
	t.Helper()
	for i := range a.NumField() {
		field := a.Type().Field(i)
		switch {
		case skip[field.Name]:
		case field.Type.Kind() == reflect.Struct:
			differs(t, path+"."+field.Name, a.Field(i), b.Field(i), skip)
		default:
			require.NotEqual(t, b.Field(i).Interface(), a.Field(i).Interface(), "%s.%s is not set by any option", path, field.Name)
		}
	}
}

func TestPreviewOptions(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		set  map[string]any
		want inference.Preview
	}{
		{nil, inference.Preview{Every: 10, Method: "approx"}},
		{map[string]any{"show_progress_every_n_steps": 1, "show_progress_type": "Full"}, inference.Preview{Every: 1, Method: "full"}},
		{map[string]any{"show_progress_type": "TAESD"}, inference.Preview{Every: 10, Method: "approx"}}, // no file
		{map[string]any{"live_previews_enable": false}, inference.Preview{}},
		{map[string]any{"show_progress_every_n_steps": -1}, inference.Preview{}},
	} {
		f.post("/sdapi/v1/txt2img", small(map[string]any{"override_settings": tc.set})).generated(t)
		require.Equal(t, tc.want, f.gen.Last().Preview, "%v", tc.set)
	}
}
