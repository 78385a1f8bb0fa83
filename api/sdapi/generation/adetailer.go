package generation

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/api/sdapi/styles"
	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
)

const detailerName = "adetailer"

// ADetailerVersion is the version of the extension (Bing-su/adetailer) whose rules
// these are.
const ADetailerVersion = "25.3.0"

// aDetailerUnits is the most that the extension's option ad_max_models allows.
const aDetailerUnits = 15

// detailField is a field of a unit with the key that it has in infotexts, and the
// values that are permitted, nil for any.
type detailField struct {
	schema.Field
	key   string
	among []string
}

func share(name string, def float64) schema.Field {
	return schema.Field{Name: name, Kind: schema.Number, Default: def, GE: 0.0, LE: 1.0}
}

func count(name string, def int64) schema.Field {
	return schema.Field{Name: name, Kind: schema.Integer, Default: def, GE: int64(0)}
}

func atLeastOne(name string, def int64) schema.Field {
	return schema.Field{Name: name, Kind: schema.Integer, Default: def, GT: int64(0)}
}

func pixels(name string, def int64) schema.Field {
	return schema.Field{Name: name, Kind: schema.Integer, Default: def}
}

func words(name, def string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String, Default: def}
}

func switched(name string, def bool) schema.Field {
	return schema.Field{Name: name, Kind: schema.Boolean, Default: def}
}

var mergeModes = []string{"None", "Merge", "Merge and Invert"}

// detailFields are the fields of a unit in the order of the extension's schema
// (adetailer/args.py).
var detailFields = []detailField{
	{Field: words("ad_model", "None"), key: "model"},
	{Field: words("ad_model_classes", ""), key: "model classes"},
	{Field: switched("ad_tab_enable", true)},
	{Field: words("ad_prompt", ""), key: "prompt"},
	{Field: words("ad_negative_prompt", ""), key: "negative prompt"},
	{Field: share("ad_confidence", 0.3), key: "confidence"},
	{Field: words("ad_mask_filter_method", "Area"), key: "method to decide top k masks", among: []string{"Area", "Confidence"}},
	{Field: count("ad_mask_k", 0), key: "mask only top k"},
	{Field: share("ad_mask_min_ratio", 0), key: "mask min ratio"},
	{Field: share("ad_mask_max_ratio", 1), key: "mask max ratio"},
	{Field: pixels("ad_dilate_erode", 4), key: "dilate erode"},
	{Field: pixels("ad_x_offset", 0), key: "x offset"},
	{Field: pixels("ad_y_offset", 0), key: "y offset"},
	{Field: words("ad_mask_merge_invert", "None"), key: "mask merge invert", among: mergeModes},
	{Field: count("ad_mask_blur", 4), key: "mask blur"},
	{Field: share("ad_denoising_strength", 0.4), key: "denoising strength"},
	{Field: switched("ad_inpaint_only_masked", true), key: "inpaint only masked"},
	{Field: count("ad_inpaint_only_masked_padding", 32), key: "inpaint padding"},
	{Field: switched("ad_use_inpaint_width_height", false), key: "use inpaint width height"},
	{Field: atLeastOne("ad_inpaint_width", 512), key: "inpaint width"},
	{Field: atLeastOne("ad_inpaint_height", 512), key: "inpaint height"},
	{Field: switched("ad_use_steps", false), key: "use separate steps"},
	{Field: atLeastOne("ad_steps", 28), key: "steps"},
	{Field: switched("ad_use_cfg_scale", false), key: "use separate CFG scale"},
	{Field: schema.Field{Name: "ad_cfg_scale", Kind: schema.Number, Default: 7.0, GE: int64(0)}, key: "CFG scale"},
	{Field: switched("ad_use_checkpoint", false), key: "use separate checkpoint"},
	{Field: schema.Field{Name: "ad_checkpoint", Kind: schema.String, Nullable: true}, key: "checkpoint"},
	{Field: switched("ad_use_vae", false), key: "use separate VAE"},
	{Field: schema.Field{Name: "ad_vae", Kind: schema.String, Nullable: true}, key: "VAE"},
	{Field: switched("ad_use_sampler", false), key: "use separate sampler"},
	{Field: words("ad_sampler", "DPM++ 2M Karras"), key: "sampler"},
	{Field: words("ad_scheduler", "Use same scheduler"), key: "scheduler"},
	{Field: switched("ad_use_noise_multiplier", false), key: "use separate noise multiplier"},
	{Field: schema.Field{Name: "ad_noise_multiplier", Kind: schema.Number, Default: 1.0, GE: 0.5, LE: 1.5}, key: "noise multiplier"},
	{Field: switched("ad_use_clip_skip", false), key: "use separate CLIP skip"},
	{Field: schema.Field{Name: "ad_clip_skip", Kind: schema.Integer, Default: int64(1), GE: int64(1), LE: int64(12)}, key: "CLIP skip"},
	{Field: switched("ad_restore_face", false), key: "restore face"},
	{Field: words("ad_controlnet_model", "None"), key: "ControlNet model"},
	{Field: words("ad_controlnet_module", "None"), key: "ControlNet module"},
	{Field: share("ad_controlnet_weight", 1), key: "ControlNet weight"},
	{Field: share("ad_controlnet_guidance_start", 0), key: "ControlNet guidance start"},
	{Field: share("ad_controlnet_guidance_end", 1), key: "ControlNet guidance end"},
	{Field: schema.Field{Name: "is_api", Kind: schema.Any, Default: true}},
}

