package generation

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

// ArgText is an argument of a script that infotexts tell, and its key there.
type ArgText struct {
	Key string
	Arg int
}

// toldScript is an always-on script whose arguments infotexts tell, in the order of their
// keys. Where the first key is absent the script did not act.
type toldScript struct {
	name   string
	fields []schema.Field
	texts  []ArgText
}

// toldScripts are those with one key for each argument. sd-webui-freeu and Latent Couple
// have keys for several.
var toldScripts = []toldScript{
	{softName, softFields, softKeys()},
	{thresholdName, thresholdFields, []ArgText{
		{"Dynamic thresholding enabled", 0},
		{"Mimic scale", 1},
		{"Separate Feature Channels", 8},
		{"Scaling Startpoint", 9},
		{"Variability Measure", 10},
		{"Interpolate Phi", 11},
		{"Threshold percentile", 2},
		{"Mimic mode", 3},
		{"Mimic scale minimum", 4},
		{"CFG mode", 5},
		{"CFG scale minimum", 6},
		{"Scheduler value", 7},
	}},
	{freeUName, freeUFields, inOrder("freeu_enabled", "freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2", "freeu_start", "freeu_end", "freeu_version")},
	{perturbedName, perturbedFields, inOrder("pagi_enabled", "pagi_scale", "pagi_attenuation", "pagi_start_step", "pagi_end_step")},
	{projectedName, projectedFields, inOrder("apgisyourcfg_enabled", "apgisyourcfg_momentum", "apgisyourcfg_adaptive_momentum", "apgisyourcfg_norm_thr", "apgisyourcfg_eta", "apgisyourcfg_guidance_limiter", "apgisyourcfg_guidance_sigma_start", "apgisyourcfg_guidance_sigma_end")},
	{zeroStarName, zeroStarFields, inOrder("CFG-Zero star")},
	{prompterName, prompterFields, []ArgText{
		{"RP Active", 0},
		{"RP Divide mode", 2},
		{"RP Matrix submode", 3},
		{"RP Mask submode", 4},
		{"RP Prompt submode", 5},
		{"RP Calc Mode", 11},
		{"RP Ratios", 6},
		{"RP Base Ratios", 7},
		{"RP Use Base", 8},
		{"RP Use Common", 9},
		{"RP Use Ncommon", 10},
		{"RP Options", 12},
		{"RP LoRA Neg Te Ratios", 13},
		{"RP LoRA Neg U Ratios", 14},
		{"RP threshold", 15},
		{"RP LoRA Stop Step", 17},
		{"RP LoRA Hires Stop Step", 18},
		{"RP Flip", 19},
	}},
}

// inOrder are the keys of a script's first arguments.
func inOrder(keys ...string) []ArgText {
	list := make([]ArgText, len(keys))
	for i, key := range keys {
		list[i] = ArgText{key, i}
	}
	return list
}

// softKeys are those of soft inpainting.
func softKeys() []ArgText {
	var keys []string
	for _, a := range softArgs {
		keys = append(keys, a.key)
	}
	return inOrder(keys...)
}

// argTextsOf are the entries of a script with these arguments, but for some of them.
func argTextsOf(name string, args []any, except ...int) []infotext.Entry {
	i := slices.IndexFunc(toldScripts, func(s toldScript) bool { return s.name == name })
	var out []infotext.Entry
	for _, t := range toldScripts[i].texts {
		if !slices.Contains(except, t.Arg) {
			out = append(out, infotext.Entry{Key: t.Key, Value: args[t.Arg]})
		}
	}
	return out
}

// tellArgs adds the arguments of a script to the infotext, but for some of them.
func (c *Call) tellArgs(name string, args []any, except ...int) {
	c.Texts = append(c.Texts, argTextsOf(name, args, except...)...)
}

// read are the arguments that a text tells, the others at their defaults; nil for none. A
// value that is of another type counts as not told.
func (s toldScript) read(parsed infotext.Fields) []any {
	if _, ok := parsed[s.texts[0].Key]; !ok {
		return nil
	}
	args := make([]any, len(s.fields))
	for i, f := range s.fields {
		args[i] = f.Default
	}
	for _, t := range s.texts {
		if v, ok := told(parsed, t.Key, s.fields[t.Arg]); ok {
			args[t.Arg] = v
		}
	}
	return args
}

// told is the value of a key as a field has it. A whole number stays one, or a text of the
// same arguments would be another.
func told(parsed infotext.Fields, key string, f schema.Field) (any, bool) {
	v, ok := parsed[key]
	if !ok {
		return nil, false
	}
	if text, ok := v.(string); ok && f.Kind == schema.Number {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, true
		}
	}
	read, errs := f.Coerce(v)
	return read, len(errs) == 0
}

// pastedScripts are the arguments of the always-on scripts but for ADetailer and ControlNet
// that a text tells, by the names of the scripts. A script is left out where the text does not say that it acted.
func pastedScripts(parsed infotext.Fields) map[string][]any {
	all := map[string][]any{}
	for _, s := range toldScripts {
		if args := s.read(parsed); args != nil {
			all[s.name] = args
		}
	}
	if args := all[prompterName]; args != nil {
		args[12] = anyList(prompterOptionList(args[12]))
	}
	if state := pastedFreeU(parsed); state != nil {
		all[stagedFreeUName] = []any{state}
	}
	if args := pastedCouple(parsed); args != nil {
		all[coupleName] = args
	}
	return all
}

