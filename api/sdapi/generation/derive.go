package generation

import (
	"context"
	"math"
	"slices"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// Derive makes a call like c with other fields, as A1111's scripts copy their job.
// Pictures of the request are not read again.
func (c *Call) Derive(ctx context.Context, change func(in *request.Fields) error) (*Call, error) {
	d := &Call{Service: c.Service, Tab: c.Tab, In: c.copyFields(), Options: c.Options, arrived: c.arrived, mask: c.mask, origin: c}
	d.scriptCall = c.scriptCall
	d.Script = nil
	d.Texts = slices.Clone(c.Texts)
	d.In.Set("force_task_id", c.id)
	if err := change(&d.In); err != nil {
		return nil, err
	}
	for _, step := range []func() error{d.chooseSampler, d.override, func() error { return d.build(ctx) }} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// copyFields copies the fields and the overrides, which scripts change.
func (c *Call) copyFields() request.Fields {
	values := c.In.Values
	values.Object = c.In.Clone()
	in := request.Fields{Values: values}
	if o := c.In.Dict("override_settings"); o != nil {
		in.Set("override_settings", o.Clone())
	}
	return in
}

// FixSeeds sets the seed fields to the seeds that the job drew, so that derived calls have
// the same ones.
func (c *Call) FixSeeds(in *request.Fields) {
	in.Set("seed", c.Req.Seed)
	in.Set("subseed", c.Req.Subseed)
}

// ScriptArg is the i-th argument of the selected script, read as the kind says, or def if
// the list is shorter. Any value is a boolean, by Python's rules of truth.
func (c *Call) ScriptArg(i int, kind schema.Kind, def any) (any, error) {
	if i >= len(c.ScriptArgs) || c.ScriptArgs[i] == nil {
		return def, nil
	}
	v := c.ScriptArgs[i]
	if kind == schema.Boolean {
		return truth(v), nil
	}
	f := schema.Field{Kind: kind}
	out, errs := f.Coerce(v)
	if len(errs) > 0 {
		return nil, exception.Crash("TypeError", "argument %d of %s: %s", i, c.Script.Name, errs[0].Msg)
	}
	return out, nil
}

// truth is Python's bool().
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case *pyjson.Object:
		return v.Len() > 0
	}
	return true
}

// GridStyle is the look of legends that the options ask for.
func (c *Call) GridStyle() gridtext.Style {
	o := c.Options
	return gridtext.Style{
		Active: picture.Colour(o.Text("grid_text_active_color")), Inactive: picture.Colour(o.Text("grid_text_inactive_color")), Background: picture.Colour(o.Text("grid_background_color")),
		Font: c.Service.Config.GridFont,
	}
}

// CheckImages refuses scripts that would make too many pictures, or a grid of more
// megapixels than the option allows.
func (c *Call) CheckImages(cells, each, w, h int) error {
	if cells*each > inference.MaxImages {
		return fault.FieldError("script_args", "%s would make %d pictures, want at most %d", c.Script.Name, cells*each, inference.MaxImages)
	}
	size := math.RoundToEven(float64(cells) * float64(w) * float64(h) / 1e6)
	if limit := c.Options.Float("img_max_size_mp"); size >= limit {
		return exception.Crash("AssertionError", "Error: Resulting grid would be too large (%.0f MPixels) (max configured size is %s MPixels)", size, pyjson.Repr(limit))
	}
	return nil
}

// Pixels are the pictures of the output so far.
func (out *Output) Pixels() []imageio.RGB {
	list := make([]imageio.RGB, len(out.Images))
	for i, m := range out.Images {
		list[i] = m.Pixels
	}
	return list
}
