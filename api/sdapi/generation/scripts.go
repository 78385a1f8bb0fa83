package generation

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/inference"
	"sdworker/inference/latent"
	"sdworker/inference/regions"
)

// Script is an entry of A1111's lists of scripts.
type Script struct {
	Name     string // lower case
	AlwaysOn bool
	Tabs     []*Tab
	Args     []ScriptArg
	// silent scripts change nothing when the API names them: A1111 reads their
	// arguments from its own page only, or they have none.
	silent bool
	Run    scriptRun // of a selectable one; nil: it is not available
	Texts  []ArgText // the arguments of a selectable one that infotexts tell
	Tiles  bool      // a selectable one paints with masks of its own, in parts that it looks at itself
}

// ScriptArg is one argument as GET /sdapi/v1/script-info shows it.
type ScriptArg struct {
	Label              string
	Value              any
	Minimum, Max, Step any
	Choices            []string
}

// alwaysOn are the always-on scripts of v1.9.3 with its built-in extensions, and of the
// extensions that clients send most.
var alwaysOn = []*Script{
	{Name: "comments", AlwaysOn: true, silent: true, Tabs: BothTabs},
	{Name: "refiner", AlwaysOn: true, silent: true, Tabs: BothTabs, Args: []ScriptArg{
		{Label: "Refiner", Value: false},
		{Label: "Checkpoint", Value: "", Choices: []string{}},
		{Label: "Switch at", Value: 0.8, Minimum: 0.01, Max: 1.0, Step: 0.01},
	}},
	{Name: "sampler", AlwaysOn: true, silent: true, Tabs: BothTabs, Args: []ScriptArg{
		{Label: "Sampling steps", Value: int64(20), Minimum: int64(1), Max: int64(150), Step: int64(1)},
		{Label: "Sampling method", Value: "DPM++ 2M", Choices: []string{}},
		{Label: "Schedule type", Value: "Automatic", Choices: []string{}},
	}},
	{Name: "seed", AlwaysOn: true, silent: true, Tabs: BothTabs, Args: []ScriptArg{
		{Label: "Seed", Value: int64(-1)},
		{Label: "Extra", Value: false},
		{Label: "Variation seed", Value: int64(-1)},
		{Label: "Variation strength", Value: int64(0), Minimum: int64(0), Max: int64(1), Step: 0.01},
		{Label: "Resize seed from width", Value: int64(0), Minimum: int64(0), Max: int64(2048), Step: int64(8)},
		{Label: "Resize seed from height", Value: int64(0), Minimum: int64(0), Max: int64(2048), Step: int64(8)},
	}},
	{Name: "extra options", AlwaysOn: true, silent: true, Tabs: BothTabs},
	{Name: "hypertile", AlwaysOn: true, silent: true, Tabs: BothTabs},
	softScript(),
	{Name: "controlnet", AlwaysOn: true, silent: true, Tabs: BothTabs},
	{Name: detailerName, AlwaysOn: true, silent: true, Tabs: BothTabs},
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

// BothTabs are those of most scripts.
var BothTabs = []*Tab{Txt2Img, Img2Img}

// scriptRun does the work of a selectable script. It has a place in the queue.
type scriptRun func(context.Context, *Call, *inference.Place, inference.Job) (*Outcome, error)

// Scripts are all scripts, the selectable ones first.
func (s *Service) Scripts() []*Script { return slices.Concat(s.Config.Scripts, alwaysOn) }

// findScript finds a script of a list by any of its names.
func findScript(list []*Script, t *Tab, name string) *Script {
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
	for _, s := range list {
		if s.Name == name && slices.Contains(s.Tabs, t) {
			return s
		}
	}
	return nil
}

// masksTiles reports whether the selected script paints with masks of its own.
func (c *Call) masksTiles() bool { return c.Script != nil && c.Script.Tiles }

func scriptNotFound(name string) error {
	return exception.Refuse(http.StatusUnprocessableEntity, "Script '%s' not found", name)
}

// scriptCall is what a request asks of scripts.
type scriptCall struct {
	Script     *Script // selectable, nil for none
	ScriptArgs []any
	LeadTexts  []infotext.Entry  // what the selected script adds to the infotext before its first picture
	Texts      []infotext.Entry  // what scripts add to the infotext
	control    []any             // args of ControlNet
	units      []*request.Fields // those of them that act
	guidance   guidance
	regions    *regions.Spec     // nil: the prompt is not divided
	refiner    *infotext.Refiner // nil: none is asked for
	dynamic    *dynamicArgs      // nil: braces are plain text

	pasted map[string][]any // what the infotext of the request says of always-on scripts

	Soft       *latent.Soft // soft inpainting, nil when it is off
	softValues []any        // its arguments as they were sent

	detailUnits []*request.Fields // valid ones of ADetailer
	detailsMade []*request.Fields // those of them that are in the request, in its order
	detailBound *detailBound      // of the templates of all parts
	detailsOnly bool              // img2img is left out
	detailTexts []infotext.Entry
}

// chooseScript resolves script_name.
func (c *Call) chooseScript() error {
	name := c.In.Text("script_name")
	if name == "" {
		return nil
	}
	found := findScript(c.Service.Scripts(), c.Tab, name)
	switch {
	case found == nil || found.AlwaysOn:
		return scriptNotFound(name)
	case found.Run == nil:
		return exception.Refuse(http.StatusUnprocessableEntity, "Script '%s' is not available on this server", name)
	}
	c.Script, c.ScriptArgs = found, c.In.List("script_args")
	return nil
}

// readAlwaysOn checks and reads alwayson_scripts, and then the scripts that only the
// request's infotext has. Arguments beyond what a script takes are ignored, as in A1111.
func (c *Call) readAlwaysOn(ctx context.Context) error {
	named := map[string]bool{}
	for name, v := range c.In.Dict("alwayson_scripts").All() {
		found := findScript(c.Service.Scripts(), c.Tab, name)
		switch {
		case found == nil:
			return scriptNotFound(name)
		case !found.AlwaysOn:
			return exception.Refuse(http.StatusUnprocessableEntity, "Cannot have a selectable script in the always on scripts params")
		}
		args, err := scriptArgs(v)
		if err != nil {
			return err
		}
		named[found.Name] = true
		if pasted, ok := c.pasted[found.Name]; ok {
			args = overPasted(args, pasted)
		}
		if err := c.readScript(ctx, found, args); err != nil {
			return err
		}
	}
	for _, s := range alwaysOn {
		args, ok := c.pasted[s.Name]
		if !ok || named[s.Name] || !slices.Contains(s.Tabs, c.Tab) {
			continue
		}
		if err := c.readScript(ctx, s, args); err != nil {
			return err
		}
	}
	return nil
}

// readScript reads the arguments of an always-on script.
func (c *Call) readScript(ctx context.Context, s *Script, args []any) error {
	if guides, err := c.readGuidance(s.Name, args); guides || err != nil {
		return err
	}
	if divides, err := c.readRegions(ctx, s.Name, args); divides || err != nil {
		return err
	}
	switch s.Name {
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
			c.Note("script %s is not available on this server and did nothing", s.Name)
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
			return nil, exception.Crash("TypeError", "args of a script must be a list")
		}
		return list, nil
	case []any:
		return nil, nil
	}
	return nil, exception.Crash("TypeError", "a script takes an object with args")
}
