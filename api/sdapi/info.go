package sdapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
	"sdworker/inference/rng"
)

func itoa(i int) string { return strconv.Itoa(i) }

// info is the JSON text in the reply: A1111's keys in its order, then ours.
func (c *call) info(out *output) (string, error) {
	c.complete(out)
	if out.outcome.lead != nil {
		c = out.outcome.lead
	}
	r, o := c.req, c.opts
	var denoising, faceModel, vaeName, vaeHash any
	if d := c.in.maybeNumber("denoising_strength"); d != nil {
		denoising = *d
	}
	if c.faces {
		faceModel = o.Get("face_restoration_model")
	}
	if c.vae != nil {
		vaeName, vaeHash = c.vae.FileName(), c.hashes.vae
	}
	strength, _ := c.in.Get("subseed_strength")
	doc := pyjson.NewObject(
		"prompt", firstOf(out.prompts, r.Prompt),
		"all_prompts", out.prompts,
		"negative_prompt", firstOf(out.negatives, r.NegativePrompt),
		"all_negative_prompts", out.negatives,
		"seed", r.Seed,
		"all_seeds", out.seeds,
		"subseed", r.Subseed,
		"all_subseeds", out.subseeds,
		"subseed_strength", strength,
		"width", c.width,
		"height", c.height,
		"sampler_name", r.Sampler,
		"cfg_scale", r.CFGScale,
		"steps", r.Steps,
		"batch_size", r.BatchSize,
		"restore_faces", c.faces,
		"face_restoration_model", faceModel,
		"sd_model_name", c.checkpoint.Stem(),
		"sd_model_hash", c.checkpoint.ShortHash(),
		"sd_vae_name", vaeName,
		"sd_vae_hash", vaeHash,
		"seed_resize_from_w", r.SeedResizeW,
		"seed_resize_from_h", r.SeedResizeH,
		"denoising_strength", denoising,
		"extra_generation_params", out.extra,
		"index_of_first_image", out.firstImage,
		"infotexts", out.infotexts,
		"styles", c.styles,
		"job_timestamp", out.started.Format(timestampLayout),
		"clip_skip", r.Settings.ClipSkip,
		"is_using_inpainting_conditioning", out.outcome.inpainting(),
		"version", c.server.cfg.Version,
		"timings", timingsOf(out.outcome.timings()),
		"notes", out.notes,
	)
	text, err := pyjson.Marshal(doc, pyjson.Dumps)
	return string(text), err
}

// complete lists images, too, that an interrupt left out.
func (c *call) complete(out *output) {
	switch {
	case c.script != nil:
	case c.expansion != nil:
		e := c.expansion
		out.prompts, out.negatives, out.seeds, out.subseeds = e.prompts, e.negatives, e.seeds, e.subseeds
	default:
		r := c.req
		out.seeds, out.subseeds = rng.ImageSeeds(r.Seed, r.Subseed, r.SubseedStrength, r.Images())
		out.prompts, out.negatives = slices.Repeat([]string{r.Prompt}, r.Images()), slices.Repeat([]string{r.NegativePrompt}, r.Images())
	}
}

// firstOf is the first of a list, or def.
func firstOf(list []string, def string) string {
	if len(list) > 0 {
		return list[0]
	}
	return def
}

// timingsOf are the seconds of each phase.
func timingsOf(t inference.Timings) *pyjson.Object {
	o := pyjson.NewObject()
	for _, p := range phases(t) {
		o.Set(p.name, p.seconds)
	}
	return o
}

// serverTiming is the value of the header of that name, in milliseconds.
func serverTiming(t inference.Timings) string {
	var parts []string
	for _, p := range phases(t) {
		parts = append(parts, fmt.Sprintf("%s;dur=%.3f", p.name, 1000*p.seconds))
	}
	return strings.Join(parts, ", ")
}

type phase struct {
	name    string
	seconds float64
}

func phases(t inference.Timings) []phase {
	round := func(s float64) float64 {
		return time.Duration(s * float64(time.Second)).Round(time.Microsecond).Seconds()
	}
	return []phase{
		{"queue", round(t.Queue)},
		{"load", round(t.Load)},
		{"encode", round(t.Encode)},
		{"sample", round(t.Sample)},
		{"decode", round(t.Decode)},
		{"upscale", round(t.Upscale)},
		{"total", round(t.Total)},
	}
}
