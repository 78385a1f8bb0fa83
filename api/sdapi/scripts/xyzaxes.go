package scripts

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/models/catalog"
)

// axisKind is the type of an axis' values.
type axisKind int

const (
	axisText axisKind = iota
	axisInt
	axisFloat
	axisOrder // permutations of texts
)

// axis is an entry of the lists "X type", "Y type" and "Z type".
type axis struct {
	label   string
	kind    axisKind
	tab     *generation.Tab // nil for both
	cost    float64         // of going from one value to the next
	plain   bool            // legends show the value without the label
	choices func(*generation.Service) []string
	check   func(*generation.Call, any) error // of one value
	apply   func(c *generation.Call, in *request.Fields, x any, all []any) error
}

// axes are those of v1.9.3 in its order (scripts/xyz_grid.py). Values are int64,
// float64, string or []string by the kind.
var axes = []*axis{
	{label: "Nothing"},
	{label: "Seed", kind: axisInt, apply: axisField("seed")},
	{label: "Var. seed", kind: axisInt, apply: axisField("subseed")},
	{label: "Var. strength", kind: axisFloat, apply: axisField("subseed_strength")},
	{label: "Steps", kind: axisInt, apply: axisField("steps")},
	{label: "Hires steps", kind: axisInt, tab: generation.Txt2Img, apply: axisField("hr_second_pass_steps")},
	{label: "CFG Scale", kind: axisFloat, apply: axisField("cfg_scale")},
	{label: "Image CFG Scale", kind: axisFloat, tab: generation.Img2Img, apply: axisField("image_cfg_scale")},
	{label: "Prompt S/R", plain: true, apply: applyReplace},
	{label: "Prompt order", kind: axisOrder, apply: applyOrder},
	{label: "Sampler", tab: generation.Txt2Img, plain: true, choices: samplerNames, check: checkSampler, apply: applySampler("sampler_name")},
	{label: "Hires sampler", tab: generation.Txt2Img, choices: samplerNames, check: checkSampler, apply: applySampler("hr_sampler_name")},
	{label: "Sampler", tab: generation.Img2Img, plain: true, choices: samplerNames, check: checkSampler, apply: applySampler("sampler_name")},
	{label: "Checkpoint name", cost: 1, choices: checkpointNames, check: checkCheckpoint, apply: applyCheckpoint},
	{label: "Negative Guidance minimum sigma", kind: axisFloat, apply: axisField("s_min_uncond")},
	{label: "Sigma Churn", kind: axisFloat, apply: axisField("s_churn")},
	{label: "Sigma min", kind: axisFloat, apply: axisField("s_tmin")},
	{label: "Sigma max", kind: axisFloat, apply: axisField("s_tmax")},
	{label: "Sigma noise", kind: axisFloat, apply: axisField("s_noise")},
	{label: "Schedule type", choices: schedulerLabels, apply: axisField("scheduler")},
	{label: "Schedule min sigma", kind: axisFloat, apply: axisOption("sigma_min")},
	{label: "Schedule max sigma", kind: axisFloat, apply: axisOption("sigma_max")},
	{label: "Schedule rho", kind: axisFloat, apply: axisOption("rho")},
	{label: "Eta", kind: axisFloat, apply: axisField("eta")},
	{label: "Clip skip", kind: axisInt, apply: axisOption("CLIP_stop_at_last_layers")},
	{label: "Denoising", kind: axisFloat, apply: axisField("denoising_strength")},
	{label: "Initial noise multiplier", kind: axisFloat, apply: axisField("initial_noise_multiplier")},
	{label: "Extra noise", kind: axisFloat, apply: axisOption("img2img_extra_noise")},
	{label: "Hires upscaler", tab: generation.Txt2Img, choices: hiresUpscalers, apply: axisField("hr_upscaler")},
	{label: "Cond. Image Mask Weight", kind: axisFloat, tab: generation.Img2Img, apply: axisOption("inpainting_mask_weight")},
	{label: "VAE", cost: 0.7, choices: vaeNames, apply: applyVAE},
	{label: "Styles", choices: styleNames, apply: applyStyleNames},
	{label: "UniPC Order", kind: axisInt, cost: 0.5, apply: applyUniPCOrder},
	{label: "Face restore", plain: true, apply: applyFaces},
	{label: "Token merging ratio", kind: axisFloat, apply: axisOption("token_merging_ratio")},
	{label: "Token merging ratio high-res", kind: axisFloat, apply: axisOption("token_merging_ratio_hr")},
	{label: "Always discard next-to-last sigma", choices: falseTrue, apply: axisSwitch("always_discard_next_to_last_sigma")},
	{label: "SGM noise multiplier", choices: falseTrue, apply: axisSwitch("sgm_noise_multiplier")},
	{label: "Refiner checkpoint", cost: 1, choices: refinerNames, check: checkRefinerName, apply: axisField("refiner_checkpoint")},
	{label: "Refiner switch at", kind: axisFloat, apply: axisField("refiner_switch_at")},
	{label: "RNG source", choices: func(*generation.Service) []string { return rng.SourceNames() }, apply: axisOption("randn_source")},
	{label: "FP8 mode", cost: 0.9, choices: func(*generation.Service) []string { return []string{"Disable", "Enable for SDXL", "Enable"} }, apply: axisOption("fp8_storage")},
	{label: "Size", apply: applySize},
}

