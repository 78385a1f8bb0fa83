package infotext

import "fmt"

// generationEntries are the keys that A1111 lists itself, before those of its scripts.
func (p Params) generationEntries(t *table) {
	r, o := p.Request, p.Request.Settings
	t.set("Steps", r.Steps)
	t.set("Sampler", r.Sampler)
	t.set("Schedule type", optional(p.Scheduler))
	t.set("CFG scale", r.CFGScale)
	t.set("Image CFG scale", optional(p.ImageCFGScale))
	t.set("Seed", p.Seed)
	t.set("Face restoration", text(p.FaceRestoration))
	t.set("Size", fmt.Sprintf("%dx%d", p.Width, p.Height))
	t.set("Model hash", text(p.ModelHash))
	t.set("Model", text(p.Model))
	t.set("FP8 weight", text(p.FP8Weight))
	t.set("Cache FP16 weight for LoRA", optional(p.CacheFP16))
	t.set("VAE hash", text(p.VAEHash))
	t.set("VAE", text(p.VAE))
	t.set("Variation seed", when(r.SubseedStrength != 0, p.VariationSeed))
	t.set("Variation seed strength", nonZero(r.SubseedStrength))
	t.set("Seed resize from", when(r.SeedResizeW > 0 && r.SeedResizeH > 0, fmt.Sprintf("%dx%d", r.SeedResizeW, r.SeedResizeH)))
	t.set("Denoising strength", nil) // the place of an extra
	t.set("Conditional mask weight", optional(p.ConditionalMaskWeight))
	t.set("Clip skip", when(o.ClipSkip > 1, o.ClipSkip))
	t.set("ENSD", when(o.ENSD != 0 && infoOf(r.Sampler).UsesENSD && p.eta(r.Sampler) != 0, o.ENSD))
	t.set("Token merging ratio", nonZero(p.TokenMergingRatio))
	t.set("Token merging ratio hr", when(p.Hires != nil && p.TokenMergingRatioHR != 0, p.TokenMergingRatioHR))
	t.set("Init image hash", text(p.InitImageHash))
	t.set("RNG", when(o.NoiseSource != "" && o.NoiseSource != "GPU", o.NoiseSource))
	t.set("NGMS", nonZero(o.SMinUncond))
	t.set("Tiling", when(r.Tiling, true))
}

// bothRoutes are what image-to-image requests take over as well.
var bothRoutes = []target{
	{"Steps", "steps", toInt},
	{"Seed", "seed", toInt},
	{"Variation seed", "subseed", toInt},
	{"Variation seed strength", "subseed_strength", toFloat},
	// A1111 exchanges these two by mistake.
	{"Seed resize from-1", "seed_resize_from_w", toInt},
	{"Seed resize from-2", "seed_resize_from_h", toInt},
	{"Refiner", "refiner_checkpoint", toText},
	{"Refiner switch at", "refiner_switch_at", toFloat},
}

var txt2imgOnly = []target{
	{"Prompt", "prompt", toText},
	{"Negative prompt", "negative_prompt", toText},
	{"CFG scale", "cfg_scale", toFloat},
	{"Size-1", "width", toInt},
	{"Size-2", "height", toInt},
	{"Batch size", "batch_size", toInt},
	{"Denoising strength", "denoising_strength", toFloat},
}

// img2imgOnly are pasted into A1111's page, but not taken by its API.
var img2imgOnly = []target{{"Image CFG scale", "image_cfg_scale", toFloat}}
