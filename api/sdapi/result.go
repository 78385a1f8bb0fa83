package sdapi

import (
	"context"
	"slices"
	"time"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference/imageio"
)

// output is what a job made, on its way into a reply.
type output struct {
	outcome    *outcome
	started    time.Time
	images     []encodable // in the order of the reply
	prompts    []string    // of the pictures, and of grids that scripts count among them
	negatives  []string
	seeds      []int64
	subseeds   []int64
	infotexts  []string
	firstImage int // index of the first picture that is no grid
	extra      *pyjson.Object
	notes      []string
}

// reply makes the body of a generation reply. The engine is free meanwhile.
func (c *call) reply(ctx context.Context, made *outcome) ([]byte, error) {
	out := c.collect(made)
	files, err := encodeAll(ctx, out.images, c.opts)
	if err != nil {
		return nil, err
	}
	if c.in.flag("save_images", false) {
		if err := c.save(files, out); err != nil {
			out.notes = append(out.notes, "images could not be saved: "+err.Error())
			c.server.cfg.Log.Error().Err(err).Msg("images could not be saved")
		}
	}
	info, err := c.info(out)
	if err != nil {
		return nil, err
	}
	images := make([]any, 0, len(files))
	size := len(info) + 4096
	if c.in.flag("send_images", true) {
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
func (c *call) echo() *pyjson.Object {
	if c.tab != img2img || c.in.flag("include_init_images", false) {
		return c.in.Object
	}
	echo := c.in.Clone()
	echo.Set("init_images", nil)
	echo.Set("mask", nil)
	return echo
}

// collect puts pictures and texts into the order of the reply.
func (c *call) collect(made *outcome) *output {
	out := &output{
		outcome: made, started: c.arrived, notes: []string{},
		prompts: []string{}, negatives: []string{}, seeds: []int64{}, subseeds: []int64{}, infotexts: []string{},
		extra: pyjson.NewObject(),
	}
	out.note(c.notes...)
	for i, r := range made.runs {
		if i == 0 {
			out.started = out.started.Add(time.Duration(r.result.Timings.Queue * float64(time.Second)))
		}
		out.note(r.call.notes...)
		out.add(r)
	}
	if c.faces {
		out.note("faces were not restored: there is no model for it")
	}
	if made.arrange != nil {
		made.arrange(out)
	} else {
		c.addGrid(out)
	}
	for _, r := range made.runs {
		for _, m := range r.result.Maps {
			out.images = append(out.images, encodable{pixels: m})
		}
	}
	return out
}

// note adds what is not told yet.
func (out *output) note(list ...string) {
	for _, text := range list {
		if !slices.Contains(out.notes, text) {
			out.notes = append(out.notes, text)
		}
	}
}

// add appends the pictures of one run with their texts.
func (out *output) add(r run) {
	params := r.call.params(r.result)
	out.note(r.result.Comments...)
	if params.TokenMergingRatio != 0 || params.Hires != nil && params.TokenMergingRatioHR != 0 {
		out.note("tokens are not merged: token_merging_ratio does nothing")
	}
	if out.extra.Len() == 0 {
		out.extra = extraParams(params)
	}
	for _, m := range r.result.Images {
		params.Seed, params.VariationSeed = m.Seed, m.Subseed
		text := infotext.Write(params)
		out.prompts, out.negatives = append(out.prompts, params.Request.Prompt), append(out.negatives, params.Request.NegativePrompt)
		out.seeds, out.subseeds = append(out.seeds, m.Seed), append(out.subseeds, m.Subseed)
		out.infotexts = append(out.infotexts, text)
		out.images = append(out.images, encodable{pixels: m.Pixels, text: text})
	}
}

// addGrid puts a grid of the pictures before them, as A1111 does on save_images
// with option return_grid. Here only a request that sets return_grid itself gets
// one, because clients take images[0] for the picture.
func (c *call) addGrid(out *output) {
	asked, _ := c.in.object("override_settings").Get("return_grid")
	if asked != true || !c.in.flag("save_images", false) || len(out.images) < 2 && c.opts.Bool("grid_only_if_multiple") || len(out.images) == 0 {
		return
	}
	pictures := make([]imageio.RGB, len(out.images))
	for i, m := range out.images {
		pictures[i] = m.pixels
	}
	rows := imageio.GridRows(len(pictures), int(c.opts.Int("n_rows")), c.req.BatchSize, c.opts.Bool("grid_prevent_empty_spots"))
	text := out.infotexts[0]
	out.images = append([]encodable{{pixels: imageio.Grid(pictures, rows), text: text}}, out.images...)
	out.infotexts = append([]string{text}, out.infotexts...)
	out.firstImage = 1
}

// extraParams is extra_generation_params of info.
func extraParams(p infotext.Params) *pyjson.Object {
	o := pyjson.NewObject()
	for _, e := range p.Extra() {
		o.Set(e.Key, e.Value)
	}
	return o
}
