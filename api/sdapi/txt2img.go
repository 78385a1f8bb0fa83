package sdapi

import (
	"context"
	"math"
	"slices"

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
func (c *call) buildTxt2Img(context.Context) error {
	in, r := &c.in, c.req
	if w, h := in.whole("firstphase_width"), in.whole("firstphase_height"); w != 0 || h != 0 {
		c.width, c.height = w, h
		r.Width, r.Height = imageio.FloorToLatent(w), imageio.FloorToLatent(h)
	}
	if !in.flag("enable_hr", false) {
		r.DenoisingStrength = 0
		return nil
	}
	if in.maybeNumber("denoising_strength") == nil {
		r.DenoisingStrength = hiresDenoising
		c.in.Set("denoising_strength", hiresDenoising)
		c.note("denoising_strength is null; the hires pass uses %g", hiresDenoising)
	}
	h := &hiresFacts{
		sampler: c.sampler, scheduler: in.maybeText("hr_scheduler"), upscaler: in.maybeText("hr_upscaler"),
		scale: in.number("hr_scale"), resizeX: in.whole("hr_resize_x"), resizeY: in.whole("hr_resize_y"),
	}
	c.hires = h
	if in.err != nil {
		return in.err
	}
	if err := c.hiresModels(); err != nil {
		return err
	}
	if c.opts.Bool("use_old_hires_fix_width_height") {
		h.resizeX, h.resizeY = c.width, c.height
		c.width, c.height = imageio.FirstPass512(c.width, c.height)
		r.Width, r.Height = imageio.FloorToLatent(c.width), imageio.FloorToLatent(c.height)
	}
	if c.width < 1 || c.height < 1 || math.IsNaN(h.scale) || h.scale*float64(max(c.width, c.height)) > 4*inference.MaxSide {
		return fault.FieldError("hr_scale", "a hires pass of %dx%d by %g is beyond %d pixels a side", c.width, c.height, h.scale, inference.MaxSide)
	}
	size := imageio.Hires(c.width, c.height, h.scale, h.resizeX, h.resizeY)
	positive, negative := in.text("hr_prompt"), in.text("hr_negative_prompt")
	if positive == "" {
		positive = in.text("prompt")
	}
	if negative == "" {
		negative = in.text("negative_prompt")
	}
	positive, negative = c.finishPrompts(positive, negative)
	c.findLoRAs(positive)
	scheduler := r.Scheduler
	if h.scheduler != nil {
		scheduler = *h.scheduler
		c.noteUnknownSchedule(h.sampler, scheduler)
	}
	r.Hires = &inference.Hires{
		Width: size.W, Height: size.H, TruncateX: size.TruncateX, TruncateY: size.TruncateY,
		Steps:    in.wholeOr("hr_second_pass_steps", 0),
		Upscaler: latentModes[0],
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
func (c *call) hiresModels() error {
	in, h := &c.in, c.hires
	if name := in.text("hr_checkpoint_name"); name != "" && name != "Use same checkpoint" {
		found, ok := c.server.cfg.Catalog.ClosestCheckpoint(name)
		if !ok {
			return crash("Exception", "Could not find checkpoint with name %s", name)
		}
		h.checkpoint = &found
	}
	if name := in.text("hr_sampler_name"); name != "" && name != "Use same sampler" {
		info, err := sampler.Find(name)
		if err != nil {
			return crash("AssertionError", "bad sampler name: %s", name)
		}
		h.sampler, h.named = info, &name
	}
	if h.scheduler != nil && *h.scheduler == "Use same scheduler" {
		h.scheduler = nil
	}
	if h.upscaler != nil && !slices.Contains(latentModes, *h.upscaler) && !c.server.hasUpscaler(*h.upscaler) {
		return crash("Exception", "could not find upscaler named %s", *h.upscaler)
	}
	return nil
}

// latentModes are the upscalers that work on latents; the first is the default.
var latentModes = latent.UpscaleModes()

// builtinUpscalers need no model file.
var builtinUpscalers = inference.BuiltinUpscalers()

func (s *Server) hasUpscaler(name string) bool {
	_, found := s.findUpscaler(name)
	return found || slices.Contains(builtinUpscalers, name)
}
