package sdapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
	"sdworker/inference/latent"
	"sdworker/inference/regions"
)

// script is an entry of A1111's lists of scripts.
type script struct {
	name     string // lower case
	alwayson bool
	tabs     []*tab
	args     []scriptArg
	// silent scripts change nothing when the API names them: A1111 reads their
	// arguments from its own page only, or they have none.
	silent bool
}

// scriptArg is one argument as GET /sdapi/v1/script-info shows it.
type scriptArg struct {
	label              string
	value              any
	minimum, max, step any
	choices            []string
}

// allScripts are those of v1.9.3 with its built-in extensions, and the two
// extensions that clients send most.
var allScripts = []*script{
	{name: "img2img alternative test", tabs: []*tab{img2img}},
	{name: loopbackName, tabs: []*tab{img2img}, args: loopbackArgs},
	{name: "outpainting mk2", tabs: []*tab{img2img}},
	{name: "poor man's outpainting", tabs: []*tab{img2img}},
	{name: "prompt matrix", tabs: both, args: promptMatrixArgs},
	{name: "prompts from file or textbox", tabs: both, args: promptLinesArgs},
	{name: sdUpscaleName, tabs: []*tab{img2img}, args: sdUpscaleArgs},
	{name: ultimateName, tabs: []*tab{img2img}, args: ultimateArgs},
	{name: "x/y/z plot", tabs: []*tab{txt2img}, args: xyzScriptArgs(txt2img)},
	{name: "x/y/z plot", tabs: []*tab{img2img}, args: xyzScriptArgs(img2img)},
	{name: "controlnet m2m", tabs: both}, // webuiapi takes it for the sign of ControlNet
	{name: "comments", alwayson: true, silent: true, tabs: both},
	{name: "refiner", alwayson: true, silent: true, tabs: both, args: []scriptArg{
		{label: "Refiner", value: false},
		{label: "Checkpoint", value: "", choices: []string{}},
		{label: "Switch at", value: 0.8, minimum: 0.01, max: 1.0, step: 0.01},
	}},
	{name: "sampler", alwayson: true, silent: true, tabs: both, args: []scriptArg{
		{label: "Sampling steps", value: int64(20), minimum: int64(1), max: int64(150), step: int64(1)},
		{label: "Sampling method", value: "DPM++ 2M", choices: []string{}},
		{label: "Schedule type", value: "Automatic", choices: []string{}},
	}},
	{name: "seed", alwayson: true, silent: true, tabs: both, args: []scriptArg{
		{label: "Seed", value: int64(-1)},
		{label: "Extra", value: false},
		{label: "Variation seed", value: int64(-1)},
		{label: "Variation strength", value: int64(0), minimum: int64(0), max: int64(1), step: 0.01},
		{label: "Resize seed from width", value: int64(0), minimum: int64(0), max: int64(2048), step: int64(8)},
		{label: "Resize seed from height", value: int64(0), minimum: int64(0), max: int64(2048), step: int64(8)},
	}},
	{name: "extra options", alwayson: true, silent: true, tabs: both},
	{name: "hypertile", alwayson: true, silent: true, tabs: both},
	softScript(),
	{name: "controlnet", alwayson: true, silent: true, tabs: both},
	{name: detailerName, alwayson: true, silent: true, tabs: both},
	extensionScript(dynamicName, dynamicFields),
	extensionScript(rescaleName, rescaleFields),
	extensionScript(thresholdName, thresholdFields),
	extensionScript(freeUName, freeUFields),
	extensionScript(stagedFreeUName, stagedFreeUFields()),
	extensionScript(perturbedName, perturbedFields),
	extensionScript(projectedName, projectedFields),
	extensionScript(zeroStarName, zeroStarFields),
	extensionScript(prompterName, prompterFields),
	extensionScript(coupleName, coupleFields),
}

var both = []*tab{txt2img, img2img}

// scriptRun does the work of a selectable script. It has a place in the queue.
type scriptRun func(context.Context, *call, *inference.Place, inference.Job) (*outcome, error)

// run is nil for a script that this server does not have.
func (s *script) run() scriptRun {
	switch s.name {
	case loopbackName:
		return loopback
	case "prompt matrix":
		return promptMatrix
	case "prompts from file or textbox":
		return promptLines
	case sdUpscaleName:
		return sdUpscale
	case ultimateName:
		return ultimateUpscale
	case "x/y/z plot":
		return xyzPlot
	}
	return nil
}

func findScript(t *tab, name string) *script {
	if isDynamic(name) {
		name = dynamicName
	}
	name = strings.ToLower(name)
	if name == "latent couple" {
		name = coupleName
	}
	if own, ok := guidanceAliases[name]; ok {
		name = own
	}
	for _, s := range allScripts {
		if s.name == name && slices.Contains(s.tabs, t) {
			return s
		}
	}
	return nil
}

func scriptNotFound(name string) error {
	return refuse(http.StatusUnprocessableEntity, "Script '%s' not found", name)
}