// axesOf are the axes of one tab.
func axesOf(t *generation.Tab) []*axis {
	var list []*axis
	for _, a := range axes {
		if a.tab == nil || a.tab == t {
			list = append(list, a)
		}
	}
	return list
}

func axisField(name string) func(*generation.Call, *request.Fields, any, []any) error {
	return func(_ *generation.Call, in *request.Fields, x any, _ []any) error { in.Set(name, x); return nil }
}

func axisOption(name string) func(*generation.Call, *request.Fields, any, []any) error {
	return func(_ *generation.Call, in *request.Fields, x any, _ []any) error { in.SetOption(name, x); return nil }
}

func axisSwitch(name string) func(*generation.Call, *request.Fields, any, []any) error {
	return func(_ *generation.Call, in *request.Fields, x any, _ []any) error {
		in.SetOption(name, strings.EqualFold(x.(string), "true"))
		return nil
	}
}

// text is the legend of a value.
func (a *axis) text(x any) string {
	switch v := x.(type) {
	case int64:
		return a.label + ": " + strconv.FormatInt(v, 10)
	case float64:
		rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'f', 8, 64), 64)
		return a.label + ": " + pyjson.Repr(rounded)
	case []string:
		return strings.Join(v, ", ")
	case string:
		switch {
		case a.label == "Nothing":
			return ""
		case a.plain:
			return v
		case a.check != nil && a.cost == 1: // a checkpoint without its folder
			return path.Base(v)
		}
		return a.label + ": " + v
	}
	return ""
}

func applyReplace(_ *generation.Call, in *request.Fields, x any, all []any) error {
	from, to := all[0].(string), x.(string)
	prompt, negative := in.Text("prompt"), in.Text("negative_prompt")
	if !strings.Contains(prompt, from) && !strings.Contains(negative, from) {
		return exception.Crash("RuntimeError", "Prompt S/R did not find %s in prompt or negative prompt.", from)
	}
	in.Set("prompt", replaceAll(prompt, from, to))
	in.Set("negative_prompt", replaceAll(negative, from, to))
	return nil
}

// replaceAll is str.replace, which puts the new text between all characters where
// the old one is empty, as strings.ReplaceAll does.
func replaceAll(s, from, to string) string { return strings.ReplaceAll(s, from, to) }

// applyOrder puts the words of x in the places that any of them have in the prompt.
func applyOrder(_ *generation.Call, in *request.Fields, x any, _ []any) error {
	words, rest := x.([]string), in.Text("prompt")
	byPlace := slices.Clone(words)
	slices.SortStableFunc(byPlace, func(a, b string) int { return strings.Index(rest, a) - strings.Index(rest, b) })
	var b strings.Builder
	for i, word := range byPlace {
		at := strings.Index(rest, word)
		if at < 0 {
			return exception.Crash("RuntimeError", "Prompt order did not find %s in the prompt.", word)
		}
		b.WriteString(rest[:at] + words[i])
		rest = rest[at+len(word):]
	}
	in.Set("prompt", b.String()+rest)
	return nil
}

func samplerNames(*generation.Service) []string { return sampler.Names() }

// samplerOf finds a sampler without regard to case.
func samplerOf(name string) (string, bool) {
	for _, info := range sampler.All() {
		if strings.EqualFold(info.Name, name) || slices.ContainsFunc(info.Aliases, func(a string) bool { return strings.EqualFold(a, name) }) {
			return info.Name, true
		}
	}
	return "", false
}

func checkSampler(_ *generation.Call, x any) error {
	if _, ok := samplerOf(x.(string)); !ok {
		return exception.Crash("RuntimeError", "Unknown sampler: %s", x)
	}
	return nil
}

