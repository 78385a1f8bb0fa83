package infotext

// optionKeys are the options that a text sets, by the key it uses (the infotext
// names in A1111 modules/shared_options.py).
var optionKeys = map[string]string{
	"Clip skip":                        "CLIP_stop_at_last_layers",
	"Conditional mask weight":          "inpainting_mask_weight",
	"DPM++ 2M solver":                  "dpmpp_2m_sde_solver",
	"Discard penultimate sigma":        "always_discard_next_to_last_sigma",
	"Downcast alphas_cumprod":          "use_downcasted_alpha_bar",
	"ENSD":                             "eta_noise_seed_delta",
	"Emphasis":                         "emphasis",
	"Eta":                              "eta_ancestral",
	"Eta DDIM":                         "eta_ddim",
	"Eta TCD":                          "eta_tcd",
	"Extra noise":                      "img2img_extra_noise",
	"Face restoration":                 "face_restoration_model",
	"Hires refiner":                    "hires_fix_refiner_pass",
	modelHash:                          "sd_model_checkpoint",
	"NGMS":                             "s_min_uncond",
	"Noise Schedule":                   "sd_noise_schedule",
	"Noise multiplier":                 "initial_noise_multiplier",
	"Old prompt editing timelines":     "use_old_scheduling",
	"Pad conds":                        "pad_cond_uncond",
	"Pad conds v0":                     "pad_cond_uncond_v0",
	"RNG":                              "randn_source",
	"Refiner switch by sampling steps": "refiner_switch_by_sample_steps",
	"SGM noise multiplier":             "sgm_noise_multiplier",
	"Schedule max sigma":               "sigma_max",
	"Schedule min sigma":               "sigma_min",
	"Schedule rho":                     "rho",
	"Sigma churn":                      "s_churn",
	"Sigma noise":                      "s_noise",
	"Sigma tmax":                       "s_tmax",
	"Sigma tmin":                       "s_tmin",
	"CFG Rescale":                      "cfg_rescale",
	"Step cache":                       "step_cache",
	"Tiling":                           "tiling",
	"Token merging ratio":              "token_merging_ratio",
	"Token merging ratio hr":           "token_merging_ratio_hr",
	"UniPC lower order final":          "uni_pc_lower_order_final",
	"UniPC order":                      "uni_pc_order",
	"UniPC skip type":                  "uni_pc_skip_type",
	"UniPC variant":                    "uni_pc_variant",
	"VAE":                              "sd_vae",
	"VAE Decoder":                      "sd_vae_decode_method",
	"VAE Encoder":                      "sd_vae_encode_method",
}

const modelHash = "Model hash"

// silentlyOff are options beside A1111's own that texts tell only where they are on.
var silentlyOff = map[string]any{"CFG Rescale": 0, "Step cache": 0}

// overrides adds the options whose value in the text is not the one they have. The
// checkpoint is left alone with option disable_weights_auto_swap, its default.
func (f Fields) overrides(into map[string]any, current Options) error {
	for key, option := range optionKeys {
		v, ok := f[key]
		if !ok {
			if v, ok = silentlyOff[key]; !ok {
				continue
			}
		}
		if key == modelHash {
			if off, _, _ := current("disable_weights_auto_swap"); off == true {
				continue
			}
		}
		now, standard, ok := current(option)
		if !ok {
			continue
		}
		v, err := castTo(standard, key, v)
		if err != nil {
			return err
		}
		if !equal(v, now) {
			into[option] = v
		}
	}
	return nil
}

// castTo gives a value the type of an option's default, with Python's idea of
// truth. An option without a default, the checkpoint, is a text.
func castTo(standard any, key string, v any) (any, error) {
	switch standard.(type) {
	case bool:
		switch v := v.(type) {
		case bool:
			return v, nil
		case int:
			return v != 0, nil
		}
		return v != "" && v != "False", nil
	case int, int64:
		return toInt(key, v)
	case float64:
		return toFloat(key, v)
	}
	return printed(v), nil
}

// equal compares as Python does: 1 is 1.0.
func equal(a, b any) bool {
	x, isNumber := asFloat(a)
	y, both := asFloat(b)
	if isNumber && both {
		return x == y
	}
	return a == b
}

func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}