// detailTextOrder is the order of infotexts, in which offsets go before the widening.
var detailTextOrder = func() []detailField {
	list := slices.Clone(detailFields)
	at := slices.IndexFunc(list, func(f detailField) bool { return f.Name == "ad_dilate_erode" })
	return slices.Insert(slices.Delete(slices.Clone(list), at, at+1), at+2, list[at])
}()

// detailModel is the same as the model of a body.
var detailModel = func() *schema.Model {
	m := &schema.Model{Name: "ADetailerArgs"}
	for _, f := range detailFields {
		m.Fields = append(m.Fields, f.Field)
	}
	return m
}()

// readDetailUnit reads a unit as pydantic does; unlike a request it may have no other
// keys.
func readDetailUnit(sent *pyjson.Object) (*request.Fields, error) {
	for name := range sent.All() {
		if !slices.ContainsFunc(detailFields, func(f detailField) bool { return f.Name == name }) {
			return nil, fmt.Errorf("%s: extra fields not permitted", name)
		}
	}
	values, err := detailModel.Read(sent)
	if list, ok := errors.AsType[schema.Errors](err); ok {
		loc := list[0].Loc
		return nil, fmt.Errorf("%v: %s", loc[len(loc)-1], list[0].Msg)
	}
	unit := &request.Fields{Values: values}
	for _, f := range detailFields {
		if text := unit.Text(f.Name); f.among != nil && !slices.Contains(f.among, text) {
			return nil, fmt.Errorf("%s: unexpected value; permitted: '%s'", f.Name, strings.Join(f.among, "', '"))
		}
	}
	return unit, nil
}

// readADetailer reads the args of the extension: whether it is on, whether img2img is
// left out, and a dictionary for each unit; the two switches may be absent.
func (c *Call) readADetailer(args []any) {
	const switches = 2
	if most := min(max(int(c.Options.Int("ad_max_models")), 1), aDetailerUnits); len(args) > switches+most {
		c.Note("ADetailer takes %d units (option ad_max_models), the arguments behind them did nothing", most)
		args = args[:switches+most]
	}
	if len(args) == 0 || args[0] == false {
		return
	}
	c.detailsOnly = len(args) > 1 && args[1] == true
	number := 0
	for _, arg := range args {
		sent, ok := arg.(*pyjson.Object)
		if !ok {
			continue
		}
		number++
		unit, err := readDetailUnit(sent)
		if err != nil {
			c.Note("unit %d of ADetailer is not valid and did nothing: %s", number, err)
			continue
		}
		c.detailUnits = append(c.detailUnits, unit)
	}
	if number == 0 && args[0] == true {
		c.Note("ADetailer is on without a unit and did nothing")
	}
	if !slices.ContainsFunc(c.detailUnits, detailUnitOn) {
		c.detailUnits, c.detailsOnly = nil, false
	}
}

