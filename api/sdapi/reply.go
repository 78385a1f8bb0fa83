package sdapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/sync/errgroup"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/rng"
	"sdworker/internal/span"
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
	c.mark(out.images)
	encoding, end := span.Start(ctx, "encode pictures", attribute.Int("sdworker.images", len(out.images)))
	files, err := encodeAll(encoding, out.images, c.opts)
	end()
	if err != nil {
		return nil, err
	}
	if made.save != nil || c.in.flag("save_images", false) {
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
			out.images = append(out.images, transparent(m))
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

// wantsGrid tells whether several pictures get a grid, as A1111 does on save_images with
// option return_grid. Here only a request that sets return_grid itself gets one, because
// clients take images[0] for the picture.
func (c *call) wantsGrid() bool {
	asked, _ := c.in.object("override_settings").Get("return_grid")
	return asked == true && c.in.flag("save_images", false)
}

// addGrid puts a grid of the pictures before them where it is wanted.
func (c *call) addGrid(out *output) {
	if !c.wantsGrid() || len(out.images) < 2 && c.opts.Bool("grid_only_if_multiple") || len(out.images) == 0 {
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

// encodable is a picture with the text that goes into its file.
type encodable struct {
	pixels imageio.RGB
	alpha  *imageio.Gray // of pixels, which only PNG keeps; nil for an opaque picture
	text   string
	more   []imageio.Text // further texts, which only PNG keeps
	xmp    string         // packet of metadata, "" for none
}

// transparent is a picture with its alpha, if it has one that counts.
func transparent(m imageio.RGBA) encodable {
	out := encodable{pixels: m.DropAlpha()}
	if !m.Opaque() {
		alpha := m.Alpha()
		out.alpha = &alpha
	}
	return out
}

// imageFormats are the values of option samples_format that can be sent.
var imageFormats = []string{"png", "jpg", "jpeg", "webp"}

func formatName(o options.Values) string { return o.Text("samples_format") }

// encodeAll writes pictures as files of the format of the options, several at a
// time, in their order.
func encodeAll(ctx context.Context, images []encodable, o options.Values) ([][]byte, error) {
	files := make([][]byte, len(images))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range images {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !o.Bool("enable_pnginfo") {
				m.text, m.more = "", nil
			}
			var err error
			files[i], err = encode(m, o)
			return err
		})
	}
	return files, group.Wait()
}

// encode writes one picture in the format of the options.
func encode(m encodable, o options.Values) ([]byte, error) {
	return encodeAs(formatName(o), m, o)
}

// encodeAs writes one picture with its infotext inside. A1111's quality counts for
// JPEG and WebP.
func encodeAs(format string, m encodable, o options.Values) ([]byte, error) {
	quality := min(max(int(o.Int("jpeg_quality")), 1), 100)
	switch format {
	case "png":
		texts := m.more
		if m.text != "" {
			texts = append([]imageio.Text{{Key: "parameters", Value: m.text}}, texts...)
		}
		if m.alpha != nil {
			return m.marked(imageio.EncodeAlphaPNG(m.pixels, *m.alpha, texts...))
		}
		return m.marked(imageio.EncodePNG(m.pixels, texts...))
	case "jpg", "jpeg":
		return m.marked(imageio.EncodeJPEG(m.pixels, quality, m.text))
	case "webp":
		return m.marked(imageio.EncodeWebP(m.pixels, quality, o.Bool("webp_lossless"), m.text))
	}
	return nil, refuse(http.StatusInternalServerError, "Invalid image format")
}

// pictures makes files ready for a JSON list.
func pictures(files [][]byte) []any {
	list := make([]any, len(files))
	for i, f := range files {
		list[i] = pyjson.Base64(f)
	}
	return list
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// mediaType is the media type of a value of option samples_format.
func mediaType(format string) string {
	if format == "jpg" {
		format = "jpeg"
	}
	return "image/" + format
}
