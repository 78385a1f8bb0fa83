package generation

import (
	"context"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/picture"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// buildImg2Img adds init images and mask.
func (c *Call) buildImg2Img(ctx context.Context) error {
	in, r := &c.In, c.Req
	background := picture.Colour(c.Options.Text("img2img_background_color"))
	list := in.List("init_images")
	switch batch := r.BatchSize; {
	case len(list) == 0:
		return exception.Crash("IndexError", "list index out of range")
	case len(list) > batch && batch > 0 && c.Script == nil && c.origin == nil:
		return exception.Crash("RuntimeError", "bad number of images passed: %d; expecting %d or less", len(list), batch)
	}
	init := &inference.Init{
		ResizeMode:      resizeMode(in.MaybeWhole("resize_mode")),
		NoiseMultiplier: first(in.MaybeNumber("initial_noise_multiplier"), c.Options.Float("initial_noise_multiplier")),
	}
	if c.origin != nil {
		init.Images = c.origin.Req.Init.Images
	} else {
		decoded, _, err := c.Service.Reader.All(ctx, list, c.Options)
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
		if c.Soft != nil && len(c.detailUnits) == 0 && !c.masksTiles() {
			c.Note("soft inpainting did nothing: the request has no mask")
		}
		return nil
	}
	round := in.Flag("mask_round", false) && c.Soft == nil
	mask := &inference.Mask{
		Image:      imageio.Mask(*c.mask, round),
		Invert:     in.WholeOr("inpainting_mask_invert", 0) != 0,
		Round:      round,
		Soft:       c.Soft,
		Fill:       in.WholeOr("inpainting_fill", 0),
		OnlyMasked: in.Flag("inpaint_full_res", false),
	}
	if mask.Fill < 1 || mask.Fill > 3 {
		mask.Fill = 0
	}
	if both := in.MaybeWhole("mask_blur"); both != nil {
		mask.BlurX, mask.BlurY = int(*both), int(*both)
	} else {
		mask.BlurX, mask.BlurY = in.Whole("mask_blur_x"), in.Whole("mask_blur_y")
	}
	mask.BlurX, mask.BlurY = max(mask.BlurX, 0), max(mask.BlurY, 0)
	if mask.OnlyMasked {
		mask.Padding = in.Whole("inpaint_full_res_padding")
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
