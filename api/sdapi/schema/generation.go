package schema

import (
	"slices"

	"sdworker/api/sdapi/pyjson"
)

// Txt2Img and Img2Img are the models of the two generation routes.
var (
	Txt2Img = Model{"StableDiffusionTxt2ImgProcessingAPI", slices.Concat(
		common(Field{Name: "denoising_strength", Kind: Number, Nullable: true}), hires, call())}
	Img2Img = Model{"StableDiffusionImg2ImgProcessingAPI", slices.Concat(
		common(Field{Name: "denoising_strength", Kind: Number, Default: float64(0.75), Doc: "0 to 1, how much img2img and the second pass change"}), initImages,
		call(Field{Name: "include_init_images", Kind: Boolean, Default: false}))}
)

// common are the fields of both routes, with the one between them that differs.
func common(denoising Field) []Field {
	return slices.Concat(beforeDenoising, []Field{denoising}, afterDenoising)
}

var beforeDenoising = []Field{
	{Name: "prompt", Kind: String, Default: "", Nullable: true, Doc: "what the picture shows; A1111's whole prompt language"},
	{Name: "negative_prompt", Kind: String, Default: "", Nullable: true, Doc: "what it does not show"},
	{Name: "styles", Kind: Strings, Nullable: true},
	{Name: "seed", Kind: Integer, Default: int64(-1), Nullable: true, Doc: "of the first picture, -1 = random"},
	{Name: "subseed", Kind: Integer, Default: int64(-1), Nullable: true, Doc: "variation seed, -1 = random"},
	{Name: "subseed_strength", Kind: Number, Default: int64(0), Nullable: true, Doc: "0 to 1, how much of the variation"},
	{Name: "seed_resize_from_h", Kind: Integer, Default: int64(-1), Nullable: true},
	{Name: "seed_resize_from_w", Kind: Integer, Default: int64(-1), Nullable: true},
	{Name: "sampler_name", Kind: String, Nullable: true, Flag: "SAMPLER", Doc: `sampler, such as "Euler a" or "DPM++ 2M" (default Euler)`},
	{Name: "scheduler", Kind: String, Nullable: true, Doc: "noise schedule, such as Karras (default Automatic)"},
	{Name: "batch_size", Kind: Integer, Default: int64(1), Nullable: true, Doc: "pictures made at the same time"},
	{Name: "n_iter", Kind: Integer, Default: int64(1), Nullable: true, Doc: "batches made one after another"},
	{Name: "steps", Kind: Integer, Default: int64(50), Nullable: true, Doc: "sampling steps"},
	{Name: "cfg_scale", Kind: Number, Default: float64(7), Nullable: true, Doc: "how strictly the prompt is followed"},
	{Name: "width", Kind: Integer, Default: int64(512), Nullable: true, Doc: "pixels, a multiple of 8"},
	{Name: "height", Kind: Integer, Default: int64(512), Nullable: true, Doc: "pixels, a multiple of 8"},
	{Name: "restore_faces", Kind: Boolean, Nullable: true},
	{Name: "tiling", Kind: Boolean, Nullable: true, Doc: "make the picture seamless"},
	{Name: "do_not_save_samples", Kind: Boolean, Default: false, Nullable: true},
	{Name: "do_not_save_grid", Kind: Boolean, Default: false, Nullable: true},
	{Name: "eta", Kind: Number, Nullable: true},
}

var afterDenoising = []Field{
	{Name: "s_min_uncond", Kind: Number, Nullable: true},
	{Name: "s_churn", Kind: Number, Nullable: true},
	{Name: "s_tmax", Kind: Number, Nullable: true},
	{Name: "s_tmin", Kind: Number, Nullable: true},
	{Name: "s_noise", Kind: Number, Nullable: true},
	{Name: "override_settings", Kind: Dict, Nullable: true},
	{Name: "override_settings_restore_afterwards", Kind: Boolean, Default: true, Nullable: true},
	{Name: "refiner_checkpoint", Kind: String, Nullable: true},
	{Name: "refiner_switch_at", Kind: Number, Nullable: true},
	{Name: "disable_extra_networks", Kind: Boolean, Default: false, Nullable: true},
	{Name: "firstpass_image", Kind: String, Nullable: true},
	{Name: "comments", Kind: Dict, Nullable: true},
}

