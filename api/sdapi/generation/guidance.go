package generation

import (
	"math"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/sampler"
)

// Scripts of extensions that change guidance, as their titles stand in the lists.
const (
	rescaleName   = "cfg rescale extension"
	thresholdName = "dynamic thresholding (cfg scale fix)"
	freeUName     = "freeu integrated (sd 1.x, sd 2.x, sdxl)"
	perturbedName = "perturbedattentionguidance integrated"
	projectedName = `"apg's now your cfg" for reforge`
	zeroStarName  = "cfg-zero*" // of no extension
)

// guidanceAliases are the names of these scripts in other versions, and in Forge, which
// has some of them built in.
var guidanceAliases = map[string]string{
	"dynamicthresholding (cfg-fix) integrated": thresholdName,
	"freeu integrated":                         freeUName,
	"perturbed attention guidance integrated":  perturbedName,
	`"apg's now your cfg" for forge`:           projectedName,
}

var rescaleFields = []schema.Field{
	{Name: "CFG Rescale", Kind: schema.Number, Default: 0.0},
	{Name: "DDIM Trailing", Kind: schema.Boolean, Default: false},
}

// thresholdFields are the arguments of sd-dynamic-thresholding in its order.
var thresholdFields = []schema.Field{
	{Name: "Enable Dynamic Thresholding (CFG Scale Fix)", Kind: schema.Boolean, Default: false},
	{Name: "Mimic CFG Scale", Kind: schema.Number, Default: 7.0},
	{Name: "Top percentile of latents to clamp", Kind: schema.Number, Default: 100.0},
	{Name: "Mimic Scale Scheduler", Kind: schema.String, Default: "Constant"},
	{Name: "Minimum value of the Mimic Scale Scheduler", Kind: schema.Number, Default: 0.0},
	{Name: "CFG Scale Scheduler", Kind: schema.String, Default: "Constant"},
	{Name: "Minimum value of the CFG Scale Scheduler", Kind: schema.Number, Default: 0.0},
	{Name: "Scheduler Value", Kind: schema.Number, Default: 4.0},
	{Name: "Separate Feature Channels", Kind: schema.Any, Default: true},
	{Name: "Scaling Startpoint", Kind: schema.String, Default: "MEAN"},
	{Name: "Variability Measure", Kind: schema.String, Default: "AD"},
	{Name: "Interpolate Phi", Kind: schema.Number, Default: 1.0},
}

// What Dynamic Thresholding scales from, and what it measures.
var (
	thresholdStarts   = []string{"MEAN", "ZERO"}
	thresholdMeasures = []string{"AD", "STD"}
)

// perturbedFields are the arguments of Forge's perturbed-attention guidance.
var perturbedFields = []schema.Field{
	{Name: "Enabled", Kind: schema.Boolean, Default: false},
	{Name: "Scale", Kind: schema.Number, Default: 3.0},
	{Name: "Attenuation (linear, % of scale)", Kind: schema.Number, Default: 0.0},
	{Name: "Start step", Kind: schema.Number, Default: 0.0},
	{Name: "End step", Kind: schema.Number, Default: 1.0},
}

// projectedFields are the arguments of "APG's now your CFG".
var projectedFields = []schema.Field{
	{Name: "Enable APG's now your CFG", Kind: schema.Boolean, Default: false},
	{Name: "APG Momentum", Kind: schema.Number, Default: 0.5},
	{Name: "APG Adaptive Momentum", Kind: schema.Number, Default: 0.18},
	{Name: "APG Norm Threshold", Kind: schema.Number, Default: 15.0},
	{Name: "APG Eta", Kind: schema.Number, Default: 1.0},
	{Name: "Enable Guidance Limiter", Kind: schema.Boolean, Default: false},
	{Name: "Guidance Sigma Start", Kind: schema.Number, Default: 5.42},
	{Name: "Guidance Sigma End", Kind: schema.Number, Default: 0.28},
}

