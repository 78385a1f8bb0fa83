package generation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/rng"
	"sdworker/internal/span"
)

// Output is what a job made, on its way into a reply.
type Output struct {
	outcome    *Outcome
	started    time.Time
	Images     []picture.Encodable // in the order of the reply
	Prompts    []string            // of the pictures, and of grids that scripts count among them
	Negatives  []string
	Seeds      []int64
	Subseeds   []int64
	Infotexts  []string
	FirstImage int // index of the first picture that is no grid
	extra      *pyjson.Object
	notes      []string
}

// reply makes the body of a generation reply. The engine works on the next job meanwhile.
func (c *Call) reply(ctx context.Context, made *Outcome) ([]byte, error) {
	out := c.collect(made)
	c.mark(out.Images)
	encoding, end := span.Start(ctx, "encode pictures", attribute.Int("sdworker.images", len(out.Images)))
	files, err := picture.EncodeAll(encoding, out.Images, c.Options)
	end()
	if err != nil {
		return nil, err
	}
	if made.Save != nil || c.In.Flag("save_images", false) {
		if err := c.save(files, out); err != nil {
			out.notes = append(out.notes, "images could not be saved: "+err.Error())
			c.Service.Config.Log.Error().Err(err).Msg("images could not be saved")
		}
	}
	info, err := c.info(out)
	if err != nil {
		return nil, err
	}
	images := make([]any, 0, len(files))
	size := len(info) + 4096
	if c.In.Flag("send_images", true) {
		for _, f := range files {
			images = append(images, pyjson.Base64(f))
			size += len(f)*4/3 + 8
		}
	}
	doc := pyjson.NewObject("images", images, "parameters", c.echo(), "info", info)
	return pyjson.Append(make([]byte, 0, size), doc, pyjson.Compact)
}

// echo is the request as it was understood. Pictures are left out of it unless
// asked for.
func (c *Call) echo() *pyjson.Object {
	if c.Tab != Img2Img || c.In.Flag("include_init_images", false) {
		return c.In.Object
	}
	echo := c.In.Clone()
	echo.Set("init_images", nil)
	echo.Set("mask", nil)
	return echo
}

// collect puts pictures and texts into the order of the reply.
func (c *Call) collect(made *Outcome) *Output {
	out := &Output{
		outcome: made, started: c.arrived, notes: []string{},
		Prompts: []string{}, Negatives: []string{}, Seeds: []int64{}, Subseeds: []int64{}, Infotexts: []string{},
		extra: pyjson.NewObject(),
	}
	out.note(c.Notes...)
	for i, r := range made.Runs {
		if i == 0 {
			out.started = out.started.Add(time.Duration(r.Result.Timings.Queue * float64(time.Second)))
		}
		out.note(r.Call.Notes...)
		out.add(r)
	}
	if c.faces {
		out.note("faces were not restored: there is no model for it")
	}
	if made.Arrange != nil {
		made.Arrange(out)
	} else {
		c.addGrid(out)
	}
	for _, r := range made.Runs {
		for _, m := range r.Result.Maps {
			out.Images = append(out.Images, picture.Transparent(m))
		}
	}
	return out
}

// note adds sentences that are not among the notes yet.
func (out *Output) note(list ...string) {
	for _, text := range list {
		if !slices.Contains(out.notes, text) {
			out.notes = append(out.notes, text)
		}
	}
}

// add appends the pictures of one run with their texts.
func (out *Output) add(r Run) {
	params := r.Call.Params(r.Result)
	out.note(r.Result.Comments...)
	if params.TokenMergingRatio != 0 || params.Hires != nil && params.TokenMergingRatioHR != 0 {
		out.note("tokens are not merged: token_merging_ratio does nothing")
	}
	if out.extra.Len() == 0 {
		out.extra = extraParams(params)
	}
	for _, m := range r.Result.Images {
		params.Seed, params.VariationSeed = m.Seed, m.Subseed
		text := infotext.Write(params)
		out.Prompts, out.Negatives = append(out.Prompts, params.Request.Prompt), append(out.Negatives, params.Request.NegativePrompt)
		out.Seeds, out.Subseeds = append(out.Seeds, m.Seed), append(out.Subseeds, m.Subseed)
		out.Infotexts = append(out.Infotexts, text)
		out.Images = append(out.Images, picture.Encodable{Pixels: m.Pixels, Text: text})
	}
}

