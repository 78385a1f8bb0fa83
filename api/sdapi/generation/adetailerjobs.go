package generation

import (
	"slices"
	"strings"

	"sdworker/api/sdapi/dynamicprompts"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/hint"
)

// This file has what shapes the jobs of ADetailer's units besides their own fields:
// options of the extension, scripts that it passes on, and ControlNet.

// DetailOrders are the values of the option ad_bbox_sortby, in the order of [detect.Order].
var DetailOrders = []string{"None", "Position (left to right)", "Position (center to edge)", "Area (large to small)"}

func (c *Call) detailOrder() detect.Order {
	return detect.Order(max(slices.Index(DetailOrders, c.Options.Text("ad_bbox_sortby")), 0))
}

// detailScript reports whether a script runs in the jobs of units. The option lists
// scripts by their files; files are the names, without ending, of the script's file in
// different extensions.
func (c *Call) detailScript(files ...string) bool {
	if !c.Options.Bool("ad_only_selected_scripts") {
		return true
	}
	for name := range strings.SplitSeq(c.Options.Text("ad_script_names"), ",") {
		if slices.Contains(files, strings.TrimSpace(name)) {
			return true
		}
	}
	return false
}

// detailSettings are the settings of a unit's jobs: those of the options, without the
// request fields and the scripts that the extension does not pass on.
func (c *Call) detailSettings() inference.Settings {
	st := settings(c.Options, &request.Fields{Values: schema.Values{}})
	var g guidance
	for _, s := range []struct {
		files []string
		take  func()
	}{
		{[]string{"CFGRescale"}, func() { g.rescale = c.guidance.rescale }},
		{[]string{"dynamic_thresholding", "forge_dynamic_thresholding"}, func() { g.threshold = c.guidance.threshold }},
		{[]string{"freeu", "forge_freeu"}, func() { g.freeU = c.guidance.freeU }},
		{[]string{"forge_perturbed_attention"}, func() { g.perturbation = c.guidance.perturbation }},
		{[]string{"apg_now_your_cfg"}, func() { g.projection = c.guidance.projection }},
		{[]string{"cfg_zero"}, func() { g.zeroStar = c.guidance.zeroStar }},
	} {
		if c.detailScript(s.files...) {
			s.take()
		}
	}
	g.apply(&st)
	return st
}

// passthrough is the model that stands for the ControlNet units of the surrounding job.
const passthrough = "Passthrough"

// detailModules are the preprocessors that the extension chooses by a part of the model's
// name, in its order.
var detailModules = []struct{ part, module string }{
	{"inpaint", "inpaint_global_harmonious"},
	{"scribble", "t2ia_sketch_pidi"},
	{"lineart", "lineart_coarse"},
	{"openpose", "openpose_full"},
	{"tile", "tile_resample"},
	{"depth", "depth_midas"},
}

// detailControl adds the ControlNet unit of a unit, which sees the picture that is
// repainted.
func (c *Call) detailControl(unit *request.Fields, out *inference.DetailUnit) {
	name := unit.Text("ad_controlnet_model")
	switch name {
	case "None":
		return
	case passthrough:
		out.Control = slices.Clone(c.Req.Control)
		for i := range out.Control {
			out.Control[i].ReturnMap = false
		}
		return
	}
	model, ok := c.Service.Config.Catalog.ControlNet(name)
	if !ok {
		c.Note("ADetailer: ControlNet %s was not found and did nothing", pyjson.Quoted(name))
		return
	}
	wanted := unit.Text("ad_controlnet_module")
	if !named(wanted) {
		wanted = "none"
		for _, m := range detailModules {
			if strings.Contains(name, m.part) {
				wanted = m.module
				break
			}
		}
	}
	module, known := hint.Lookup(wanted)
	if !known {
		c.Note("ADetailer: ControlNet preprocessor %s is not available on this server, ad_controlnet_model %s did nothing", pyjson.Quoted(wanted), pyjson.Quoted(name))
		return
	}
	if module.Name == "inpaint_only" {
		module, _ = hint.Lookup("inpaint") // the job's own mask keeps the rest
	}
	out.Control = []inference.ControlUnit{{
		Model: model.Path, Module: module.Name, OfInit: true, CropToMask: true, PixelPerfect: true, LowRes: true, HighRes: true,
		Weight: unit.Number("ad_controlnet_weight"), Start: unit.Number("ad_controlnet_guidance_start"), End: unit.Number("ad_controlnet_guidance_end"),
		ResizeMode: 1, Resolution: -1, ThresholdA: -1, ThresholdB: -1,
	}}
}