// detailUnitOn reports whether a unit is switched on and names a model.
func detailUnitOn(unit *request.Fields) bool {
	return unit.Text("ad_model") != "None" && unit.Flag("ad_tab_enable", true)
}

// buildDetails adds the units of ADetailer.
func (c *Call) buildDetails() error {
	c.detailsMade = nil
	if len(c.detailUnits) == 0 {
		return nil
	}
	if m := c.inpaintMask(); m.Pix != nil || c.masksTiles() {
		switch {
		case !c.masksTiles() && detect.Empty(m):
			c.Note("ADetailer did nothing: the mask of the request is black")
			return nil
		case c.detailsOnly:
			c.Note("ADetailer did nothing: it cannot leave img2img out where that has a mask")
			return nil
		}
	}
	for _, unit := range c.detailUnits {
		if !detailUnitOn(unit) {
			continue
		}
		built, err := c.detailUnit(unit)
		if err != nil {
			return err
		}
		if built != nil {
			c.Req.Details = append(c.Req.Details, *built)
			c.detailsMade = append(c.detailsMade, unit)
		}
	}
	c.detailOptionsLeftOut()
	c.writeDetails()
	if c.detailsOnly && c.Req.Init != nil {
		c.leaveOutImg2Img()
	}
	return nil
}

// inpaintMask is the mask of the request, white where it repaints; without pixels
// there is none.
func (c *Call) inpaintMask() (none imageio.Gray) {
	if c.Req.Init == nil || c.Req.Init.Mask == nil {
		return none
	}
	if m := c.Req.Init.Mask; m.Invert {
		return m.Image.Invert()
	}
	return c.Req.Init.Mask.Image
}

// leaveOutImg2Img lets the units work on the init image itself. The extension then runs
// img2img for one small step and throws its picture away, but infotexts still record what
// was asked for.
func (c *Call) leaveOutImg2Img() {
	const side = 128
	c.Req.DetailsOnly = true
	c.Req.Steps, c.Req.Sampler = 1, "Euler"
	c.Req.Width, c.Req.Height, c.Width, c.Height = side, side, side, side
	c.Req.Init.Width, c.Req.Init.Height = 0, 0
}

// KeepMasked is the value of inpainting_fill that begins with the picture as it is.
const KeepMasked = 1