// wantsGrid tells whether several pictures get a grid, as A1111 does on save_images with
// option return_grid. Here only a request that sets return_grid itself gets one, because
// clients take images[0] for the picture.
func (c *Call) wantsGrid() bool {
	asked, _ := c.In.Dict("override_settings").Get("return_grid")
	return asked == true && c.In.Flag("save_images", false)
}

// addGrid puts a grid of the pictures before them where it is wanted.
func (c *Call) addGrid(out *Output) {
	if !c.wantsGrid() || len(out.Images) < 2 && c.Options.Bool("grid_only_if_multiple") || len(out.Images) == 0 {
		return
	}
	pictures := make([]imageio.RGB, len(out.Images))
	for i, m := range out.Images {
		pictures[i] = m.Pixels
	}
	rows := imageio.GridRows(len(pictures), int(c.Options.Int("n_rows")), c.Req.BatchSize, c.Options.Bool("grid_prevent_empty_spots"))
	text := out.Infotexts[0]
	out.Images = append([]picture.Encodable{{Pixels: imageio.Grid(pictures, rows), Text: text}}, out.Images...)
	out.Infotexts = append([]string{text}, out.Infotexts...)
	out.FirstImage = 1
}

// extraParams is extra_generation_params of info.
func extraParams(p infotext.Params) *pyjson.Object {
	o := pyjson.NewObject()
	for _, e := range p.Extra() {
		o.Set(e.Key, e.Value)
	}
	return o
}

// info is the JSON text in the reply: A1111's keys in its order, then ours.
func (c *Call) info(out *Output) (string, error) {
	c.complete(out)
	if out.outcome.Lead != nil {
		c = out.outcome.Lead
	}
	r, o := c.Req, c.Options
	var denoising, faceModel, vaeName, vaeHash any
	if d := c.In.MaybeNumber("denoising_strength"); d != nil {
		denoising = *d
	}
	if c.faces {
		faceModel = o.Get("face_restoration_model")
	}
	if c.vae != nil {
		vaeName, vaeHash = c.vae.FileName(), c.hashes.vae
	}
	strength, _ := c.In.Get("subseed_strength")
	doc := pyjson.NewObject(
		"prompt", firstOf(out.Prompts, r.Prompt),
		"all_prompts", out.Prompts,
		"negative_prompt", firstOf(out.Negatives, r.NegativePrompt),
		"all_negative_prompts", out.Negatives,
		"seed", r.Seed,
		"all_seeds", out.Seeds,
		"subseed", r.Subseed,
		"all_subseeds", out.Subseeds,
		"subseed_strength", strength,
		"width", c.Width,
		"height", c.Height,
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
		"index_of_first_image", out.FirstImage,
		"infotexts", out.Infotexts,
		"styles", c.styles,
		"job_timestamp", out.started.Format(TimestampLayout),
		"clip_skip", r.Settings.ClipSkip,
		"is_using_inpainting_conditioning", out.outcome.inpainting(),
		"version", c.Service.Config.Version,
		"timings", timingsOf(out.outcome.timings()),
		"notes", out.notes,
	)
	text, err := pyjson.Marshal(doc, pyjson.Dumps)
	return string(text), err
}

// complete lists the images that an interrupt left out, too.
func (c *Call) complete(out *Output) {
	switch {
	case c.Script != nil:
	case c.expansion != nil:
		e := c.expansion
		out.Prompts, out.Negatives, out.Seeds, out.Subseeds = e.Prompts, e.Negatives, e.Seeds, e.Subseeds
	default:
		r := c.Req
		out.Seeds, out.Subseeds = rng.ImageSeeds(r.Seed, r.Subseed, r.SubseedStrength, r.Images())
		out.Prompts, out.Negatives = slices.Repeat([]string{r.Prompt}, r.Images()), slices.Repeat([]string{r.NegativePrompt}, r.Images())
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

// mark gives the pictures of the job their provenance.
func (c *Call) mark(images []picture.Encodable) {
	if c.Service.Config.Provenance != picture.ProvenanceIPTC {
		return
	}
	source := picture.Generated
	if c.Req.Init != nil && c.Req.Init.Mask != nil {
		source = picture.Composite
	}
	for i := range images {
		images[i].Mark(source)
	}
}
