package infotext

import (
	"fmt"
	"strconv"
)

// Paste is what a text sets in a request.
type Paste struct {
	Fields    map[string]any // by API name: string, int64, float64, bool or []string
	Overrides map[string]any // option to value, in the type of the option
}

// Options looks up the value an option has now, and its default, whose type counts.
type Options func(name string) (now, standard any, ok bool)

// ConversionError is a value of a text that is not of its field's type. Its text
// is Python's.
type ConversionError struct {
	Key   string // of the text
	Value string
	Type  string // "int" or "float"
}

func (e *ConversionError) Error() string {
	if e.Type == "int" {
		return fmt.Sprintf("invalid literal for int() with base 10: '%s'", e.Value)
	}
	return fmt.Sprintf("could not convert string to float: '%s'", e.Value)
}

// target is a request field that a key of the text sets.
type target struct {
	key, field string
	convert    func(key string, value any) (any, error)
}

// Txt2Img maps the text to a text-to-image request. The caller keeps what the
// request itself sets. An error is a *ConversionError.
func (f Fields) Txt2Img(current Options) (Paste, error) {
	p, err := f.paste(current, bothRoutes, txt2imgOnly, hiresKeys)
	if err != nil {
		return Paste{}, err
	}
	if styles, ok := f["Styles array"].([]string); ok {
		p.Fields["styles"] = styles
	}
	f.setHires(p.Fields)
	return p, nil
}

// Img2Img maps the text to an image-to-image request, of which A1111 sets little:
// sampler, steps, seeds and refiner, and options.
func (f Fields) Img2Img(current Options) (Paste, error) {
	return f.paste(current, bothRoutes)
}

// Everything maps the text to all fields of both routes that it tells of, as pasting
// it into a tab of A1111's page does. An error is a *ConversionError.
//
// Of a picture that was made from another one Txt2Img switches the second pass on, as
// A1111 does, since the text says its strength. Everything does not.
func (f Fields) Everything(current Options) (Paste, error) {
	p, err := f.Txt2Img(current)
	if err != nil {
		return Paste{}, err
	}
	width, _ := p.Fields["hr_resize_x"].(int64)
	height, _ := p.Fields["hr_resize_y"].(int64)
	if !f.has("Hires upscale") && !f.has("Hires upscaler") && width == 0 && height == 0 {
		p.Fields["enable_hr"] = false
	}
	if err := f.setMask(p.Fields); err != nil {
		return Paste{}, err
	}
	return p, f.set(p.Fields, img2imgOnly)
}

func (f Fields) paste(current Options, tables ...[]target) (Paste, error) {
	p := Paste{Fields: map[string]any{}, Overrides: map[string]any{}}
	for _, table := range tables {
		if err := f.set(p.Fields, table); err != nil {
			return Paste{}, err
		}
	}
	p.Fields["sampler_name"], p.Fields["scheduler"] = splitSampler(f.text("Sampler"), f.text("Schedule type"))
	return p, f.overrides(p.Overrides, current)
}

// set converts what the text has of a table's keys.
func (f Fields) set(fields map[string]any, table []target) error {
	for _, t := range table {
		v, ok := f[t.key]
		if !ok {
			continue
		}
		v, err := t.convert(t.key, v)
		if err != nil {
			return err
		}
		fields[t.field] = v
	}
	return nil
}

func (f Fields) has(key string) bool {
	_, ok := f[key]
	return ok
}

func setUnless(fields map[string]any, field, value, same string) {
	if value != same {
		fields[field] = value
	}
}

func toText(_ string, v any) (any, error) { return printed(v), nil }

func toInt(key string, v any) (any, error) {
	n, err := strconv.ParseInt(strip(printed(v)), 10, 64)
	if err != nil {
		return nil, &ConversionError{key, printed(v), "int"}
	}
	return n, nil
}

func toFloat(key string, v any) (any, error) {
	n, err := strconv.ParseFloat(strip(printed(v)), 64)
	if err != nil {
		return nil, &ConversionError{key, printed(v), "float"}
	}
	return n, nil
}