var hires = []Field{
	{Name: "enable_hr", Kind: Boolean, Default: false, Nullable: true, Doc: "scale up and refine in a second pass"},
	{Name: "firstphase_width", Kind: Integer, Default: int64(0), Nullable: true},
	{Name: "firstphase_height", Kind: Integer, Default: int64(0), Nullable: true},
	{Name: "hr_scale", Kind: Number, Default: float64(2), Nullable: true, Doc: "factor"},
	{Name: "hr_upscaler", Kind: String, Nullable: true, Doc: "upscaler, such as Latent or Lanczos"},
	{Name: "hr_second_pass_steps", Kind: Integer, Default: int64(0), Nullable: true, Doc: "steps of the second pass, 0 = the same as the first"},
	{Name: "hr_resize_x", Kind: Integer, Default: int64(0), Nullable: true},
	{Name: "hr_resize_y", Kind: Integer, Default: int64(0), Nullable: true},
	{Name: "hr_checkpoint_name", Kind: String, Nullable: true},
	{Name: "hr_sampler_name", Kind: String, Nullable: true},
	{Name: "hr_scheduler", Kind: String, Nullable: true},
	{Name: "hr_prompt", Kind: String, Default: "", Nullable: true},
	{Name: "hr_negative_prompt", Kind: String, Default: "", Nullable: true},
}

var initImages = []Field{
	{Name: "init_images", Kind: Array, Nullable: true},
	{Name: "resize_mode", Kind: Integer, Default: int64(0), Nullable: true, Doc: "of the first picture: 0 stretch, 1 crop, 2 fill, 3 stretch the latent"},
	{Name: "image_cfg_scale", Kind: Number, Nullable: true},
	{Name: "mask", Kind: String, Nullable: true},
	{Name: "mask_blur_x", Kind: Integer, Default: int64(4), Nullable: true},
	{Name: "mask_blur_y", Kind: Integer, Default: int64(4), Nullable: true},
	{Name: "mask_blur", Kind: Integer, Nullable: true, Doc: "pixels (default 4)"},
	{Name: "mask_round", Kind: Boolean, Default: true, Nullable: true},
	{Name: "inpainting_fill", Kind: Integer, Default: int64(0), Nullable: true, Doc: "of the masked area: 0 fill, 1 original, 2 latent noise, 3 latent nothing"},
	{Name: "inpaint_full_res", Kind: Boolean, Default: true, Nullable: true, Doc: "repaint the masked area at full resolution"},
	{Name: "inpaint_full_res_padding", Kind: Integer, Default: int64(0), Nullable: true, Doc: "pixels around the masked area"},
	{Name: "inpainting_mask_invert", Kind: Integer, Default: int64(0), Nullable: true, Switch: true, Doc: "repaint what is black"},
	{Name: "initial_noise_multiplier", Kind: Number, Nullable: true},
	{Name: "latent_mask", Kind: String, Nullable: true},
}

// call are the fields that the HTTP layer adds to what the pipeline takes.
func call(more ...Field) []Field {
	return slices.Concat([]Field{
		{Name: "force_task_id", Kind: String, Nullable: true},
		{Name: "sampler_index", Kind: String, Default: "Euler"},
	}, more, []Field{
		{Name: "script_name", Kind: String, Nullable: true},
		{Name: "script_args", Kind: Array, Default: []any{}},
		{Name: "send_images", Kind: Boolean, Default: true},
		{Name: "save_images", Kind: Boolean, Default: false},
		{Name: "alwayson_scripts", Kind: Dict, Default: pyjson.NewObject()},
		{Name: "infotext", Kind: String, Nullable: true},
	})
}
