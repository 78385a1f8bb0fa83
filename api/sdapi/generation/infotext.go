package generation

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/prompt"
	"sdworker/inference/sampler"
)

// Params are the facts about the pictures of a job for their infotexts, with the
// seeds of the first one. The files of c are hashed by now, as far as they will be.
func (c *Call) Params(res *inference.Result) infotext.Params {
	o, r := c.Options, c.Req
	p := infotext.Params{
		Request:             r,
		Scheduler:           c.scheduler,
		Eta:                 c.In.MaybeNumber("eta"),
		Seed:                r.Seed,
		VariationSeed:       r.Subseed,
		Width:               c.Width,
		Height:              c.Height,
		TokenMergingRatio:   c.tokenMerging(),
		TokenMergingRatioHR: firstNonZero(o.Float("token_merging_ratio_hr"), o.Float("token_merging_ratio")),
		Encoded:             c.encodedTexts(),
		Sampling: infotext.Sampling{
			EtaAncestral: o.Float("eta_ancestral"),
			EtaDDIM:      o.Float("eta_ddim"),
			SChurn:       o.Float("s_churn"),
			STmin:        o.Float("s_tmin"),
			STmax:        o.Float("s_tmax"),
			SNoise:       o.Float("s_noise"),
			OldTimelines: c.oldTimelines(),
			PadConds:     res.PaddedConds && r.Settings.PadCondUncond,
			PadCondsV0:   res.PaddedConds && r.Settings.PadCondUncondV0,
		},
	}
	if o.Bool("add_model_hash_to_info") {
		p.ModelHash = c.checkpoint.ShortHash()
	}
	if o.Bool("add_model_name_to_info") {
		p.Model = cleaned(c.checkpoint.Stem())
	}
	if c.vae != nil {
		if o.Bool("add_vae_hash_to_info") {
			p.VAEHash = c.hashes.vae
		}
		if o.Bool("add_vae_name_to_info") {
			p.VAE = cleaned(c.vae.FileName())
		}
	}
	if c.faces {
		p.FaceRestoration = o.Text("face_restoration_model")
	}
	if res.Refined {
		p.Refiner = c.refiner
		if c.Req.Refiner.BySteps {
			p.RefinerBySteps = true
		}
		if r.Hires != nil {
			if pass := o.Text("hires_fix_refiner_pass"); pass != "second pass" {
				p.HiresRefiner = pass
			}
		}
	}
	if res.Inpainting {
		weight := o.Float("inpainting_mask_weight")
		p.ConditionalMaskWeight = &weight
	}
	if o.Bool("add_version_to_infotext") {
		p.Version = c.Service.Config.Version
	}
	p.Loras, p.Embeddings = c.hashes.loras, c.hashes.embeddings
	c.tabParams(&p)
	return p
}

// tokenMerging is the option in force, which is recorded as A1111 does although
// tokens are never merged here.
func (c *Call) tokenMerging() float64 {
	o := c.Options
	if c.Tab == Txt2Img {
		return o.Float("token_merging_ratio")
	}
	if _, overridden := c.In.Dict("override_settings").Get("token_merging_ratio"); overridden && o.Float("token_merging_ratio") != 0 {
		return o.Float("token_merging_ratio")
	}
	return firstNonZero(o.Float("token_merging_ratio_img2img"), o.Float("token_merging_ratio"))
}

func firstNonZero(values ...float64) float64 {
	for _, v := range values {
		if v != 0 {
			return v
		}
	}
	return 0
}

// tabParams adds what only one of the two routes records.
func (c *Call) tabParams(p *infotext.Params) {
	if c.Req.Hires != nil {
		p.Hires = &infotext.Hires{
			Sampler: c.hires.named, Scheduler: c.hires.scheduler,
			Scale: c.hires.scale, ResizeX: c.hires.resizeX, ResizeY: c.hires.resizeY, Upscaler: c.hires.upscaler,
		}
		if c.hires.checkpoint != nil {
			p.Hires.Checkpoint = c.hires.checkpoint.ShortTitle()
		}
	}
	p.Scripts = slices.Concat(c.LeadTexts, c.softTexts(), c.detailTexts, c.unitTexts(), c.Texts)
	if c.Req.Init != nil {
		p.ImageCFGScale = c.In.MaybeNumber("image_cfg_scale")
	}
}