// detailUnit builds one unit. If its model is missing, it notes so and returns nil. Fields
// that the unit does not set keep the values of the surrounding job.
func (c *Call) detailUnit(unit *request.Fields) (*inference.DetailUnit, error) {
	name := unit.Text("ad_model")
	model, ok := c.Service.Config.Catalog.Detector(name)
	switch {
	case strings.HasPrefix(strings.ToLower(name), "mediapipe"):
		c.Note("ADetailer model %s needs MediaPipe, which this server does not have, and did nothing; YOLOv8 models such as face_yolov8n.pt work", pyjson.Quoted(name))
		return nil, nil
	case !ok:
		c.Note("ADetailer model %s was not found and did nothing: put its file into the folder models/adetailer, where face_yolov8n.pt and others of Bingsu/adetailer go; there are %s",
			pyjson.Quoted(name), listed(c.Service.detectorNames()))
		return nil, nil
	}
	r := c.Req
	out := &inference.DetailUnit{
		Model:      model.Path,
		Confidence: unit.Number("ad_confidence"),
		Selection: detect.Selection{
			MinRatio: unit.Number("ad_mask_min_ratio"), MaxRatio: unit.Number("ad_mask_max_ratio"),
			Top: unit.Whole("ad_mask_k"), ByConfidence: unit.Text("ad_mask_filter_method") == "Confidence",
			OffsetX: unit.Whole("ad_x_offset"), OffsetY: unit.Whole("ad_y_offset"), Grow: unit.Whole("ad_dilate_erode"),
			Merge: detect.Merge(slices.Index(mergeModes, unit.Text("ad_mask_merge_invert"))), Order: c.detailOrder(),
		},
		Checkpoint: r.Files.Checkpoint, VAE: r.Files.VAE,
		Sampler: r.Sampler, Scheduler: r.Scheduler, Steps: r.Steps, CFGScale: r.CFGScale,
		Width: c.Width, Height: c.Height, OwnSize: unit.Flag("ad_use_inpaint_width_height", false), Settings: c.detailSettings(),
		SameSeed: c.Options.Bool("ad_same_seed_for_each_tab"), DenoisePower: c.Options.Float("ad_dynamic_denoise_power"), MatchBoxes: c.Options.Text("ad_match_inpaint_bbox_size") == "Free",
		DenoisingStrength: unit.Number("ad_denoising_strength"), NoiseMultiplier: c.Options.Float("initial_noise_multiplier"),
		Mask: inference.Mask{
			BlurX: unit.Whole("ad_mask_blur"), BlurY: unit.Whole("ad_mask_blur"), Fill: KeepMasked,
			OnlyMasked: unit.Flag("ad_inpaint_only_masked", true), Padding: unit.Whole("ad_inpaint_only_masked_padding"),
			Round: c.Soft == nil, Soft: c.Soft,
		},
	}
	c.detailPrompts(unit, out)
	c.detailSampling(unit, out)
	c.detailFiles(unit, out)
	c.detailControl(unit, out)
	c.detailLeftOut(unit)
	return out, unit.Err
}

// between splits the prompts of a unit's objects.
var between = regexp.MustCompile(`\s*\[SEP\]\s*`)

// detailPrompts completes the prompts: an empty one is the job's, and [PROMPT] stands
// for it. Styles are merged once more, as the extension's jobs have them, too.
func (c *Call) detailPrompts(unit *request.Fields, out *inference.DetailUnit) {
	complete := func(text, outer string) []string {
		list := between.Split(text, -1)
		for i, t := range list {
			if t == "" {
				t = outer
			}
			list[i] = strings.ReplaceAll(t, "[PROMPT]", outer)
		}
		return list
	}
	out.Prompts = complete(unit.Text("ad_prompt"), c.Req.Prompt)
	out.NegativePrompts = complete(unit.Text("ad_negative_prompt"), c.Req.NegativePrompt)
	for i, text := range out.Prompts {
		if len(c.styles) > 0 && strings.TrimSpace(text) != "[SKIP]" {
			out.Prompts[i], _ = styles.Apply(c.Service.AllStyles(), c.styles, text, "")
		}
		if strings.TrimSpace(text) != "[SKIP]" {
			out.Prompts[i] = c.withNetworks(out.Prompts[i])
		}
		c.FindLoRAs(out.Prompts[i])
	}
	for i, text := range out.NegativePrompts {
		if len(c.styles) > 0 {
			_, out.NegativePrompts[i] = styles.Apply(c.Service.AllStyles(), c.styles, "", text)
		}
	}
}

