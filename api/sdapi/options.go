package sdapi

import (
	"context"
	"encoding/base64"
	"math"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/clip"
	"sdworker/inference/imageio"
)

// getOptions handles GET /sdapi/v1/options.
func (s *Server) getOptions(*http.Request) (any, error) {
	o := s.options.Values()
	out := pyjson.NewObject()
	for i := range options.Table.Fields {
		name := options.Table.Fields[i].Name
		out.Set(name, o.Get(name))
	}
	s.showLoaded(out)
	return out, nil
}

// showLoaded gives the chosen checkpoint the title that it has now, and fills in
// the loaded one where the options leave it open, as A1111 does once it has
// loaded one.
func (s *Server) showLoaded(out *pyjson.Object) {
	chosen, _ := out.Get("sd_model_checkpoint")
	if name, ok := chosen.(string); ok {
		if c, ok := s.cfg.Catalog.Checkpoint(name); ok {
			out.Set("sd_model_checkpoint", c.Title())
		}
	}
	path := s.cfg.Queue.Generator().Status().Engine.Checkpoint
	if path == "" {
		return
	}
	c, ok := s.checkpointAt(path)
	if !ok {
		return
	}
	if chosen == nil {
		out.Set("sd_model_checkpoint", c.Title())
	}
	out.Set("sd_checkpoint_hash", c.SHA256)
}

// setOptions handles POST /sdapi/v1/options. A new checkpoint or VAE is loaded
// before the reply; when that fails, the options stay as they were.
func (s *Server) setOptions(r *http.Request) (any, error) {
	sent, err := s.readObject(r)
	if err != nil {
		return nil, err
	}
	if name, _ := sent.Get("sd_model_checkpoint"); name != nil {
		text, _ := name.(string)
		c, ok := s.cfg.Catalog.Checkpoint(text)
		if !ok {
			return nil, crash("RuntimeError", "model %s not found", repr(name))
		}
		sent = sent.Clone()
		sent.Set("sd_model_checkpoint", c.Title())
	}
	if err := s.judgeOptions(r.Context(), sent); err != nil {
		return nil, err
	}
	before := s.options.Values()
	if err := s.options.Save(sent); err != nil {
		return nil, unwritten(err)
	}
	after := s.options.Values()
	same := func(name string) bool { return reflect.DeepEqual(before.Get(name), after.Get(name)) }
	if same("sd_model_checkpoint") && same("sd_vae") {
		return nil, nil
	}
	if err := s.load(r.Context()); err != nil {
		undo := pyjson.NewObject("sd_model_checkpoint", before.Get("sd_model_checkpoint"), "sd_vae", before.Get("sd_vae"))
		if undoErr := s.options.Save(undo); undoErr != nil {
			s.cfg.Log.Error().Err(undoErr).Msg("options cannot be put back")
		}
		return nil, err
	}
	return nil, nil
}

// judgeOptions refuses options with which requests could no longer be answered that say
// nothing beyond the least: they would spoil the jobs of everyone. The checkpoint and the
// VAE are left to the load.
func (s *Server) judgeOptions(ctx context.Context, sent *pyjson.Object) error {
	sent = sent.Clone()
	sent.Delete("sd_model_checkpoint")
	sent.Delete("sd_vae")
	next, err := s.options.With(sent)
	if err != nil {
		return err
	}
	for _, t := range both {
		if why := s.tryOptions(ctx, t, next); why != nil && s.tryOptions(ctx, t, s.options.Values()) == nil {
			return refuse(http.StatusUnprocessableEntity, "no picture could be made with these options: %s", fault.Message(why))
		}
	}
	return nil
}

// tryOptions prepares the least request, and drops it.
func (s *Server) tryOptions(ctx context.Context, t *tab, o options.Values) error {
	in, err := t.model.Read(pyjson.NewObject("width", int64(inference.LatentScale), "height", int64(inference.LatentScale), "init_images", []any{dot()}))
	if err != nil {
		return err
	}
	_, err = s.prepare(ctx, t, in, o)
	return err
}

