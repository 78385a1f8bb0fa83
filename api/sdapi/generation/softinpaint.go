package generation

import (
	"sdworker/api/infotext"
	"sdworker/api/sdapi/schema"
	"sdworker/inference/latent"
)

const softName = "soft inpainting"

// softArg is an argument of soft inpainting and its key in infotexts.
type softArg struct {
	ScriptArg
	kind schema.Kind
	key  string
}

// softArgs are the arguments in the order of the script.
var softArgs = []softArg{
	{ScriptArg{Label: "Soft inpainting", Value: false}, schema.Boolean, "Soft inpainting enabled"},
	{ScriptArg{Label: "Schedule bias", Value: int64(1), Minimum: int64(0), Max: int64(8), Step: 0.1}, schema.Number, "Soft inpainting schedule bias"},
	{ScriptArg{Label: "Preservation strength", Value: 0.5, Minimum: int64(0), Max: int64(8), Step: 0.05}, schema.Number, "Soft inpainting preservation strength"},
	{ScriptArg{Label: "Transition contrast boost", Value: int64(4), Minimum: int64(1), Max: int64(32), Step: 0.5}, schema.Number, "Soft inpainting transition contrast boost"},
	{ScriptArg{Label: "Mask influence", Value: int64(0), Minimum: int64(0), Max: int64(1), Step: 0.05}, schema.Number, "Soft inpainting mask influence"},
	{ScriptArg{Label: "Difference threshold", Value: 0.5, Minimum: int64(0), Max: int64(8), Step: 0.25}, schema.Number, "Soft inpainting difference threshold"},
	{ScriptArg{Label: "Difference contrast", Value: int64(2), Minimum: int64(0), Max: int64(8), Step: 0.25}, schema.Number, "Soft inpainting difference contrast"},
}

// softFields are the arguments as fields of a body.
var softFields = func() []schema.Field {
	list := make([]schema.Field, len(softArgs))
	for i, a := range softArgs {
		list[i] = schema.Field{Name: a.Label, Kind: a.kind, Default: a.Value}
	}
	return list
}()

func softScript() *Script {
	s := &Script{Name: softName, AlwaysOn: true, silent: true, Tabs: []*Tab{Img2Img}}
	for _, a := range softArgs {
		s.Args = append(s.Args, a.ScriptArg)
	}
	return s
}

// readSoft reads the arguments of soft inpainting; those that are missing have their
// defaults.
func (c *Call) readSoft(args []any) error {
	c.Soft = nil
	v, err := argValues(softName, softFields, args)
	if err != nil || v[0] != true {
		return err
	}
	s := latent.Soft{
		Bias: FloatOf(v[1]), Preservation: FloatOf(v[2]), Contrast: FloatOf(v[3]),
		MaskInfluence: FloatOf(v[4]), Threshold: FloatOf(v[5]), Sharpness: FloatOf(v[6]),
	}
	c.Soft, c.softValues = &s, v
	return s.Check()
}

// softTexts is what soft inpainting adds to infotexts when it is on.
func (c *Call) softTexts() []infotext.Entry {
	if c.Req.Init == nil || c.Req.Init.Mask == nil || c.Req.Init.Mask.Soft == nil {
		return nil
	}
	return argTextsOf(softName, c.softValues)
}
