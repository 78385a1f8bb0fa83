package sdapi

import (
	"context"
	"math"
	"slices"

	"sdworker/api/sdapi/gridtext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// derive makes a call like c with other fields, as A1111's scripts copy their job.
// Pictures of the request are not read again.
func (c *call) derive(ctx context.Context, change func(in *fields) error) (*call, error) {
	d := &call{server: c.server, tab: c.tab, in: c.copyFields(), opts: c.opts, arrived: c.arrived, mask: c.mask, origin: c}
	d.scriptCall = c.scriptCall
	d.script = nil
	d.texts = slices.Clone(c.texts)
	d.in.Set("force_task_id", c.id)
	if err := change(&d.in); err != nil {
		return nil, err
	}
	for _, step := range []func() error{d.chooseSampler, d.override, func() error { return d.build(ctx) }} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// copyFields copies what scripts change.
func (c *call) copyFields() fields {
	values := c.in.Values
	values.Object = c.in.Clone()
	in := fields{Values: values}
	if o := c.in.object("override_settings"); o != nil {
		in.Set("override_settings", o.Clone())
	}
	return in
}

// fixSeeds gives fields of a random seed the seeds that the job drew.
func (c *call) fixSeeds(in *fields) {
	in.Set("seed", c.req.Seed)
	in.Set("subseed", c.req.Subseed)
}

// setOption puts an option into the overrides.
func (f *fields) setOption(name string, value any) {
	o := f.object("override_settings")
	if o == nil {
		o = pyjson.NewObject()
		f.Set("override_settings", o)
	}
	o.Set(name, value)
}

// scriptArg is the i-th argument of the selected script as the kind says, or def
// where the list is shorter. Truth is Python's.
func (c *call) scriptArg(i int, kind schema.Kind, def any) (any, error) {
	if i >= len(c.scriptArgs) || c.scriptArgs[i] == nil {
		return def, nil
	}
	v := c.scriptArgs[i]
	if kind == schema.Boolean {
		return truth(v), nil
	}
	f := schema.Field{Kind: kind}
	out, errs := f.Coerce(v)
	if len(errs) > 0 {
		return nil, crash("TypeError", "argument %d of %s: %s", i, c.script.name, errs[0].Msg)
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

// gridStyle is how the options want legends.
func (c *call) gridStyle() gridtext.Style {
	o := c.opts
	return gridtext.Style{
		Active: colour(o.Text("grid_text_active_color")), Inactive: colour(o.Text("grid_text_inactive_color")), Background: colour(o.Text("grid_background_color")),
		Font: c.server.cfg.GridFont,
	}
}

// checkImages refuses scripts that would make too many pictures, or a grid of more
// megapixels than the option allows.
func (c *call) checkImages(cells, each, w, h int) error {
	if cells*each > inference.MaxImages {
		return fault.FieldError("script_args", "%s would make %d pictures, want at most %d", c.script.name, cells*each, inference.MaxImages)
	}
	size := math.RoundToEven(float64(cells) * float64(w) * float64(h) / 1e6)
	if limit := c.opts.Float("img_max_size_mp"); size >= limit {
		return crash("AssertionError", "Error: Resulting grid would be too large (%.0f MPixels) (max configured size is %s MPixels)", size, pyjson.Repr(limit))
	}
	return nil
}

// pictures are the pixels of the output so far.
func (out *output) pixels() []imageio.RGB {
	list := make([]imageio.RGB, len(out.images))
	for i, m := range out.images {
		list[i] = m.pixels
	}
	return list
}
