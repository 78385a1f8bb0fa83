package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is one request of a client and the status that it wants.
type step struct {
	method, path, body string
	want               int
	has                string // in the reply
}

// TestClientsOfOthers sends what clients send, learned from their sources: on connecting,
// then for a picture. docs/migrating.md names them.
func TestClientsOfOthers(t *testing.T) {
	get := func(paths ...string) (steps []step) {
		for _, p := range paths {
			steps = append(steps, step{http.MethodGet, p, "", http.StatusOK, ""})
		}
		return steps
	}
	api := func(names ...string) (steps []step) {
		for _, n := range names {
			steps = append(steps, get("/sdapi/v1/"+n)...)
		}
		return steps
	}
	post := func(path, body, has string) step { return step{http.MethodPost, path, body, http.StatusOK, has} }
	const small = `"width": 64, "height": 64, "steps": 2`
	newHome(t)
	for _, tc := range []struct {
		client string
		named  string // in docs/migrating.md
		header map[string]string
		steps  []step
	}{
		{ // backend/open_webui/routers/images.py
			"Open WebUI", "Open WebUI",
			map[string]string{"Authorization": ""},
			append(api("options", "sd-models"), post("/sdapi/v1/txt2img", `{"prompt": "a fox", "batch_size": 2, "negative_prompt": "a dog", `+small+`}`, `"images":["`)),
		},
		{ // src/endpoints/stable-diffusion.js
			"SillyTavern", "SillyTavern", nil,
			append(api("options", "samplers", "sd-models", "upscalers", "latent-upscale-modes", "schedulers", "sd-vae"),
				post("/sdapi/v1/options", `{"sd_model_checkpoint": "`+checkpointName+`.safetensors"}`, ""),
				step{http.MethodGet, "/sdapi/v1/progress", "", http.StatusOK, `"job_count":0`},
				post("/sdapi/v1/txt2img", `{"url": "http://localhost:7860", "auth": "", "prompt": "a fox", "negative_prompt": "", "sampler_name": "Euler a", "scheduler": "karras", "cfg_scale": 7,
					"restore_faces": false, "enable_hr": true, "hr_upscaler": "Latent", "hr_scale": 2, "denoising_strength": 0.7, "hr_second_pass_steps": 0, "clip_skip": 1, `+small+`,
					"override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"}, "override_settings_restore_afterwards": true, "do_not_save_grid": true}`, `"images":["`),
				post("/sdapi/v1/interrupt", "", "")),
		},
		{ // Cyanic's SD-Krita
			"SD-Krita", "SD-Krita of Cyanic", nil,
			append(append(get("/queue/status"), api("sd-models", "sd-vae", "samplers", "upscalers", "face-restorers", "prompt-styles", "scripts", "loras", "embeddings", "hypernetworks", "options")...),
				post("/sdapi/v1/txt2img", `{"prompt": "a fox", "sampler_name": "Euler a", "seed": -1, "batch_size": 1, "n_iter": 1, "cfg_scale": 7, `+small+`}`, `"images":["`)),
		},
		{ // Auto-Photoshop-StableDiffusion-Plugin 1.4.1
			"Auto-Photoshop", "Auto-Photoshop-StableDiffusion-Plugin", nil,
			append(append(api("options", "sd-models", "samplers", "upscalers", "loras", "embeddings", "scripts"),
				get("/config", "/user", "/controlnet/version", "/controlnet/module_list?alias_names=true", "/controlnet/model_list", "/controlnet/settings")...),
				post("/sdapi/v1/txt2img", `{"prompt": "a fox", "negative_prompt": "", "sampler_index": "Euler a", "sampler_name": "Euler a", "seed": "-1", "cfg_scale": 7, "batch_size": 1, `+small+`,
					"subseed": -1, "subseed_strength": 0, "enable_hr": false, "hr_sampler_name": "Euler a", "alwayson_scripts": {"controlnet": {"args": []}}}`, `"images":["`),
				step{http.MethodGet, "/sdapi/v1/progress?skip_current_image=false", "", http.StatusOK, `"progress"`}),
		},
		{ // webuiapi 0.9.17
			"sdwebuiapi", "`webuiapi`", nil,
			append(api("scripts", "progress"), post("/sdapi/v1/txt2img", `{"enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0, "hr_resize_y": 0,
				"denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0, "prompt": "a fox", "styles": [], "seed": -1, "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_h": 0,
				"seed_resize_from_w": 0, "batch_size": 1, "n_iter": 1, "cfg_scale": 7.0, "restore_faces": false, "tiling": false, "do_not_save_samples": false, "do_not_save_grid": false,
				"negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "override_settings": {}, "override_settings_restore_afterwards": true, "script_args": [],
				"script_name": null, "send_images": true, "save_images": false, "alwayson_scripts": {}, "sampler_name": "Euler a", "sampler_index": "Euler a", "scheduler": "automatic",
				"use_deprecated_controlnet": false, "width": 64, "height": 64, "steps": 2}`, `"images":["`)),
		},
		{ // LibreChat reads infotexts, seed, width and height of info
			"LibreChat", "LibreChat", nil,
			[]step{post("/sdapi/v1/txt2img", `{"prompt": "a fox", "negative_prompt": "a dog", "cfg_scale": 4.5, `+small+`}`, `\"infotexts\"`)},
		},
		{ // AI Render compares the texts of errors
			"AI Render", "AI Render", nil,
			append(append(api("upscalers"), get("/controlnet/model_list", "/controlnet/module_list")...),
				step{http.MethodPost, "/sdapi/v1/txt2img", `{"prompt": "a fox", "sampler_index": "DPM++ 2M Karras", ` + small + `}`, http.StatusNotFound, `"detail":"Sampler not found"`}),
		},
		{ // aiyabot
			"aiyabot", "aiyabot", nil,
			append(append(api("cmd-flags", "samplers", "prompt-styles", "face-restorers", "embeddings", "hypernetworks", "upscalers", "sd-models", "loras"),
				step{http.MethodHead, "/", "", http.StatusOK, ""}, step{http.MethodGet, "/sdapi/v1/version", "", http.StatusNotFound, ""}),
				post("/sdapi/v1/txt2img", `{"prompt": "a fox", "denoising_strength": null, "hr_second_pass_steps": 10.0, "sampler_name": "Euler a", `+small+`}`, `"images":["`)),
		},
		{ // oobabooga's sd_api_pictures
			"oobabooga", "sd_api_pictures", nil,
			append(api("sd-models", "options", "samplers"),
				post("/sdapi/v1/unload-checkpoint", `""`, ""), post("/sdapi/v1/reload-checkpoint", `""`, ""),
				post("/sdapi/v1/txt2img", `{"prompt": "a fox", "sampler_name": "Euler a", "enable_hr": true, "hr_scale": "1.0", "hr_upscaler": "Latent", "denoising_strength": 0.6, "cfg_scale": 7, "restore_faces": false, `+small+`}`, `"images":["`)),
		},
	} {
		t.Run(tc.client, func(t *testing.T) {
			require.Contains(t, documents(t)["docs/migrating.md"], tc.named)
			_, c := serve(t, newHome(t), openGate)
			c.ready()
			for name, value := range tc.header {
				c.header.Set(name, value)
			}
			for _, s := range tc.steps {
				got := c.do(s.method, s.path, s.body)
				require.Equal(t, s.want, got.status, "%s %s: %s", s.method, s.path, got.body)
				require.Contains(t, got.body, s.has, s.path)
			}
		})
	}
}

// Open WebUI chooses a model by sending all options back with one key changed.
func TestAllOptionsMayBeSentBack(t *testing.T) {
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	var all map[string]any
	require.NoError(t, json.NewDecoder(strings.NewReader(c.get("/sdapi/v1/options").body)).Decode(&all))
	all["sd_model_checkpoint"] = checkpointName + ".safetensors"
	body, err := json.Marshal(all)
	require.NoError(t, err)
	got := c.do(http.MethodPost, "/sdapi/v1/options", string(body))
	require.Equal(t, http.StatusOK, got.status, got.body)
}