func applySampler(field string) func(*generation.Call, *request.Fields, any, []any) error {
	return func(_ *generation.Call, in *request.Fields, x any, _ []any) error {
		name, _ := samplerOf(x.(string))
		in.Set(field, name)
		return nil
	}
}

func schedulerLabels(*generation.Service) []string { return sampler.SchedulerLabels() }

func checkpointNames(s *generation.Service) []string {
	var names []string
	for _, c := range s.Checkpoints() {
		names = append(names, c.Title())
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return names
}

func refinerNames(s *generation.Service) []string {
	return append([]string{"None"}, checkpointNames(s)...)
}

func checkCheckpoint(c *generation.Call, x any) error {
	if _, ok := closestCheckpoint(c.Service, x.(string)); !ok {
		return exception.Crash("RuntimeError", "Unknown checkpoint: %s", x)
	}
	return nil
}

func checkRefinerName(c *generation.Call, x any) error {
	if slices.Contains([]string{"", "None", "none"}, x.(string)) {
		return nil
	}
	return checkCheckpoint(c, x)
}

// closestCheckpoint finds a checkpoint by any of its names or by a part of one.
func closestCheckpoint(s *generation.Service, name string) (catalog.File, bool) {
	if found, ok := s.Config.Catalog.Checkpoint(name); ok {
		return found, true
	}
	return s.Config.Catalog.ClosestCheckpoint(name)
}

func applyCheckpoint(c *generation.Call, in *request.Fields, x any, _ []any) error {
	found, ok := closestCheckpoint(c.Service, x.(string))
	if !ok {
		return exception.Crash("RuntimeError", "Unknown checkpoint: %s", x)
	}
	in.SetOption("sd_model_checkpoint", found.Title())
	return nil
}

func hiresUpscalers(s *generation.Service) []string {
	return append(slices.Clone(generation.LatentModes), s.UpscalerNames()...)
}

func vaeNames(s *generation.Service) []string {
	names := []string{"Automatic", "None"}
	for _, v := range s.VAEs() {
		names = append(names, v.FileName())
	}
	return names
}

func applyVAE(c *generation.Call, in *request.Fields, x any, _ []any) error {
	name, value := strings.ToLower(strings.TrimSpace(x.(string))), "Automatic"
	switch name {
	case "auto", "automatic":
	case "none":
		value = "None"
	default:
		found := false
		for _, v := range c.Service.VAEs() {
			if strings.ToLower(v.FileName()) == name {
				value, found = v.FileName(), true
				break
			}
		}
		if !found {
			c.Note("VAE %s was not found; Automatic is used", pyjson.Quoted(x.(string)))
		}
	}
	in.SetOption("sd_vae", value)
	return nil
}

func styleNames(s *generation.Service) []string {
	var names []string
	for _, style := range s.AllStyles() {
		names = append(names, style.Name)
	}
	return names
}

func applyStyleNames(_ *generation.Call, in *request.Fields, x any, _ []any) error {
	list := slices.Clone(in.List("styles"))
	for name := range strings.SplitSeq(x.(string), ",") {
		list = append(list, name)
	}
	in.Set("styles", list)
	return nil
}

func applyUniPCOrder(_ *generation.Call, in *request.Fields, x any, _ []any) error {
	in.SetOption("uni_pc_order", float64(min(x.(int64), int64(in.WholeOr("steps", math.MaxInt32))-1)))
	return nil
}

func applyFaces(_ *generation.Call, in *request.Fields, x any, _ []any) error {
	name := strings.ToLower(x.(string))
	on := slices.Contains([]string{"true", "yes", "y", "1"}, name)
	for _, model := range []string{"CodeFormer", "GFPGAN"} {
		if strings.ToLower(model) == name {
			in.SetOption("face_restoration_model", model)
			on = true
		}
	}
	in.Set("restore_faces", on)
	return nil
}

// applySize reads WIDTHxHEIGHT. Any other text leaves the size as it is.
func applySize(c *generation.Call, in *request.Fields, x any, _ []any) error {
	width, height, _ := strings.Cut(x.(string), "x")
	w, err1 := strconv.Atoi(strings.TrimSpace(width))
	h, err2 := strconv.Atoi(strings.TrimSpace(height))
	if err1 != nil || err2 != nil {
		c.Note("%s", fmt.Sprintf("Invalid size in XYZ plot: %s", x))
		return nil //nolint:nilerr // as in A1111, the picture has the size of the request
	}
	in.Set("width", int64(w))
	in.Set("height", int64(h))
	return nil
}

func falseTrue(*generation.Service) []string { return []string{"False", "True"} }
