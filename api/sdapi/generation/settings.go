package generation

import (
	"math"
	"slices"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/request"
	"sdworker/inference"
	"sdworker/inference/clip"
)

// settings are the options that shape a picture, with the request's own fields
// before them where it has any.
func settings(o options.Values, in *request.Fields) inference.Settings {
	st := inference.DefaultSettings()
	st.ClipSkip = max(1, int(o.Int("CLIP_stop_at_last_layers"))) // in A1111, too, less than 1 skips nothing
	if name := o.Text("emphasis"); slices.Contains(clip.EmphasisNames(), name) {
		st.Emphasis = name // any other means the default, as in A1111
	}
	st.CommaBacktrack = int(o.Int("comma_padding_backtrack"))
	st.NoiseSource = o.Text("randn_source")
	st.ENSD = o.Int("eta_noise_seed_delta")
	st.Eta = first(in.MaybeNumber("eta"), o.Float("eta_ancestral"))
	st.EtaDDIM = first(in.MaybeNumber("eta"), o.Float("eta_ddim"))
	st.EtaTCD = first(in.MaybeNumber("eta"), o.Float("eta_tcd"))
	st.StepCache = o.Float("step_cache")
	st.CFGRescale = o.Float("cfg_rescale")
	st.SMinUncond = first(in.MaybeNumber("s_min_uncond"), o.Float("s_min_uncond"))
	st.SChurn = sigmaOption(in.MaybeNumber("s_churn"), o.Float("s_churn"), 0)
	st.STmin = sigmaOption(in.MaybeNumber("s_tmin"), o.Float("s_tmin"), 0)
	st.STmax = sigmaOption(in.MaybeNumber("s_tmax"), o.Float("s_tmax"), 0)
	st.SNoise = sigmaOption(in.MaybeNumber("s_noise"), o.Float("s_noise"), 1)
	st.SigmaMin = o.Float("sigma_min")
	st.SigmaMax = o.Float("sigma_max")
	st.Rho = o.Float("rho")
	st.DiscardNextToLast = o.Bool("always_discard_next_to_last_sigma")
	st.OldKarrasSigmas = o.Bool("use_old_karras_scheduler_sigmas")
	st.SGMNoiseMultiplier = o.Bool("sgm_noise_multiplier")
	st.Quantize = o.Bool("enable_quantization")
	st.ZeroTerminalSNR = o.Text("sd_noise_schedule") == "Zero Terminal SNR"
	st.DowncastAlphas = o.Bool("use_downcasted_alpha_bar")
	st.UniPC.Variant = o.Text("uni_pc_variant")
	st.UniPC.SkipType = o.Text("uni_pc_skip_type")
	st.UniPC.Order = int(o.Int("uni_pc_order"))
	st.UniPC.LowerOrderFinal = o.Bool("uni_pc_lower_order_final")
	st.FixSteps = o.Bool("img2img_fix_steps")
	st.ExtraNoise = o.Float("img2img_extra_noise")
	st.ColorCorrection = o.Bool("img2img_color_correction")
	st.OverlayInpaint = o.Bool("overlay_inpaint")
	st.ConditionWeight = o.Float("inpainting_mask_weight")
	st.PadCondUncond = o.Bool("pad_cond_uncond")
	st.PadCondUncondV0 = o.Bool("pad_cond_uncond_v0")
	st.OldEditingTimelines = o.Bool("use_old_scheduling")
	st.DisableExtraNetworks = in.Flag("disable_extra_networks", false)
	st.UpscalerForImg2Img = o.Text("upscaler_for_img2img")
	return st
}

func first(given *float64, def float64) float64 {
	if given != nil {
		return *given
	}
	return def
}

// sigmaOption decides between request and option for the s_* values: in A1111 an
// option that is not at its default wins over the request.
func sigmaOption(given *float64, option, def float64) float64 {
	if option != def {
		return option
	}
	v := first(given, option)
	if math.IsInf(v, 1) && def == 0 {
		return 0 // as s_tmax: no limit
	}
	return v
}

// preview says when the running job makes a picture of its latent.
func (s *Service) preview(o options.Values) inference.Preview {
	every := int(o.Int("show_progress_every_n_steps"))
	if !o.Bool("live_previews_enable") || every < 1 {
		return inference.Preview{}
	}
	p := inference.Preview{Every: every, Method: "approx"}
	switch o.Text("show_progress_type") {
	case "Full":
		p.Method = "full"
	case "TAESD":
		if _, ok := s.Config.Catalog.PreviewDecoder(); ok {
			p.Method = "taesd"
		}
	}
	return p
}
