package sdapi

import (
	"context"

	"sdworker/inference"
	"sdworker/inference/imageio"
)

// buildImg2Img adds init images and mask.
func (c *call) buildImg2Img(ctx context.Context) error {
	in, r := &c.in, c.req
	background := colour(c.opts.Text("img2img_background_color"))
	list := in.list("init_images")
	switch batch := r.BatchSize; {
	case len(list) == 0:
		return crash("IndexError", "list index out of range")
	case len(list) > batch && batch > 0 && c.script == nil && c.origin == nil:
		return crash("RuntimeError", "bad number of images passed: %d; expecting %d or less", len(list), batch)
	}
	init := &inference.Init{
		ResizeMode:      resizeMode(in.maybeWhole("resize_mode")),
		NoiseMultiplier: first(in.maybeNumber("initial_noise_multiplier"), c.opts.Float("initial_noise_multiplier")),
	}
	if c.origin != nil {
		init.Images = c.origin.req.Init.Images
	} else {
		decoded, _, err := c.server.pictures(ctx, list, c.opts)
		if err != nil {
			return err
		}
		for _, m := range decoded {
			init.Images = append(init.Images, m.RGB(background))
		}
	}
	if len(list) > 1 {
		r.BatchSize = len(list) // fewer pictures than batch_size lower it
	}
	r.Init = init
	if c.mask == nil {
		if c.soft != nil && len(c.detailUnits) == 0 && !c.masksTiles() {
			c.note("soft inpainting did nothing: the request has no mask")
		}
		return nil
	}
	round := in.flag("mask_round", false) && c.soft == nil
	mask := &inference.Mask{
		Image:      imageio.Mask(*c.mask, round),
		Invert:     in.wholeOr("inpainting_mask_invert", 0) != 0,
		Round:      round,
		Soft:       c.soft,
		Fill:       in.wholeOr("inpainting_fill", 0),
		OnlyMasked: in.flag("inpaint_full_res", false),
	}
	if mask.Fill < 1 || mask.Fill > 3 {
		mask.Fill = 0
	}
	if both := in.maybeWhole("mask_blur"); both != nil {
		mask.BlurX, mask.BlurY = int(*both), int(*both)
	} else {
		mask.BlurX, mask.BlurY = in.whole("mask_blur_x"), in.whole("mask_blur_y")
	}
	mask.BlurX, mask.BlurY = max(mask.BlurX, 0), max(mask.BlurY, 0)
	if mask.OnlyMasked {
		mask.Padding = in.whole("inpaint_full_res_padding")
	}
	init.Mask = mask
	return nil
}

// resizeMode reads resize_mode; A1111 takes any number it does not know, and
// null, for "resize and fill".
func resizeMode(v *int64) int {
	const fill = 2
	if v == nil || *v < 0 || *v > 3 {
		return fill
	}
	return int(*v)
}
