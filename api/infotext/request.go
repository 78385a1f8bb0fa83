package infotext

import (
	"fmt"
	"slices"
	"strconv"

	"sdworker/inference/sampler"
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

// bothRoutes are what image-to-image requests take over as well.
var bothRoutes = []target{
	{"Steps", "steps", toInt},
	{"Seed", "seed", toInt},
	{"Variation seed", "subseed", toInt},
	{"Variation seed strength", "subseed_strength", toFloat},
	// A1111 exchanges these two by mistake.
	{"Seed resize from-1", "seed_resize_from_w", toInt},
	{"Seed resize from-2", "seed_resize_from_h", toInt},
	{"Refiner", "refiner_checkpoint", toText},
	{"Refiner switch at", "refiner_switch_at", toFloat},
}

var txt2imgOnly = []target{
	{"Prompt", "prompt", toText},
	{"Negative prompt", "negative_prompt", toText},
	{"CFG scale", "cfg_scale", toFloat},
	{"Size-1", "width", toInt},
	{"Size-2", "height", toInt},
	{"Batch size", "batch_size", toInt},
	{"Denoising strength", "denoising_strength", toFloat},
	{"Hires upscale", "hr_scale", toFloat},
	{"Hires upscaler", "hr_upscaler", toText},
	{"Hires steps", "hr_second_pass_steps", toInt},
	{"Hires resize-1", "hr_resize_x", toInt},
	{"Hires resize-2", "hr_resize_y", toInt},
	{"Hires prompt", "hr_prompt", toText},
	{"Hires negative prompt", "hr_negative_prompt", toText},
}

// Txt2Img maps the text to a text-to-image request. The caller keeps what the
// request itself sets. An error is a *ConversionError.
func (f Fields) Txt2Img(current Options) (Paste, error) {
	p, err := f.paste(current, bothRoutes, txt2imgOnly)
	if err != nil {
		return Paste{}, err
	}
	if styles, ok := f["Styles array"].([]string); ok {
		p.Fields["styles"] = styles
	}
	_, strength := f["Denoising strength"]
	p.Fields["enable_hr"] = strength && (f.has("Hires upscale") || f.has("Hires upscaler") || f.has("Hires resize-1"))
	if name := f.text("Hires checkpoint"); name != sameCheckpoint {
		p.Fields["hr_checkpoint_name"] = name
	}
	name, scheduler := f.hiresSampler()
	setUnless(p.Fields, "hr_sampler_name", name, f.text("Sampler"))
	setUnless(p.Fields, "hr_scheduler", scheduler, f.text("Schedule type"))
	return p, nil
}

// Img2Img maps the text to an image-to-image request, of which A1111 sets little:
// sampler, steps, seeds and refiner, and options.
func (f Fields) Img2Img(current Options) (Paste, error) {
	return f.paste(current, bothRoutes)
}

// maskTexts are the values of keys that A1111's page shows as choices, in their order.
var maskTexts = []struct {
	key, field string
	values     []string
}{
	{"Mask mode", "inpainting_mask_invert", []string{"Inpaint masked", "Inpaint not masked"}},
	{"Masked content", "inpainting_fill", []string{"fill", "original", "latent noise", "latent nothing"}},
}

var maskNumbers = []target{
	{"Mask blur", "mask_blur", toInt},
	{"Masked area padding", "inpaint_full_res_padding", toInt},
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
	for _, t := range maskNumbers {
		if v, ok := f[t.key]; ok {
			if p.Fields[t.field], err = t.convert(t.key, v); err != nil {
				return Paste{}, err
			}
		}
	}
	if area, ok := f["Inpaint area"]; ok {
		p.Fields["inpaint_full_res"] = area == "Only masked"
	}
	for _, t := range maskTexts {
		if i := slices.Index(t.values, f.text(t.key)); i >= 0 {
			p.Fields[t.field] = int64(i)
		}
	}
	return p, nil
}

func (f Fields) paste(current Options, tables ...[]target) (Paste, error) {
	p := Paste{Fields: map[string]any{}, Overrides: map[string]any{}}
	for _, table := range tables {
		for _, t := range table {
			v, ok := f[t.key]
			if !ok {
				continue
			}
			v, err := t.convert(t.key, v)
			if err != nil {
				return Paste{}, err
			}
			p.Fields[t.field] = v
		}
	}
	p.Fields["sampler_name"], p.Fields["scheduler"] = splitSampler(f.text("Sampler"), f.text("Schedule type"))
	return p, f.overrides(p.Overrides, current)
}

// Values that stand for "as in the first pass".
const (
	sameSampler    = "Use same sampler"
	sameScheduler  = "Use same scheduler"
	sameCheckpoint = "Use same checkpoint"
)

func (f Fields) hiresSampler() (name, scheduler string) {
	name, scheduler = f.text("Hires sampler"), f.text("Hires schedule type")
	if name == sameSampler {
		name = f.text("Sampler")
	}
	if scheduler == sameScheduler {
		scheduler = f.text("Schedule type")
	}
	return splitSampler(name, scheduler)
}

// splitSampler gives the names of today for a sampler that may carry its
// scheduler, as before v1.9. A name with a scheduler wins over the key, a
// scheduler that is the sampler's own is Automatic, and an unknown sampler is the
// first one.
func splitSampler(name, scheduler string) (samplerName, label string) {
	info, err := sampler.Find(name)
	if err != nil {
		return sampler.ParseLegacy(name)
	}
	s, ok := sampler.FindScheduler(scheduler)
	if !ok || s.Name == info.Scheduler {
		return info.Name, sampler.Automatic
	}
	return info.Name, s.Label
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