// cleaned is a file name as infotexts carry it, without the characters that
// would break the list of keys.
func cleaned(name string) string { return strings.NewReplacer(",", " ", ":", " ").Replace(name) }

// encodedTexts are the texts that reach the text encoder: all entries of the
// timetables of the prompts, without extra network tags.
func (c *Call) encodedTexts() []string {
	pass := prompt.Pass{Steps: c.Req.Steps, OldTimes: c.Req.Settings.OldEditingTimelines}
	texts := c.timetables(c.Req.Prompt, c.Req.NegativePrompt, pass)
	if h := c.Req.Hires; h != nil {
		if pass.HiresSteps = h.Steps; h.Steps == 0 {
			pass.HiresSteps = c.Req.Steps
		}
		texts = append(texts, c.timetables(h.Prompt, h.NegativePrompt, pass)...)
	}
	return texts
}

// timetables lists the texts of a pair of prompts.
func (c *Call) timetables(positive, negative string, pass prompt.Pass) []string {
	if p, n, err := c.Req.Divided(positive, negative); err == nil { // else the request is refused
		positive, negative = p, n
	}
	return append(timetable(positive, true, pass), timetable(negative, false, pass)...)
}

// oldTimelines reports whether option use_old_scheduling is on and changes what
// the prompts mean.
func (c *Call) oldTimelines() bool {
	if !c.Req.Settings.OldEditingTimelines {
		return false
	}
	for text, positive := range map[string]bool{c.Req.Prompt: true, c.Req.NegativePrompt: false} {
		pass := prompt.Pass{Steps: c.Req.Steps}
		now := timetable(text, positive, pass)
		pass.OldTimes = true
		if !slices.Equal(now, timetable(text, positive, pass)) {
			return true
		}
	}
	return false
}

// timetable lists the texts of one prompt. Network tags are cut from positive prompts
// only, and only these are divided at AND.
func timetable(text string, positive bool, pass prompt.Pass) []string {
	var list []string
	parts := []prompt.Part{{Text: text}}
	if positive {
		text, _ = prompt.ExtractNetworks(text)
		parts = prompt.SplitAND(text)
	}
	for _, part := range parts {
		for _, e := range prompt.Schedule(part.Text, pass) {
			list = append(list, e.Text)
		}
	}
	return list
}

// unitLabels are what texts call the fields of a unit.
var unitLabels = []struct{ label, field string }{
	{"Module", "module"},
	{"Model", "model"},
	{"Weight", "weight"},
	{"Resize Mode", "resize_mode"},
	{"Processor Res", "processor_res"},
	{"Threshold A", "threshold_a"},
	{"Threshold B", "threshold_b"},
	{"Guidance Start", "guidance_start"},
	{"Guidance End", "guidance_end"},
	{"Pixel Perfect", "pixel_perfect"},
	{"Control Mode", "control_mode"},
}

// unitTexts are what ControlNet adds, one entry for each unit.
func (c *Call) unitTexts() []infotext.Entry {
	var out []infotext.Entry
	for i, unit := range c.units {
		var parts []string
		for _, key := range unitLabels {
			v, _ := unit.Get(key.field)
			parts = append(parts, key.label+": "+infotext.Quote(v))
		}
		out = append(out, infotext.Entry{Key: "ControlNet " + strconv.Itoa(i), Value: strings.Join(parts, ", ")})
	}
	return out
}