func (c *Call) detailSampling(unit *request.Fields, out *inference.DetailUnit) {
	if unit.Flag("ad_use_steps", false) {
		out.Steps = unit.Whole("ad_steps")
	}
	if unit.Flag("ad_use_cfg_scale", false) {
		out.CFGScale = unit.Number("ad_cfg_scale")
	}
	if unit.Flag("ad_use_inpaint_width_height", false) {
		out.Width, out.Height = unit.Whole("ad_inpaint_width"), unit.Whole("ad_inpaint_height")
	}
	if unit.Flag("ad_use_noise_multiplier", false) {
		out.NoiseMultiplier = unit.Number("ad_noise_multiplier")
	}
	if unit.Flag("ad_use_clip_skip", false) {
		out.Settings.ClipSkip = unit.Whole("ad_clip_skip")
	}
	if !unit.Flag("ad_use_sampler", false) {
		return
	}
	if name := unit.Text("ad_scheduler"); name != "Use same scheduler" {
		out.Scheduler = name
	}
	if name := unit.Text("ad_sampler"); name != "Use same sampler" {
		plain, scheduler := sampler.ParseLegacy(name)
		switch out.Sampler = plain; {
		case !strings.HasPrefix(name, plain):
			c.Note("ADetailer: there is no sampler %s; %s is used", pyjson.Quoted(name), plain)
		case name != plain: // a scheduler in the name goes before the field
			out.Scheduler = scheduler
		}
	}
}

// detailFiles chooses checkpoint and VAE of a unit.
func (c *Call) detailFiles(unit *request.Fields, out *inference.DetailUnit) {
	known := c.Service.Config.Catalog
	checkpoint, vae := c.checkpoint, c.Options.Text("sd_vae")
	if name := unit.Text("ad_checkpoint"); unit.Flag("ad_use_checkpoint", false) && !slices.Contains([]string{"", "None", "Use same checkpoint"}, name) {
		if found, ok := c.Service.checkpoint(name); ok {
			checkpoint = found
		} else {
			c.Note("ADetailer: checkpoint %s was not found and is ignored", pyjson.Quoted(name))
		}
	}
	if name := unit.Text("ad_vae"); unit.Flag("ad_use_vae", false) && !slices.Contains([]string{"", "None", "Use same VAE"}, name) {
		vae = name
	}
	if out.Checkpoint = checkpoint.Path; checkpoint.Path == c.checkpoint.Path && vae == c.Options.Text("sd_vae") {
		return
	}
	out.VAE = ""
	if found, explicit := known.VAEFor(checkpoint, vae); explicit {
		out.VAE = found.Path
	} else if !slices.Contains([]string{"", "auto", "Automatic", "None"}, vae) {
		c.Note("ADetailer: %s", vaeNotFound(vae))
	}
}

// detailLeftOut notes the fields of a unit that have no effect here.
func (c *Call) detailLeftOut(unit *request.Fields) {
	if unit.Flag("ad_restore_face", false) {
		c.Note("ADetailer: faces are not restored on this server, ad_restore_face did nothing")
	}
	if unit.Text("ad_model_classes") != "" && strings.Contains(unit.Text("ad_model"), "-world") {
		c.Note("ADetailer: YOLO-World models are not available on this server, ad_model_classes did nothing")
	}
}

// writeDetails records the units in the infotext as the extension does.
func (c *Call) writeDetails() {
	c.detailTexts = nil
	for i, unit := range c.detailUnits {
		if !detailUnitOn(unit) {
			continue
		}
		suffix := ""
		if i > 0 {
			suffix = " " + ordinal(i+1)
		}
		for _, f := range detailTextOrder {
			if v, _ := unit.Get(f.Name); detailRecorded(unit, f) {
				c.detailTexts = append(c.detailTexts, infotext.Entry{Key: "ADetailer " + f.key + suffix, Value: v})
			}
		}
	}
	c.detailTexts = append(c.detailTexts, infotext.Entry{Key: "ADetailer version", Value: ADetailerVersion})
}

