package sdapi

import (
	"maps"
	"slices"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/inference/prompt"
)

// pasteInfotext fills fields that the request leaves open from its infotext
// field, and adds the options of the text to override_settings.
func (c *call) pasteInfotext() error {
	text := c.in.text("infotext")
	if text == "" {
		return nil
	}
	parsed := c.server.infotextReader(c.opts).Parse(text)
	paste := infotext.Fields.Txt2Img
	if c.tab == img2img {
		paste = infotext.Fields.Img2Img
	}
	found, err := paste(parsed, c.currentOption)
	if err != nil {
		return crash("ValueError", "%s", err)
	}
	for name, value := range found.Fields {
		if _, exists := c.in.Get(name); !exists || c.in.Given(name) || value == nil {
			continue
		}
		if list, ok := value.([]string); ok {
			value = anyList(list)
		}
		c.in.Set(name, value)
	}
	overrides := pyjson.NewObject()
	if sent := c.in.object("override_settings"); sent != nil {
		overrides = sent.Clone()
	}
	for _, name := range slices.Sorted(maps.Keys(found.Overrides)) {
		if _, given := overrides.Get(name); !given && options.Exists(name) {
			overrides.Set(name, found.Overrides[name])
		}
	}
	c.in.Set("override_settings", overrides)
	return nil
}

// currentOption tells the value of an option and its default.
func (c *call) currentOption(name string) (now, standard any, ok bool) {
	if !options.Exists(name) {
		return nil, nil, false
	}
	return c.opts.Get(name), options.Defaults().Get(name), true
}

func anyList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// infotextReader is the parser with what it needs to know of the server.
func (s *Server) infotextReader(o options.Values) infotext.Reader {
	r := infotext.Reader{
		Skip:          o.Texts("infotext_skip_pasting"),
		HiresIsSize:   o.Bool("use_old_hires_fix_width_height"),
		IgnoreVersion: !o.Bool("auto_backcompat"),
	}
	switch mode := o.Text("infotext_styles"); mode {
	case "Ignore":
	default:
		r.AlwaysStyles = mode == "Apply"
		r.Styles = func(positive, negative string) (names []string, restPositive, restNegative string) {
			names, restPositive, restNegative = prompt.ExtractStyles(s.allStyles(), positive, negative)
			if mode == "Discard" {
				names = nil
			}
			return names, restPositive, restNegative
		}
	}
	return r
}