// pasteInfotext fills fields that the request leaves open from its infotext
// field, and adds the options of the text to override_settings.
func (c *Call) pasteInfotext() error {
	text := c.In.Text("infotext")
	if text == "" {
		return nil
	}
	parsed := c.Service.infotextReader(c.Options).Parse(text)
	c.pasted = pastedScripts(parsed)
	if args := pastedDetails(parsed); args != nil {
		c.pasted[detailerName] = args
	}
	paste := infotext.Fields.Txt2Img
	if c.Tab == Img2Img {
		paste = infotext.Fields.Img2Img
	}
	found, err := paste(parsed, optionLookup(c.Options))
	if err != nil {
		return exception.Crash("ValueError", "%s", err)
	}
	unknown := unknownNames(parsed, found.Fields)
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if !c.In.Given(name) {
			c.Note("%s", unknown[name])
		}
	}
	for name, value := range found.Fields {
		if _, exists := c.In.Get(name); !exists || c.In.Given(name) || value == nil {
			continue
		}
		if list, ok := value.([]string); ok {
			value = anyList(list)
		}
		c.In.Set(name, value)
	}
	overrides := pyjson.NewObject()
	if sent := c.In.Dict("override_settings"); sent != nil {
		overrides = sent.Clone()
	}
	for _, name := range slices.Sorted(maps.Keys(found.Overrides)) {
		if _, given := overrides.Get(name); !given && options.Exists(name) {
			overrides.Set(name, found.Overrides[name])
		}
	}
	c.In.Set("override_settings", overrides)
	return nil
}

// unknownNames returns notes on a sampler and a schedule that a text names and that do not
// exist here, as texts of other programs do, by the request field that each concerns.
// A1111 takes its first sampler and the sampler's own schedule.
func unknownNames(parsed infotext.Fields, fields map[string]any) map[string]string {
	out := map[string]string{}
	name, _ := parsed["Sampler"].(string)
	plain, _ := fields["sampler_name"].(string)
	if _, err := sampler.Find(name); err != nil && name != "" && plain != "" && !strings.HasPrefix(name, plain) {
		out["sampler_name"] = fmt.Sprintf("the parameters name the sampler %s, which is not here; %s is used", pyjson.Quoted(name), plain)
	}
	schedule, _ := parsed["Schedule type"].(string)
	if _, ok := sampler.FindScheduler(schedule); !ok && schedule != "" {
		out["scheduler"] = fmt.Sprintf("the parameters name the schedule %s, which is not here; the sampler's own is used", pyjson.Quoted(schedule))
	}
	return out
}

func anyList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// infotextReader is the parser, with what it has to know of the options and the model
// files.
func (s *Service) infotextReader(o options.Values) infotext.Reader {
	r := infotext.Reader{
		Skip:          o.Texts("infotext_skip_pasting"),
		HiresIsSize:   o.Bool("use_old_hires_fix_width_height"),
		IgnoreVersion: !o.Bool("auto_backcompat"),
	}
	switch mode := o.Text("infotext_styles"); mode {
	case "Ignore":
	default:
		r.AlwaysStyles = mode == "Apply"
		r.Styles = func(positive, negative string) (names []string, restPositive, restNegative string) {
			names, restPositive, restNegative = prompt.ExtractStyles(s.AllStyles(), positive, negative)
			if mode == "Discard" {
				names = nil
			}
			return names, restPositive, restNegative
		}
	}
	return r
}

// PNGInfo handles POST /sdapi/v1/png-info.
func (s *Service) PNGInfo(r *http.Request) (any, error) {
	in, err := fastapi.ReadModel(r, &schema.PNGInfo)
	if err != nil {
		return nil, err
	}
	o := s.Options.Values()
	image, _ := in.Get("image")
	_, raw, err := s.Reader.One(r.Context(), image, o)
	if err != nil {
		return nil, err
	}
	text, list := infotext.FromFile(raw)
	items := pyjson.NewObject()
	for _, item := range list {
		items.Set(item.Key, item.Value)
	}
	parsed := s.infotextReader(o).Parse(text)
	return pyjson.NewObject("info", text, "items", items, "parameters", map[string]any(parsed)), nil
}

// Interrogate handles POST /sdapi/v1/interrogate. There is no model that
// describes pictures, and A1111 without one answers so, too.
func (s *Service) Interrogate(r *http.Request) (any, error) {
	body, err := fastapi.ReadModel(r, &schema.Interrogate)
	if err != nil {
		return nil, err
	}
	in := request.Fields{Values: body}
	if _, _, err := s.Reader.One(r.Context(), in.Text("image"), s.Options.Values()); err != nil {
		return nil, err
	}
	switch in.Text("model") {
	case "clip":
		return pyjson.NewObject("caption", "<error>"), nil
	case "deepdanbooru":
		return nil, exception.Crash("FileNotFoundError", "there is no deepdanbooru model")
	}
	return nil, exception.Refuse(http.StatusNotFound, "Model not found")
}