// detailOptionsLeftOut notes options of the extension that do nothing here.
func (c *Call) detailOptionsLeftOut() {
	if len(c.Req.Details) == 0 {
		return
	}
	o := c.Options
	for _, name := range []string{"ad_save_previews", "ad_save_images_before"} {
		if o.Bool(name) {
			c.Note("ADetailer: only finished pictures are saved, the option %s did nothing", name)
		}
	}
	if o.Text("ad_extra_models_dir") != "" {
		c.Note("ADetailer: the option ad_extra_models_dir did nothing; put models into models/adetailer")
	}
	if order := o.Text("ad_bbox_sortby"); !slices.Contains(DetailOrders, order) {
		c.Note("ADetailer: there is no order %s for the option ad_bbox_sortby, which did nothing", pyjson.Quoted(order))
	}
	if o.Text("ad_match_inpaint_bbox_size") == "Strict (SDXL only)" {
		c.Note("ADetailer: the strict sizes of the option ad_match_inpaint_bbox_size are those of SDXL and did nothing; Free works")
	}
}

// detailTemplates reports whether units have prompts that dynamic prompts expand. They do
// nothing together with a script, such as the prompt matrix.
func (c *Call) detailTemplates() bool {
	return c.expansion != nil && len(c.detailsMade) > 0 && c.detailScript("dynamic_prompting") && slices.ContainsFunc(c.detailsMade, func(unit *request.Fields) bool {
		return unit.Text("ad_prompt")+unit.Text("ad_negative_prompt") != ""
	})
}

// detailObjects is the number of objects in a picture for which templates are expanded;
// further objects get the prompt of the last one.
const detailObjects = 32

// Limits of what the templates of all units may become in all pictures of a job. They are
// checked before the job's turn: a template of a few bytes could be expanded half a million
// times.
const (
	maxDetailWork  = 1 << 20  // values, some three for each of 1024 pictures with ten units
	maxDetailBytes = 16 << 20 // of text
)

// detailBound is what remains of these limits. All parts of a job share it.
type detailBound struct{ work, bytes int }

// exceeded reports whether a limit has been reached.
func (b *detailBound) exceeded() bool { return b.work <= 0 || b.bytes < 0 }

// expandDetails gives the units of a part of an expanded job the prompts of its picture,
// and expands their own, by the seed of each object's job.
func (c *Call) expandDetails() {
	c.Req.Details = slices.Clone(c.Req.Details)
	own := c.detailTemplates()
	t := c.template()
	t.Work = &c.detailBound.work
	for k, unit := range c.detailsMade {
		out := &c.Req.Details[k]
		c.detailPrompts(unit, out)
		if own {
			out.Prompts = c.expandObjects(t, out.Prompts, out.SameSeed)
			out.NegativePrompts = c.expandObjects(t, out.NegativePrompts, out.SameSeed)
			for _, text := range out.Prompts {
				c.FindLoRAs(text)
			}
		}
	}
}

// expandObjects expands a prompt for each object of a picture in turn.
func (c *Call) expandObjects(t *dynamicprompts.Template, templates []string, sameSeed bool) []string {
	list := make([]string, max(len(templates), detailObjects))
	for i := range list {
		if c.detailBound.exceeded() {
			return templates
		}
		seed := c.Req.Seed
		if !sameSeed {
			seed += int64(i)
		}
		text := templates[min(i, len(templates)-1)]
		made, err := t.Random(text, []int64{seed})
		if err != nil || len(made) == 0 {
			made = []string{text} // the extension goes on without it
		}
		list[i] = made[0]
		c.detailBound.bytes -= len(made[0])
	}
	for len(list) > len(templates) && list[len(list)-1] == list[len(list)-2] {
		list = list[:len(list)-1] // the last one counts for all beyond
	}
	return list
}
