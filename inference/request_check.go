package inference

import (
	"math"

	"sdworker/fault"
	"sdworker/inference/prompt"
)

// Check reports an Invalid error that names the first field out of range. The
// bounds keep the native code's arithmetic safe; they are wider than what fits
// into memory.
func (r *Request) Check() error {
	switch {
	case r.Steps < 1 || r.Steps > MaxSteps:
		return fault.FieldError("steps", "steps is %d, want 1 to %d", r.Steps, MaxSteps)
	case !finite(r.CFGScale) || math.Abs(r.CFGScale) > 1000:
		return fault.FieldError("cfg_scale", "cfg_scale is %g, want a number between -1000 and 1000", r.CFGScale)
	case r.BatchSize < 1 || r.BatchSize > MaxImages:
		return fault.FieldError("batch_size", "batch_size is %d, want 1 to %d", r.BatchSize, MaxImages)
	case r.BatchNum < 1 || r.BatchNum > MaxImages:
		return fault.FieldError("n_iter", "n_iter is %d, want 1 to %d", r.BatchNum, MaxImages)
	case r.Images() > MaxImages:
		return fault.FieldError("n_iter", "batch_size times n_iter is %d images, want at most %d", r.Images(), MaxImages)
	case !finite(r.DenoisingStrength) || r.DenoisingStrength < 0 || r.DenoisingStrength > 1:
		return fault.FieldError("denoising_strength", "denoising_strength is %g, want 0 to 1", r.DenoisingStrength)
	case !finite(r.SubseedStrength):
		return fault.FieldError("subseed_strength", "subseed_strength is not a finite number")
	case !(r.Settings.StepCache >= 0 && r.Settings.StepCache <= 1):
		return fault.FieldError("step_cache", "step_cache is %g, want 0 (off) to 1", r.Settings.StepCache)
	case r.Settings.ClipSkip < 1 || r.Settings.ClipSkip > 12:
		return fault.FieldError("CLIP_stop_at_last_layers", "clip skip is %d, want 1 to 12", r.Settings.ClipSkip)
	case r.SeedResizeW > MaxSide || r.SeedResizeH > MaxSide:
		return fault.FieldError("seed_resize_from_w", "seed resize from %dx%d, want at most %d a side", r.SeedResizeW, r.SeedResizeH, MaxSide)
	case r.SeedResizeW > 0 && r.SeedResizeW < LatentScale || r.SeedResizeH > 0 && r.SeedResizeH < LatentScale:
		return fault.FieldError("seed_resize_from_w", "seed resize from %dx%d, want at least %d a side", r.SeedResizeW, r.SeedResizeH, LatentScale)
	}
	if err := checkSize("width", "height", r.Width, r.Height); err != nil {
		return err
	}
	for name, v := range map[string]float64{
		"eta": r.Settings.Eta, "eta_ddim": r.Settings.EtaDDIM, "eta_tcd": r.Settings.EtaTCD, "s_churn": r.Settings.SChurn, "s_tmin": r.Settings.STmin,
		"s_noise": r.Settings.SNoise, "s_min_uncond": r.Settings.SMinUncond, "sigma_min": r.Settings.SigmaMin,
		"sigma_max": r.Settings.SigmaMax, "rho": r.Settings.Rho, "inpainting_mask_weight": r.Settings.ConditionWeight,
	} {
		if !finite(v) {
			return fault.FieldError(name, "%s is not a finite number", name)
		}
	}
	if err := checkPrompt("prompt", r.Prompt); err != nil {
		return err
	}
	if err := checkPrompt("negative_prompt", r.NegativePrompt); err != nil {
		return err
	}
	if r.Init != nil {
		if err := r.Init.check(r); err != nil {
			return err
		}
	}
	if h := r.Hires; h != nil {
		if err := h.check(); err != nil {
			return err
		}
	}
	for _, u := range r.Control {
		if u.Image.W < 1 || u.Image.H < 1 {
			return fault.FieldError("alwayson_scripts", "a ControlNet unit has no image")
		}
	}
	return nil
}