// scriptCall is what a request says about scripts.
type scriptCall struct {
	script     *script // selectable, nil for none
	scriptArgs []any
	leadTexts  []infotext.Entry // what the selected script adds to the infotext before its first picture
	texts      []infotext.Entry // what scripts add to the infotext
	control    []any            // args of ControlNet
	units      []*fields        // those of them that act
	guidance   guidance
	regions    *regions.Spec     // nil: the prompt is not divided
	refiner    *infotext.Refiner // nil: none is asked for
	dynamic    *dynamicArgs      // nil: braces are plain text

	pasted map[string][]any // what the infotext of the request says of always-on scripts

	soft       *latent.Soft // soft inpainting, nil when it is off
	softValues []any        // its arguments as they were sent

	detailUnits []*fields    // valid ones of ADetailer
	detailsMade []*fields    // those of them that are in the request, in its order
	detailBound *detailBound // of the templates of all parts
	detailsOnly bool         // img2img is left out
	detailTexts []infotext.Entry
}

// chooseScript resolves script_name.
func (c *call) chooseScript() error {
	name := c.in.text("script_name")
	if name == "" {
		return nil
	}
	found := findScript(c.tab, name)
	switch {
	case found == nil || found.alwayson:
		return scriptNotFound(name)
	case found.run() == nil:
		return refuse(http.StatusUnprocessableEntity, "Script '%s' is not available on this server", name)
	}
	c.script, c.scriptArgs = found, c.in.list("script_args")
	return nil
}

// readAlwaysOn checks alwayson_scripts, and reads them and what the infotext of the request
// tells of others. Arguments beyond what a script takes are ignored, as in A1111.
func (c *call) readAlwaysOn(ctx context.Context) error {
	named := map[string]bool{}
	for name, v := range c.in.object("alwayson_scripts").All() {
		found := findScript(c.tab, name)
		switch {
		case found == nil:
			return scriptNotFound(name)
		case !found.alwayson:
			return refuse(http.StatusUnprocessableEntity, "Cannot have a selectable script in the always on scripts params")
		}
		args, err := scriptArgs(v)
		if err != nil {
			return err
		}
		named[found.name] = true
		if pasted, ok := c.pasted[found.name]; ok {
			args = overPasted(args, pasted)
		}
		if err := c.readScript(ctx, found, args); err != nil {
			return err
		}
	}
	for _, s := range allScripts {
		args, ok := c.pasted[s.name]
		if !ok || named[s.name] || !slices.Contains(s.tabs, c.tab) {
			continue
		}
		if err := c.readScript(ctx, s, args); err != nil {
			return err
		}
	}
	return nil
}

// readScript reads the arguments of an always-on script.
func (c *call) readScript(ctx context.Context, s *script, args []any) error {
	if guides, err := c.readGuidance(s.name, args); guides || err != nil {
		return err
	}
	if divides, err := c.readRegions(ctx, s.name, args); divides || err != nil {
		return err
	}
	switch s.name {
	case "controlnet":
		c.control = args
	case detailerName:
		c.readADetailer(args)
	case softName:
		return c.readSoft(args)
	case dynamicName:
		return c.readDynamic(args)
	default:
		if !s.silent && len(args) > 0 && args[0] != false {
			c.note("script %s is not available on this server and did nothing", s.name)
		}
	}
	return nil
}

// scriptArgs reads {"args": [...]}; without the key a script has its defaults.
func scriptArgs(v any) ([]any, error) {
	switch v := v.(type) {
	case *pyjson.Object:
		args, ok := v.Get("args")
		if !ok {
			return nil, nil
		}
		list, ok := args.([]any)
		if !ok {
			return nil, crash("TypeError", "args of a script must be a list")
		}
		return list, nil
	case []any:
		return nil, nil
	}
	return nil, crash("TypeError", "a script takes an object with args")
}

// listScripts is GET /sdapi/v1/scripts.
func listScripts() *pyjson.Object {
	names := func(t *tab) []string {
		list := []string{}
		for _, s := range allScripts {
			if slices.Contains(s.tabs, t) {
				list = append(list, s.name)
			}
		}
		return list
	}
	return pyjson.NewObject("txt2img", names(txt2img), "img2img", names(img2img))
}

// scriptInfo is GET /sdapi/v1/script-info.
func scriptInfo() []any {
	list := []any{}
	for _, t := range both {
		for _, s := range allScripts {
			if !slices.Contains(s.tabs, t) {
				continue
			}
			args := []any{}
			for _, a := range s.args {
				var choices any
				if a.choices != nil {
					choices = a.choices
				}
				args = append(args, pyjson.NewObject("label", a.label, "value", a.value,
					"minimum", a.minimum, "maximum", a.max, "step", a.step, "choices", choices))
			}
			list = append(list, pyjson.NewObject("name", s.name, "is_alwayson", s.alwayson, "is_img2img", t == img2img, "args", args))
		}
	}
	return list
}
