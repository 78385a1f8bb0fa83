package sdapi

import (
	"sdworker/api/infotext"
	"sdworker/api/sdapi/schema"
	"sdworker/inference/latent"
)

const softName = "soft inpainting"

// softArg is an argument of soft inpainting, and what texts call it.
type softArg struct {
	scriptArg
	kind schema.Kind
	key  string
}

// softArgs are the arguments in the order of the script.
var softArgs = []softArg{
	{scriptArg{label: "Soft inpainting", value: false}, schema.Boolean, "Soft inpainting enabled"},
	{scriptArg{label: "Schedule bias", value: int64(1), minimum: int64(0), max: int64(8), step: 0.1}, schema.Number, "Soft inpainting schedule bias"},
	{scriptArg{label: "Preservation strength", value: 0.5, minimum: int64(0), max: int64(8), step: 0.05}, schema.Number, "Soft inpainting preservation strength"},
	{scriptArg{label: "Transition contrast boost", value: int64(4), minimum: int64(1), max: int64(32), step: 0.5}, schema.Number, "Soft inpainting transition contrast boost"},
	{scriptArg{label: "Mask influence", value: int64(0), minimum: int64(0), max: int64(1), step: 0.05}, schema.Number, "Soft inpainting mask influence"},
	{scriptArg{label: "Difference threshold", value: 0.5, minimum: int64(0), max: int64(8), step: 0.25}, schema.Number, "Soft inpainting difference threshold"},
	{scriptArg{label: "Difference contrast", value: int64(2), minimum: int64(0), max: int64(8), step: 0.25}, schema.Number, "Soft inpainting difference contrast"},
}

// softFields are the arguments as fields of a body.
var softFields = func() []schema.Field {
	list := make([]schema.Field, len(softArgs))
	for i, a := range softArgs {
		list[i] = schema.Field{Name: a.label, Kind: a.kind, Default: a.value}
	}
	return list
}()

func softScript() *script {
	s := &script{name: softName, alwayson: true, silent: true, tabs: []*tab{img2img}}
	for _, a := range softArgs {
		s.args = append(s.args, a.scriptArg)
	}
	return s
}

// readSoft reads the arguments of soft inpainting; those that are missing have their
// defaults.
func (c *call) readSoft(args []any) error {
	c.soft = nil
	v, err := argValues(softName, softFields, args)
	if err != nil || v[0] != true {
		return err
	}
	s := latent.Soft{
		Bias: floatOf(v[1]), Preservation: floatOf(v[2]), Contrast: floatOf(v[3]),
		MaskInfluence: floatOf(v[4]), Threshold: floatOf(v[5]), Sharpness: floatOf(v[6]),
	}
	c.soft, c.softValues = &s, v
	return s.Check()
}

// softTexts is what soft inpainting adds to texts where it acts.
func (c *call) softTexts() []infotext.Entry {
	if c.req.Init == nil || c.req.Init.Mask == nil || c.req.Init.Mask.Soft == nil {
		return nil
	}
	return argTextsOf(softName, c.softValues)
}