func (in *Init) check(r *Request) error {
	switch n := len(in.Images); {
	case n == 0:
		return fault.FieldError("init_images", "no init image given")
	case n > r.BatchSize:
		return fault.FieldError("init_images", "bad number of images passed: %d; expecting %d or less", n, r.BatchSize)
	case in.Width != 0 && in.Width/LatentScale != r.Width/LatentScale:
		return fault.FieldError("width", "init images of width %d give no latents for a width of %d", in.Width, r.Width)
	case in.Height != 0 && in.Height/LatentScale != r.Height/LatentScale:
		return fault.FieldError("height", "init images of height %d give no latents for a height of %d", in.Height, r.Height)
	}
	for _, m := range in.Images {
		if m.W < 1 || m.H < 1 || m.W > 4*MaxSide || m.H > 4*MaxSide || len(m.Pix) != 3*m.W*m.H {
			return fault.FieldError("init_images", "an init image of %dx%d pixels cannot be used", m.W, m.H)
		}
	}
	if in.ResizeMode < 0 || in.ResizeMode > 3 {
		return fault.FieldError("resize_mode", "resize_mode is %d, want 0 to 3", in.ResizeMode)
	}
	m := in.Mask
	if m == nil {
		return nil
	}
	switch {
	case m.Image.W < 1 || m.Image.H < 1 || len(m.Image.Pix) != m.Image.W*m.Image.H:
		return fault.FieldError("mask", "the mask is empty")
	case m.BlurX < 0 || m.BlurY < 0 || m.BlurX > 1024 || m.BlurY > 1024:
		return fault.FieldError("mask_blur", "mask blur is %dx%d, want 0 to 1024", m.BlurX, m.BlurY)
	case m.Fill < 0 || m.Fill > 3:
		return fault.FieldError("inpainting_fill", "inpainting_fill is %d, want 0 to 3", m.Fill)
	case m.Padding < 0 || m.Padding > MaxSide:
		return fault.FieldError("inpaint_full_res_padding", "inpaint_full_res_padding is %d, want 0 to %d", m.Padding, MaxSide)
	}
	return nil
}

// checkPrompt bounds what a prompt may cost before it is parsed.
func checkPrompt(field, text string) error {
	if len(text) > MaxPromptBytes {
		return fault.FieldError(field, "%s has %d bytes, want at most %d", field, len(text), MaxPromptBytes)
	}
	if n := len(prompt.SplitAND(text)); n > MaxPromptParts {
		return fault.FieldError(field, "%s has %d parts joined by AND, want at most %d", field, n, MaxPromptParts)
	}
	return nil
}

func (h *Hires) check() error {
	if err := checkPrompt("hr_prompt", h.Prompt); err != nil {
		return err
	}
	if err := checkPrompt("hr_negative_prompt", h.NegativePrompt); err != nil {
		return err
	}
	if h.Steps < 0 || h.Steps > MaxSteps {
		return fault.FieldError("hr_second_pass_steps", "hr_second_pass_steps is %d, want 0 to %d", h.Steps, MaxSteps)
	}
	if h.Width < LatentScale || h.Height < LatentScale || h.Width > MaxSide || h.Height > MaxSide {
		return fault.FieldError("hr_scale", "the hires pass would be %dx%d pixels, want %d to %d a side", h.Width, h.Height, LatentScale, MaxSide)
	}
	if h.TruncateX < 0 || h.TruncateY < 0 || h.TruncateX >= h.Width/LatentScale || h.TruncateY >= h.Height/LatentScale {
		return fault.FieldError("hr_resize_x", "the hires crop leaves nothing of %dx%d pixels", h.Width, h.Height)
	}
	return nil
}

func checkSize(fieldW, fieldH string, w, h int) error {
	for _, side := range []struct {
		field string
		size  int
	}{{fieldW, w}, {fieldH, h}} {
		if side.size < LatentScale || side.size > MaxSide || side.size%LatentScale != 0 {
			return fault.FieldError(side.field, "%s is %d, want a multiple of %d from %d to %d", side.field, side.size, LatentScale, LatentScale, MaxSide)
		}
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