// dot is the file of a picture of one pixel in base64.
var dot = sync.OnceValue(func() string {
	file, err := imageio.EncodePNG(imageio.NewRGB(1, 1))
	if err != nil {
		panic(err) // it depends on nothing
	}
	return base64.StdEncoding.EncodeToString(file)
})

// load makes the checkpoint and VAE of the options ready, in a turn of the queue.
func (s *Server) load(ctx context.Context) error {
	_, files, err := s.chosenFiles(s.options.Values())
	if err != nil {
		return err
	}
	return s.cfg.Queue.Do(ctx, inference.Job{Name: "load model"}, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		return gen.Load(ctx, files, hooks)
	})
}

// unload handles POST /sdapi/v1/unload-checkpoint.
func (s *Server) unload(r *http.Request) (any, error) {
	err := s.cfg.Queue.Do(r.Context(), inference.Job{Name: "unload model"}, func(ctx context.Context, gen inference.Generator, _ inference.Hooks) error {
		return gen.Unload(ctx)
	})
	return empty, err
}

// reload handles POST /sdapi/v1/reload-checkpoint.
func (s *Server) reload(r *http.Request) (any, error) {
	return empty, s.load(r.Context())
}

// repr is Python's repr of a JSON value, for error texts.
func repr(v any) string {
	if s, ok := v.(string); ok {
		return quoted(s)
	}
	text, _ := pyjson.Marshal(v, pyjson.Dumps)
	return string(text)
}

// settings are the options that shape a picture, with the request's own fields
// before them where it has any.
func settings(o options.Values, in *fields) inference.Settings {
	st := inference.DefaultSettings()
	st.ClipSkip = max(1, int(o.Int("CLIP_stop_at_last_layers"))) // in A1111, too, less than 1 skips nothing
	if name := o.Text("emphasis"); slices.Contains(clip.EmphasisNames(), name) {
		st.Emphasis = name // any other means the default, as in A1111
	}
	st.CommaBacktrack = int(o.Int("comma_padding_backtrack"))
	st.NoiseSource = o.Text("randn_source")
	st.ENSD = o.Int("eta_noise_seed_delta")
	st.Eta = first(in.maybeNumber("eta"), o.Float("eta_ancestral"))
	st.EtaDDIM = first(in.maybeNumber("eta"), o.Float("eta_ddim"))
	st.EtaTCD = first(in.maybeNumber("eta"), o.Float("eta_tcd"))
	st.StepCache = o.Float("step_cache")
	st.CFGRescale = o.Float("cfg_rescale")
	st.SMinUncond = first(in.maybeNumber("s_min_uncond"), o.Float("s_min_uncond"))
	st.SChurn = sigmaOption(in.maybeNumber("s_churn"), o.Float("s_churn"), 0)
	st.STmin = sigmaOption(in.maybeNumber("s_tmin"), o.Float("s_tmin"), 0)
	st.STmax = sigmaOption(in.maybeNumber("s_tmax"), o.Float("s_tmax"), 0)
	st.SNoise = sigmaOption(in.maybeNumber("s_noise"), o.Float("s_noise"), 1)
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
	st.DisableExtraNetworks = in.flag("disable_extra_networks", false)
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
func (s *Server) preview(o options.Values) inference.Preview {
	every := int(o.Int("show_progress_every_n_steps"))
	if !o.Bool("live_previews_enable") || every < 1 {
		return inference.Preview{}
	}
	p := inference.Preview{Every: every, Method: "approx"}
	switch o.Text("show_progress_type") {
	case "Full":
		p.Method = "full"
	case "TAESD":
		if _, ok := s.cfg.Catalog.PreviewDecoder(); ok {
			p.Method = "taesd"
		}
	}
	return p
}