var zeroStarFields = []schema.Field{{Name: "Enabled", Kind: schema.Boolean, Default: false}}

// guidance is what the guidance scripts of a request ask for.
type guidance struct {
	rescale      *float64 // nil: the option
	threshold    sampler.Thresholding
	projection   sampler.Projection
	perturbation sampler.Perturbation
	zeroStar     bool
	freeU        inference.TimedFreeU
}

// readGuidance reads the arguments of a script if it is one that changes guidance, and
// reports whether it is.
func (c *Call) readGuidance(name string, args []any) (bool, error) {
	read, ok := map[string]func([]any) error{
		rescaleName: c.readRescale, thresholdName: c.readThreshold, freeUName: c.readFreeU, stagedFreeUName: c.readStagedFreeU,
		perturbedName: c.readPerturbed, projectedName: c.readProjected, zeroStarName: c.readZeroStar,
	}[name]
	if !ok {
		return false, nil
	}
	return true, read(args)
}

// argValues reads the arguments of a script; those that are missing at the end have
// their default.
func argValues(name string, list []schema.Field, args []any) ([]any, error) {
	out := make([]any, len(list))
	for i, f := range list {
		out[i] = f.Default
		if i >= len(args) || args[i] == nil {
			continue
		}
		v, errs := f.Coerce(args[i])
		if len(errs) > 0 {
			return nil, exception.Crash("TypeError", "argument %d of %s: %s", i, name, errs[0].Msg)
		}
		if out[i] = v; f.Kind == schema.Number {
			if n, whole := args[i].(int64); whole { // texts show it as it came
				out[i] = n
			}
		}
	}
	return out, nil
}

// FloatOf is the value of a number of either kind.
func FloatOf(v any) float64 {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	f, _ := v.(float64)
	return f
}

// readRescale reads the arguments of the extension CFG Rescale.
func (c *Call) readRescale(args []any) error {
	v, err := argValues(rescaleName, rescaleFields, args)
	if err != nil {
		return err
	}
	if v[1] == true {
		c.Note("CFG rescale: DDIM Trailing is not available on this server and did nothing")
	}
	phi := FloatOf(v[0])
	c.guidance.rescale = &phi
	return nil
}

// readThreshold reads the arguments of Dynamic Thresholding, and writes its texts.
func (c *Call) readThreshold(args []any) error {
	v, err := argValues(thresholdName, thresholdFields, args)
	if err != nil || v[0] != true {
		return err
	}
	t := sampler.Thresholding{
		Enabled: true, MimicScale: FloatOf(v[1]), Percentile: FloatOf(v[2]) / 100,
		MimicMode: v[3].(string), MimicMin: FloatOf(v[4]), CFGMode: v[5].(string), CFGMin: FloatOf(v[6]), SchedValue: FloatOf(v[7]),
		AllChannels: !slices.Contains([]any{true, "enable", "True", "true"}, v[8]), FromZero: v[9] == "ZERO", Deviation: v[10] == "STD", Phi: FloatOf(v[11]),
	}
	for i, allowed := range map[int][]string{3: sampler.ThresholdModes, 5: sampler.ThresholdModes, 9: thresholdStarts, 10: thresholdMeasures} {
		if !slices.Contains(allowed, v[i].(string)) {
			return exception.Crash("ValueError", "argument %d of %s is %s, want one of %s", i, thresholdName, pyjson.Quoted(v[i].(string)), strings.Join(allowed, ", "))
		}
	}
	if !(t.Percentile > 0 && t.Percentile <= 1 && t.Phi >= 0 && t.Phi <= 1 && t.MimicScale >= 0) {
		return exception.Crash("ValueError", "%s takes a percentile above 0 to 100, a phi of 0 to 1 and scales of 0 or more", thresholdName)
	}
	c.guidance.threshold = t
	v[8] = !t.AllChannels
	c.tellArgs(thresholdName, v, silentThresholds(t)...)
	return nil
}

