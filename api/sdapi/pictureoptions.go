package sdapi

import (
	"sdworker/api/sdapi/generation"
	"sdworker/inference/clip"
	"sdworker/inference/rng"
)

// PictureOption is an option that changes pictures and that a request has no field for: it
// stands in override_settings.
type PictureOption struct {
	Name    string
	Value   any      // now
	Choices []string // nil for any
}

// pictureOptions are their names, and their possible values where these are a list.
var pictureOptions = []struct {
	name    string
	choices []string
}{
	{"emphasis", clip.EmphasisNames()},
	{"comma_padding_backtrack", nil},
	{"use_old_scheduling", nil},
	{"randn_source", rng.SourceNames()},
	{"eta_noise_seed_delta", nil},
	{"eta_ancestral", nil},
	{"eta_ddim", nil},
	{"eta_tcd", nil},
	{"s_churn", nil},
	{"s_tmin", nil},
	{"s_tmax", nil},
	{"s_noise", nil},
	{"s_min_uncond", nil},
	{"sigma_min", nil},
	{"sigma_max", nil},
	{"rho", nil},
	{"always_discard_next_to_last_sigma", nil},
	{"use_old_karras_scheduler_sigmas", nil},
	{"sgm_noise_multiplier", nil},
	{"sd_noise_schedule", []string{"Default", "Zero Terminal SNR"}},
	{"use_downcasted_alpha_bar", nil},
	{"uni_pc_variant", []string{"bh1", "bh2", "vary_coeff"}},
	{"uni_pc_skip_type", []string{"time_uniform", "time_quadratic", "logSNR"}},
	{"uni_pc_order", nil},
	{"uni_pc_lower_order_final", nil},
	{"pad_cond_uncond", nil},
	{"pad_cond_uncond_v0", nil},
	{"enable_quantization", nil},
	{"refiner_switch_by_sample_steps", nil},
	{"hires_fix_refiner_pass", []string{"first pass", "second pass", "both passes"}},
	{"img2img_color_correction", nil},
	{"img2img_fix_steps", nil},
	{"img2img_extra_noise", nil},
	{"img2img_background_color", nil},
	{"initial_noise_multiplier", nil},
	{"inpainting_mask_weight", nil},
	{"overlay_inpaint", nil},
	{"ad_bbox_sortby", generation.DetailOrders},
	{"ad_same_seed_for_each_tab", nil},
	{"ad_dynamic_denoise_power", nil},
	{"ad_match_inpaint_bbox_size", []string{"Off", "Free"}},
}

// PictureOptions lists them.
func (s *Server) PictureOptions() []PictureOption {
	o := s.Options.Values()
	list := make([]PictureOption, len(pictureOptions))
	for i, p := range pictureOptions {
		list[i] = PictureOption{Name: p.name, Value: o.Get(p.name), Choices: p.choices}
	}
	return list
}