// pastedDetails are the arguments of ADetailer that a text tells, nil for none.
func pastedDetails(parsed infotext.Fields) []any {
	units := detailsOf(parsed)
	if len(units) == 0 {
		return nil
	}
	args := []any{true, false}
	for _, unit := range units {
		o := pyjson.NewObject()
		for key, v := range unit {
			o.Set(key, v)
		}
		args = append(args, o)
	}
	return args
}

// pastedFreeU is the object that sd-webui-freeu takes, nil where a text does not tell it.
func pastedFreeU(parsed infotext.Fields) *pyjson.Object {
	text, _ := parsed["FreeU Stages"].(string)
	stages, err := pyjson.Decode([]byte(text))
	if err != nil {
		return nil
	}
	state := pyjson.NewObject("enable", true, "stage_infos", stages)
	if version, ok := parsed["FreeU Version"]; ok {
		state.Set("version", version)
	}
	schedule, _ := parsed["FreeU Schedule"].(string)
	parts := strings.Split(schedule, ", ")
	for i, key := range freeUTimes[:min(len(freeUTimes), len(parts))] {
		if v, err := pyjson.Decode([]byte(parts[i])); err == nil {
			state.Set(key, v)
		}
	}
	return state
}

// freeUTimes are the keys of the times that "FreeU Schedule" lists.
var freeUTimes = freeUState[1:4]

// freeUList are the arguments of sd-webui-freeu's page for an object of pastedFreeU. A
// time in calls becomes a part of the steps, as it does there. It is nil for an object
// that cannot be used.
func freeUList(state *pyjson.Object, steps int64) []any {
	infos, _ := state.Get("stage_infos")
	stages, err := freeUStageValues(infos)
	if err != nil {
		return nil
	}
	args := []any{true}
	for i, key := range freeUTimes {
		v, ok := state.Get(key)
		if !ok {
			v = []any{0.0, 1.0, 0.0}[i]
		}
		if n, counts := v.(int64); counts && i < 2 {
			v = partOf(n, steps)
		}
		args = append(args, v)
	}
	version := "Version 1"
	if v, _ := state.Get("version"); v == "2" {
		version = "Version 2"
	}
	args = append(args, version)
	for _, values := range stages {
		args = append(args, values...)
	}
	return args
}

// partOf is n of so many steps as a part that is n steps when cut to whole ones.
func partOf(n, steps int64) float64 {
	part := float64(n) / float64(max(steps, 1))
	if math.Trunc(part*float64(steps)) < float64(n) {
		part = math.Nextafter(part, math.Inf(1))
	}
	return part
}

// coupleText is what readCouple writes. The extension reads it by key, too, but not with
// blanks in its values.
var coupleText = regexp.MustCompile(`^(?:divisions=(.*) positions=(.*)|masks=\d+) weights=(.*) end at step=(-?\d+)$`)

// pastedCouple are the arguments of Latent Couple, nil where a text does not tell them.
// Without divisions they were masks, which no text holds.
func pastedCouple(parsed infotext.Fields) []any {
	text, _ := parsed["Latent Couple"].(string)
	m := coupleText.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	steps, err := strconv.ParseInt(m[4], 10, 64)
	if err != nil {
		return nil
	}
	return []any{true, m[1], m[2], m[3], steps}
}

// withoutMasks are the names of scripts that acted with masks, which no text holds. Latent
// Couple has nothing without them.
func withoutMasks(all map[string][]any) (names []string) {
	if args := all[prompterName]; args != nil && args[2] == "Mask" {
		names = append(names, prompterName)
	}
	if args := all[coupleName]; args != nil && args[1] == "" {
		names = append(names, coupleName)
		delete(all, coupleName)
	}
	return names
}

// overPasted are the arguments of a script of a request whose infotext has some, too: those
// of the request go first. Where objects are among them they stand for all.
func overPasted(args, pasted []any) []any {
	if len(args) == 0 {
		return pasted
	}
	if slices.ContainsFunc(slices.Concat(args, pasted), isObject) {
		return args
	}
	all := slices.Clone(pasted)
	n := copy(all, args)
	return append(all, args[n:]...)
}

func isObject(v any) bool {
	_, ok := v.(*pyjson.Object)
	return ok
}

// Entries are values with the keys of texts, in the order of these.
func Entries(texts []ArgText, values ...any) []infotext.Entry {
	out := make([]infotext.Entry, len(texts))
	for i, t := range texts {
		out[i] = infotext.Entry{Key: t.Key, Value: values[i]}
	}
	return out
}

// readSelected reads what a text tells of the selected script. The label of an argument
// stands for its place.
func (p *Parameters) readSelected(scripts []*Script, parsed infotext.Fields) {
	for _, s := range scripts {
		given := map[string]any{}
		for _, t := range s.Texts {
			arg := s.Args[t.Arg]
			if v, ok := told(parsed, t.Key, schema.Field{Kind: kindOf(arg.Value)}); ok {
				given[arg.Label] = v
			}
		}
		if len(given) > 0 {
			p.ScriptName, p.Script = s.Name, given
		}
	}
	if parsed["Script"] == "X/Y/Z plot" {
		p.ScriptName, p.Script = "x/y/z plot", map[string]any{}
		for _, letter := range []string{"X", "Y", "Z"} {
			if kind, ok := parsed[letter+" Type"]; ok {
				p.Script[letter+" type"], p.Script[letter+" values"] = kind, parsed[letter+" Values"]
			}
		}
	}
}

// kindOf is the kind of an argument with such a default.
func kindOf(v any) schema.Kind {
	switch v.(type) {
	case int64:
		return schema.Integer
	case float64:
		return schema.Number
	}
	return schema.String
}