// silentThresholds are the arguments that texts leave out.
func silentThresholds(t sampler.Thresholding) (args []int) {
	if t.MimicMode == sampler.ThresholdModes[0] {
		args = append(args, 3, 4)
	}
	if t.CFGMode == sampler.ThresholdModes[0] {
		args = append(args, 5, 6)
	}
	if !hasSchedule(t.MimicMode) && !hasSchedule(t.CFGMode) {
		args = append(args, 7)
	}
	return args
}

func (c *Call) addText(key string, value any) {
	c.Texts = append(c.Texts, infotext.Entry{Key: key, Value: value})
}

// readPerturbed reads the arguments of perturbed-attention guidance, and writes its texts.
func (c *Call) readPerturbed(args []any) error {
	v, err := argValues(perturbedName, perturbedFields, args)
	if err != nil || v[0] != true {
		return err
	}
	p := sampler.Perturbation{Scale: FloatOf(v[1]), Attenuation: FloatOf(v[2]) / 100, Start: FloatOf(v[3]), End: FloatOf(v[4])}
	if !(p.Scale >= 0 && p.Scale <= 100 && p.Attenuation >= 0 && p.Attenuation <= 1) {
		return exception.Crash("ValueError", "%s takes a scale and an attenuation of 0 to 100", perturbedName)
	}
	c.guidance.perturbation = p
	c.tellArgs(perturbedName, v)
	return nil
}

// readProjected reads the arguments of adaptive projected guidance, and writes its texts.
func (c *Call) readProjected(args []any) error {
	v, err := argValues(projectedName, projectedFields, args)
	if err != nil || v[0] != true {
		return err
	}
	p := sampler.Projection{
		Enabled: true, Momentum: FloatOf(v[1]), Adaptive: FloatOf(v[2]), Threshold: FloatOf(v[3]), Eta: FloatOf(v[4]),
		Limited: v[5] == true, SigmaStart: FloatOf(v[6]), SigmaEnd: FloatOf(v[7]),
	}
	if !(math.Abs(p.Momentum) <= 2.5 && math.Abs(p.Adaptive) <= 2.5 && p.Threshold >= 0 && p.Eta >= 0 && p.Eta <= 2) {
		return exception.Crash("ValueError", "%s takes momentums of -2.5 to 2.5, a threshold of 0 or more and an eta of 0 to 2", projectedName)
	}
	c.guidance.projection = p
	c.tellArgs(projectedName, v)
	return nil
}

// readZeroStar reads the argument of CFG-Zero*, and writes its text.
func (c *Call) readZeroStar(args []any) error {
	v, err := argValues(zeroStarName, zeroStarFields, args)
	if err != nil || v[0] != true {
		return err
	}
	c.guidance.zeroStar = true
	c.tellArgs(zeroStarName, v)
	return nil
}

// hasSchedule reports whether a mode depends on the scheduler's value.
func hasSchedule(mode string) bool {
	return strings.HasPrefix(mode, "Power") || strings.HasSuffix(mode, "Repeating") || mode == "Sawtooth"
}

// apply puts what the scripts ask for into settings.
func (g guidance) apply(s *inference.Settings) {
	if g.rescale != nil {
		s.CFGRescale = *g.rescale
	}
	s.Thresholding, s.Projection, s.Perturbation, s.ZeroStar = g.threshold, g.projection, g.perturbation, g.zeroStar
	s.FreeU = g.freeU
}

// applyGuidance puts what the scripts ask for into the request.
func (c *Call) applyGuidance() error {
	s := &c.Req.Settings
	c.guidance.apply(s)
	if s.Projection.Enabled && (s.ZeroStar || s.Thresholding.Enabled) {
		c.Note("APG takes the place of CFG-Zero* and of the CFG scale's schedule")
	}
	if !(s.CFGRescale >= 0 && s.CFGRescale <= 1) {
		return exception.Crash("ValueError", "CFG rescale is %g, want 0 (off) to 1", s.CFGRescale)
	}
	return nil
}
