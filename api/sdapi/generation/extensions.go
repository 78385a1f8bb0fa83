package generation

import (
	"fmt"
	"strings"

	"sdworker/api/sdapi/schema"
	"sdworker/inference/sampler"
)

// argLimits are the limits of an argument on the page of an extension. A1111 does not
// check them in requests, which may exceed them.
type argLimits struct {
	minimum, max, step any
	choices            []string
}

var (
	upToOne        = argLimits{minimum: 0.0, max: 1.0, step: 0.01}
	upTo100        = argLimits{minimum: 0.0, max: 100.0, step: 0.1}
	thresholdModes = argLimits{choices: sampler.ThresholdModes}
	upTo30         = argLimits{minimum: 0.0, max: 30.0, step: 0.5}
	freeUSkip      = argLimits{minimum: 0.0, max: 4.0, step: 0.01}
	freeUBack      = argLimits{minimum: 0.0, max: 2.0, step: 0.01}
	ofMomentum     = argLimits{minimum: -2.5, max: 2.5, step: 0.01}
)

// extensionLimits are the limits by script and label; "*" stands for the number of a
// stage.
var extensionLimits = map[string]map[string]argLimits{
	rescaleName: {"CFG Rescale": upToOne},
	thresholdName: {
		"Mimic CFG Scale":                            {minimum: 1.0, max: 30.0, step: 0.5},
		"Top percentile of latents to clamp":         {minimum: 90.0, max: 100.0, step: 0.05},
		"Mimic Scale Scheduler":                      thresholdModes,
		"Minimum value of the Mimic Scale Scheduler": upTo30,
		"CFG Scale Scheduler":                        thresholdModes,
		"Minimum value of the CFG Scale Scheduler":   upTo30,
		"Scheduler Value":                            {minimum: 0.0, max: 40.0, step: 0.5},
		"Scaling Startpoint":                         {choices: thresholdStarts},
		"Variability Measure":                        {choices: thresholdMeasures},
		"Interpolate Phi":                            upToOne,
	},
	freeUName: {
		"B1": freeUBack, "B2": freeUBack, "S1": freeUSkip, "S2": freeUSkip, "Start step": upToOne, "End step": upToOne,
		"Version": {minimum: int64(1), max: int64(2), step: int64(1)},
	},
	stagedFreeUName: {
		"Start At Step": upToOne, "Stop At Step": upToOne, "Transition Smoothness": upToOne, "version": {choices: []string{"Version 1", "Version 2"}},
		"Backbone * Scale": {minimum: -1.0, max: 3.0, step: 0.01}, "Backbone * Offset": upToOne, "Backbone * Width": upToOne,
		"Skip * Scale": {minimum: -1.0, max: 3.0, step: 0.01}, "Skip * Cutoff": upToOne, "Skip * High End Scale": {minimum: -1.0, max: 3.0, step: 0.01},
	},
	perturbedName: {"Scale": upTo100, "Attenuation (linear, % of scale)": upTo100, "Start step": upToOne, "End step": upToOne},
	projectedName: {
		"APG Momentum": ofMomentum, "APG Adaptive Momentum": ofMomentum, "APG Norm Threshold": {minimum: 0.0, max: 50.0, step: 0.5},
		"APG Eta": {minimum: 0.0, max: 2.0, step: 0.01}, "Guidance Sigma Start": {minimum: 0.0, step: 0.01}, "Guidance Sigma End": {minimum: 0.0, step: 0.01},
	},
	prompterName: {
		"Mode": {choices: []string{"Matrix", "Mask"}}, "Main Splitting": {choices: []string{"Columns", "Rows"}},
		"Generation Mode": {choices: []string{"Attention", "Latent"}}, "Options": {choices: prompterOptions},
	},
	coupleName: {"end at this step": {minimum: int64(0), max: int64(150), step: int64(1)}},
	dynamicName: {
		"Combinatorial batches":   {minimum: int64(1), max: int64(10), step: int64(1)},
		"Minimum attention":       {minimum: int64(-1), max: int64(2), step: 0.1},
		"Maximum attention":       {minimum: int64(-1), max: int64(2), step: 0.1},
		"Max magic prompt length": {minimum: int64(30), max: int64(300), step: int64(10)},
		"Magic prompt creativity": {minimum: 0.1, max: 3.0, step: 0.1},
		dynamicLimit:              {minimum: int64(0), max: int64(1000), step: int64(1)},
		"Magic prompt model":      {choices: []string{}},
	},
}

// extensionScript is an entry of the lists of scripts.
func extensionScript(name string, list []schema.Field) *Script {
	s := &Script{Name: name, AlwaysOn: true, silent: true, Tabs: BothTabs}
	for _, f := range list {
		s.Args = append(s.Args, limited(ScriptArg{Label: f.Name, Value: f.Default}, extensionLimits[name]))
	}
	return s
}

func limited(a ScriptArg, all map[string]argLimits) ScriptArg {
	l, ok := all[a.Label]
	for stage := 1; !ok && stage <= freeUStages; stage++ {
		l, ok = all[strings.Replace(a.Label, fmt.Sprintf(" %d ", stage), " * ", 1)]
	}
	a.Minimum, a.Max, a.Step, a.Choices = l.minimum, l.max, l.step, l.choices
	return a
}