// detailSwitches are the fields that are recorded only where a switch is on, or
// something else is not at its default.
var detailSwitches = map[string]string{
	"ad_mask_filter_method": "ad_mask_k", "ad_inpaint_only_masked_padding": "ad_inpaint_only_masked",
	"ad_inpaint_width": "ad_use_inpaint_width_height", "ad_inpaint_height": "ad_use_inpaint_width_height",
	"ad_steps": "ad_use_steps", "ad_cfg_scale": "ad_use_cfg_scale", "ad_checkpoint": "ad_use_checkpoint", "ad_vae": "ad_use_vae",
	"ad_sampler": "ad_use_sampler", "ad_scheduler": "ad_use_sampler", "ad_noise_multiplier": "ad_use_noise_multiplier", "ad_clip_skip": "ad_use_clip_skip",
	"ad_controlnet_module": "ad_controlnet_model", "ad_controlnet_weight": "ad_controlnet_model",
	"ad_controlnet_guidance_start": "ad_controlnet_model", "ad_controlnet_guidance_end": "ad_controlnet_model",
}

// detailAlways are the fields that are recorded whatever their value is, unless a
// switch is off.
var detailAlways = []string{
	"ad_model", "ad_confidence", "ad_mask_filter_method", "ad_dilate_erode", "ad_mask_blur", "ad_denoising_strength", "ad_inpaint_only_masked",
	"ad_inpaint_only_masked_padding", "ad_inpaint_width", "ad_inpaint_height", "ad_steps", "ad_cfg_scale", "ad_checkpoint", "ad_vae", "ad_sampler",
	"ad_noise_multiplier", "ad_clip_skip",
}

// detailRecorded tells whether a field of a unit stands in the infotext.
func detailRecorded(unit *request.Fields, f detailField) bool {
	if by, ok := detailSwitches[f.Name]; ok {
		if v, _ := unit.Get(by); v == false || v == int64(0) || v == "None" {
			return false
		}
	}
	v, _ := unit.Get(f.Name)
	return f.key != "" && v != nil && (v != f.Default || slices.Contains(detailAlways, f.Name))
}

// ordinal is 1st, 2nd, 3rd and so on.
func ordinal(n int) string {
	ending := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			ending = "st"
		case 2:
			ending = "nd"
		case 3:
			ending = "rd"
		}
	}
	return fmt.Sprint(n) + ending
}

// listed joins names for a sentence.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// detectorNames lists the models that work.
func (s *Service) detectorNames() []string {
	names := []string{}
	for _, f := range s.Config.Catalog.Usable(s.Config.Catalog.Detectors()) {
		names = append(names, f.FileName())
	}
	return names
}

// ListDetectors handles GET /adetailer/v1/ad_model.
func (s *Service) ListDetectors(*http.Request) (any, error) {
	if err := s.Config.Catalog.RefreshIfChanged(); err != nil {
		s.Config.Log.Warn().Err(err).Msg("some model folders cannot be read")
	}
	return pyjson.NewObject("ad_model", s.detectorNames()), nil
}

// DetailSchema is what GET /adetailer/v1/schema answers: the JSON schema of a unit as
// pydantic writes it.
func DetailSchema() *pyjson.Object {
	types := map[schema.Kind]string{schema.Integer: "integer", schema.Number: "number", schema.String: "string", schema.Boolean: "boolean", schema.Any: "boolean"}
	properties := pyjson.NewObject()
	for _, f := range detailFields {
		title := strings.Split(f.Name, "_")
		for i, word := range title {
			title[i] = strings.ToUpper(word[:1]) + word[1:]
		}
		p := pyjson.NewObject("title", strings.Join(title, " "))
		for _, part := range []struct {
			name  string
			value any
		}{{"default", f.Default}, {"exclusiveMinimum", f.GT}, {"minimum", f.GE}, {"maximum", f.LE}} {
			if part.value != nil {
				p.Set(part.name, part.value)
			}
		}
		if f.among != nil {
			p.Set("enum", f.among)
		}
		p.Set("type", types[f.Kind])
		properties.Set(f.Name, p)
	}
	return pyjson.NewObject("title", detailModel.Name, "type", "object", "properties", properties, "additionalProperties", false)
}
