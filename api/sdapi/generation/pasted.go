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

// ArgText is an argument of a script that infotexts record, and its key there.
type ArgText struct {
	Key string
	Arg int
}

// toldScript is an always-on script whose arguments infotexts record, in the order of
// their keys. If the first key is absent, the script was off.
type toldScript struct {
	name   string
	fields []schema.Field
	texts  []ArgText
}

// toldScripts are those with one key for each argument. sd-webui-freeu and Latent Couple,
// which have keys for several, are read by functions of their own.
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

// inOrder pairs keys with a script's first arguments, one after another.
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

// argTextsOf returns the infotext entries of a script with these arguments, without those
// in except.
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

// tellArgs adds the arguments of a script to the infotext, without those in except.
func (c *Call) tellArgs(name string, args []any, except ...int) {
	c.Texts = append(c.Texts, argTextsOf(name, args, except...)...)
}

// read returns the arguments that a text records, with defaults for the rest, or nil if
// the script was off. A value of another type counts as absent.
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

// told returns the value of a key as the field wants it. A whole number stays whole,
// because infotexts written from it would differ otherwise.
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

// pastedScripts returns the arguments that a text records for always-on scripts other than
// ADetailer and ControlNet, by the names of the scripts. Scripts that were off are left
// out.
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

// pastedDetails returns the arguments of ADetailer that a text records, nil for none.
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

// pastedFreeU returns the object that sd-webui-freeu takes, nil if the text has none.
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

// freeUList converts an object of pastedFreeU into the arguments of sd-webui-freeu's page.
// Times counted in steps become fractions, as in the extension. It returns nil for an
// object that cannot be used.
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

// partOf returns n as a fraction of steps, such that cutting fraction*steps to a whole
// number gives n again.
func partOf(n, steps int64) float64 {
	part := float64(n) / float64(max(steps, 1))
	if math.Trunc(part*float64(steps)) < float64(n) {
		part = math.Nextafter(part, math.Inf(1))
	}
	return part
}

// coupleText matches what readCouple writes. The extension parses this text, too, but not
// if its values contain blanks.
var coupleText = regexp.MustCompile(`^(?:divisions=(.*) positions=(.*)|masks=\d+) weights=(.*) end at step=(-?\d+)$`)

// pastedCouple returns the arguments of Latent Couple, nil if the text has none. Without
// divisions there were masks, which texts do not hold.
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

// withoutMasks returns the names of scripts that used masks, which texts do not hold, and
// removes Latent Couple, which has nothing else.
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

// overPasted merges the arguments of a script in the request with those in the request's
// infotext; those of the request win. If there are objects on either side, only the
// request's count.
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

// Entries pairs values with the keys of texts, in their order.
func Entries(texts []ArgText, values ...any) []infotext.Entry {
	out := make([]infotext.Entry, len(texts))
	for i, t := range texts {
		out[i] = infotext.Entry{Key: t.Key, Value: values[i]}
	}
	return out
}

// readSelected reads the selected script and its arguments, by their labels, from a text.
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

// kindOf is the kind of an argument that has this default.
func kindOf(v any) schema.Kind {
	switch v.(type) {
	case int64:
		return schema.Integer
	case float64:
		return schema.Number
	}
	return schema.String
}
