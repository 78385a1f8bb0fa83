package generation

import (
	"context"
	"math"
	"slices"

	"sdworker/api/sdapi/exception"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/sampler"
	"sdworker/models/catalog"
)

// hiresDenoising stands in for a denoising_strength of null, with which the
// original makes the first pass and then fails.
const hiresDenoising = 0.75

// hiresFacts are what the infotext of a hires job needs beyond the request.
type hiresFacts struct {
	checkpoint *catalog.File
	sampler    sampler.Info
	named      *string // hr_sampler_name as sent; nil: that of the first pass
	scheduler  *string // as sent; nil: that of the first pass
	scale      float64
	resizeX    int
	resizeY    int
	upscaler   *string // as sent
}

// buildTxt2Img adds the hires pass.
func (c *Call) buildTxt2Img(context.Context) error {
	in, r := &c.In, c.Req
	if w, h := in.Whole("firstphase_width"), in.Whole("firstphase_height"); w != 0 || h != 0 {
		c.Width, c.Height = w, h
		r.Width, r.Height = imageio.FloorToLatent(w), imageio.FloorToLatent(h)
	}
	if !in.Flag("enable_hr", false) {
		r.DenoisingStrength = 0
		return nil
	}
	if in.MaybeNumber("denoising_strength") == nil {
		r.DenoisingStrength = hiresDenoising
		c.In.Set("denoising_strength", hiresDenoising)
		c.Note("denoising_strength is null; the hires pass uses %g", hiresDenoising)
	}
	h := &hiresFacts{
		sampler: c.sampler, scheduler: in.MaybeText("hr_scheduler"), upscaler: in.MaybeText("hr_upscaler"),
		scale: in.Number("hr_scale"), resizeX: in.Whole("hr_resize_x"), resizeY: in.Whole("hr_resize_y"),
	}
	c.hires = h
	if in.Err != nil {
		return in.Err
	}
	if err := c.hiresModels(); err != nil {
		return err
	}
	if c.Options.Bool("use_old_hires_fix_width_height") {
		h.resizeX, h.resizeY = c.Width, c.Height
		c.Width, c.Height = imageio.FirstPass512(c.Width, c.Height)
		r.Width, r.Height = imageio.FloorToLatent(c.Width), imageio.FloorToLatent(c.Height)
	}
	if c.Width < 1 || c.Height < 1 || math.IsNaN(h.scale) || h.scale*float64(max(c.Width, c.Height)) > 4*inference.MaxSide {
		return fault.FieldError("hr_scale", "a hires pass of %dx%d by %g is beyond %d pixels a side", c.Width, c.Height, h.scale, inference.MaxSide)
	}
	size := imageio.Hires(c.Width, c.Height, h.scale, h.resizeX, h.resizeY)
	positive, negative := in.Text("hr_prompt"), in.Text("hr_negative_prompt")
	if positive == "" {
		positive = in.Text("prompt")
	}
	if negative == "" {
		negative = in.Text("negative_prompt")
	}
	positive, negative = c.FinishPrompts(positive, negative)
	c.FindLoRAs(positive)
	scheduler := r.Scheduler
	if h.scheduler != nil {
		scheduler = *h.scheduler
		c.noteUnknownSchedule(h.sampler, scheduler)
	}
	r.Hires = &inference.Hires{
		Width: size.W, Height: size.H, TruncateX: size.TruncateX, TruncateY: size.TruncateY,
		Steps:    in.WholeOr("hr_second_pass_steps", 0),
		Upscaler: LatentModes[0],
		Sampler:  h.sampler.Name, Scheduler: scheduler,
		Prompt: positive, NegativePrompt: negative,
		CFGScale: r.CFGScale,
	}
	if h.upscaler != nil {
		r.Hires.Upscaler = *h.upscaler
	}
	if h.checkpoint != nil {
		r.Hires.Checkpoint = h.checkpoint.Path
	}
	return nil
}

// hiresModels resolves the names of the second pass.
func (c *Call) hiresModels() error {
	in, h := &c.In, c.hires
	if name := in.Text("hr_checkpoint_name"); name != "" && name != "Use same checkpoint" {
		found, ok := c.Service.Config.Catalog.ClosestCheckpoint(name)
		if !ok {
			return exception.Crash("Exception", "Could not find checkpoint with name %s", name)
		}
		h.checkpoint = &found
	}
	if name := in.Text("hr_sampler_name"); name != "" && name != "Use same sampler" {
		info, err := sampler.Find(name)
		if err != nil {
			return exception.Crash("AssertionError", "bad sampler name: %s", name)
		}
		h.sampler, h.named = info, &name
	}
	if h.scheduler != nil && *h.scheduler == "Use same scheduler" {
		h.scheduler = nil
	}
	if h.upscaler != nil && !slices.Contains(LatentModes, *h.upscaler) && !c.Service.hasUpscaler(*h.upscaler) {
		return exception.Crash("Exception", "could not find upscaler named %s", *h.upscaler)
	}
	return nil
}

// LatentModes are the upscalers that work on latents; the first is the default.
var LatentModes = latent.UpscaleModes()

// BuiltinUpscalers need no model file.
var BuiltinUpscalers = inference.BuiltinUpscalers()

func (s *Service) hasUpscaler(name string) bool {
	_, found := s.findUpscaler(name)
	return found || slices.Contains(BuiltinUpscalers, name)
}
