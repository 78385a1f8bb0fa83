package infotext_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/infotext"
)

// standard are some options at their defaults.
var standard = map[string]any{
	"CLIP_stop_at_last_layers": int64(1), "randn_source": "GPU", "tiling": false, "s_churn": 0.0, "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0,
	"sd_vae_encode_method": "Full", "sd_vae_decode_method": "Full", "refiner_switch_by_sample_steps": false, "sd_model_checkpoint": "m",
	"disable_weights_auto_swap": true, "face_restoration_model": nil,
}

func lookup(name string) (now, fallback any, ok bool) {
	v, ok := standard[name]
	return v, v, ok
}

func TestPasteIntoTxt2Img(t *testing.T) {
	text := "cat\nNegative prompt: dog\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 5, Size: 512x768, Model hash: 6ce0161689, " +
		"Variation seed: 9, Variation seed strength: 0.2, Seed resize from: 256x384, Denoising strength: 0.5, Clip skip: 2, " +
		"Hires upscale: 2, Hires upscaler: Latent, Hires sampler: Euler a, Tiling: True, Sigma churn: 0"
	paste, err := infotext.Reader{}.Parse(text).Txt2Img(lookup)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"prompt": "cat", "negative_prompt": "dog", "steps": int64(20), "sampler_name": "DPM++ 2M", "scheduler": "Automatic",
		"cfg_scale": 7.5, "seed": int64(5), "width": int64(512), "height": int64(768), "subseed": int64(9), "subseed_strength": 0.2,
		"seed_resize_from_w": int64(256), "seed_resize_from_h": int64(384), "denoising_strength": 0.5, "enable_hr": true,
		"hr_scale": 2.0, "hr_upscaler": "Latent", "hr_sampler_name": "Euler a", "hr_resize_x": int64(0), "hr_resize_y": int64(0),
		"hr_prompt": "", "hr_negative_prompt": "",
	}, paste.Fields)
	require.Equal(t, map[string]any{"CLIP_stop_at_last_layers": int64(2), "tiling": true}, paste.Overrides)
}

func TestPasteIntoImg2Img(t *testing.T) {
	text := "cat\nSteps: 20, Sampler: Euler a, Schedule type: karras, CFG scale: 7.5, Seed: 5, Size: 512x768, RNG: CPU, Denoising strength: 0.5"
	paste, err := infotext.Reader{}.Parse(text).Img2Img(lookup)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"steps": int64(20), "sampler_name": "Euler a", "scheduler": "Karras", "seed": int64(5)}, paste.Fields)
	require.Equal(t, map[string]any{"randn_source": "CPU"}, paste.Overrides)
}

func TestPasteRefusesWrongNumbers(t *testing.T) {
	_, err := infotext.Reader{}.Parse("Steps: many, Sampler: Euler, Seed: 1").Txt2Img(lookup)
	require.EqualError(t, err, "invalid literal for int() with base 10: 'many'")
	_, err = infotext.Reader{}.Parse("Steps: 1, Sampler: Euler, CFG scale: high").Txt2Img(lookup)
	require.EqualError(t, err, "could not convert string to float: 'high'")
}
