package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sdworker/api/sdapi/schema"
	"sdworker/internal/cli"
)

// requestFlag is a flag for one value of a request.
type requestFlag struct {
	variable string
	field    schema.Field
	kind     requestKind
}

// requestKind is how the value of a flag is sent.
type requestKind int

const (
	asField  requestKind = iota // a field of the request
	asOption                    // one of its override_settings
	asFile                      // the name of a file, whose content is a field
	asScript                    // an argument of an always-on script
)

// requestFlags are flags of one group. They are made of the table that the API reads
// its requests by, so that their names, types and defaults are the API's.
type requestFlags struct {
	title  string
	list   []requestFlag
	target reflect.Value // pointer to a struct with a field for each
}

// The values that have a flag but are no fields of requests: options and files.
var (
	clipSkip  = requestFlag{"CLIP_SKIP", schema.Field{Name: "CLIP_stop_at_last_layers", Kind: schema.Integer, Default: 1, Doc: "1 to 12, 2 = the last but one layer of the text encoder"}, asOption}
	stepCache = requestFlag{"STEP_CACHE", schema.Field{Name: "step_cache", Kind: schema.Number, Default: 0, Doc: "0 to 1, reuse predictions that would change by less than this share; higher is faster, 0 exact"}, asOption}
	dynamic   = requestFlag{"DYNAMIC_PROMPTS", schema.Field{Name: "dynamic_prompts", Kind: schema.Boolean, Default: false, Doc: "braces are variants and __name__ a wildcard of the folder wildcards: {red|blue} __animal__"}, asOption}
	detailer  = requestFlag{"ADETAILER", schema.Field{Name: "ad_model", Kind: schema.String, Doc: "paint again what this YOLOv8 model finds in the finished picture, such as face_yolov8n.pt of models/adetailer; several with commas between"}, asScript}
	detailed  = requestFlag{"ADETAILER_PROMPT", schema.Field{Name: "ad_prompt", Kind: schema.String, Doc: "prompt for that, where it is not the picture's; [PROMPT] stands for the picture's"}, asScript}
	initImage = requestFlag{"INIT_IMAGE", schema.Field{Name: "init_images", Kind: schema.String, Doc: "start from this picture file, - = standard input"}, asFile}
	mask      = requestFlag{"MASK", schema.Field{Name: "mask", Kind: schema.String, Doc: "picture file, white = repaint"}, asFile}
	softly    = requestFlag{"SOFT_INPAINTING", schema.Field{Name: "soft inpainting", Kind: schema.Boolean, Default: false, Doc: "blend the picture with what is painted by the shades of the mask, which a high --mask-blur makes"}, asScript}
)

// newRequestFlags returns the three groups: what both routes take, what txt2img does
// and what img2img does.
func newRequestFlags() (picture, hires, init requestFlags) {
	text, image := schema.Txt2Img.Fields, schema.Img2Img.Fields
	both := flagsOf(text, func(f schema.Field) bool { return has(image, f) })
	return newGroup("Picture:", append(both, clipSkip, stepCache, dynamic, detailer, detailed)),
		newGroup("Second pass (hires fix):", flagsOf(text, func(f schema.Field) bool { return !has(image, f) })),
		newGroup("From a picture (img2img):", append([]requestFlag{initImage, mask, softly}, flagsOf(image, func(f schema.Field) bool { return !has(text, f) })...))
}

// has reports whether a list has a field with the same help.
func has(list []schema.Field, f schema.Field) bool {
	return slices.ContainsFunc(list, func(g schema.Field) bool { return g.Name == f.Name && g.Doc == f.Doc })
}

// flagsOf are the flags of the fields that have one and are wanted.
func flagsOf(list []schema.Field, wanted func(schema.Field) bool) []requestFlag {
	var out []requestFlag
	for _, f := range list {
		if f.Doc == "" || !wanted(f) {
			continue
		}
		variable := f.Flag
		if variable == "" {
			variable = strings.ToUpper(f.Name)
		}
		out = append(out, requestFlag{variable: variable, field: f})
	}
	return out
}

// newGroup makes the struct that package cli fills.
func newGroup(title string, list []requestFlag) requestFlags {
	fields := make([]reflect.StructField, len(list))
	for i, f := range list {
		tag := fmt.Sprintf("env:%q doc:%q", f.variable, f.field.Doc)
		if text := f.defaultText(); text != "" {
			tag += fmt.Sprintf(" envDefault:%q", text)
		}
		fields[i] = reflect.StructField{Name: f.variable, Type: f.goType(), Tag: reflect.StructTag(tag)}
	}
	return requestFlags{title, list, reflect.New(reflect.StructOf(fields))}
}

// goType is the type that the flag's text is read as.
func (f requestFlag) goType() reflect.Type {
	switch {
	case f.field.Kind == schema.Boolean || f.field.Switch:
		return reflect.TypeFor[bool]()
	case f.field.Kind == schema.Integer:
		return reflect.TypeFor[int64]()
	case f.field.Kind == schema.Number:
		return reflect.TypeFor[float64]()
	default:
		return reflect.TypeFor[string]()
	}
}

// defaultText is the default as the help shows it, "" for none and for what a switch
// without a mention means.
func (f requestFlag) defaultText() string {
	if f.field.Default == nil || f.field.Default == false || f.field.Default == "" || f.field.Switch {
		return ""
	}
	return fmt.Sprint(f.field.Default)
}

func (g requestFlags) settings() cli.Settings {
	return cli.Settings{Title: g.title, Target: g.target.Interface()}
}

// value is that of a flag, as given or the default; nil for one that is not of the
// group.
func (g requestFlags) value(variable string) any {
	v := g.target.Elem().FieldByName(variable)
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

func (g requestFlags) text(variable string) string { s, _ := g.value(variable).(string); return s }

func (g requestFlags) whole(variable string) int { n, _ := g.value(variable).(int64); return int(n) }
