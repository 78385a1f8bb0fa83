// Package request reads the fields of a body that its schema has checked.
package request

import (
	"math/big"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

// Fields reads a checked body. The first value that the original would stumble
// over is kept in Err.
type Fields struct {
	schema.Values
	Err error
}

func (f *Fields) fail(err error) {
	if f.Err == nil {
		f.Err = err
	}
}

// Number reads a field that the pipeline computes with.
func (f *Fields) Number(name string) float64 {
	v := f.MaybeNumber(name)
	if v == nil {
		f.fail(exception.Crash("TypeError", "%s must be a number, not null", name))
		return 0
	}
	return *v
}

// MaybeNumber is nil for null.
func (f *Fields) MaybeNumber(name string) *float64 {
	v, _ := f.Get(name)
	var out float64
	switch v := v.(type) {
	case float64:
		out = v
	case int64:
		out = float64(v)
	default:
		return nil
	}
	return &out
}

// Whole reads an integer that the pipeline computes with.
func (f *Fields) Whole(name string) int {
	v := f.MaybeWhole(name)
	if v == nil {
		f.fail(exception.Crash("TypeError", "%s must be an integer, not null", name))
		return 0
	}
	return int(*v)
}

// WholeOr is Whole with a value for null.
func (f *Fields) WholeOr(name string, def int) int {
	if v := f.MaybeWhole(name); v != nil {
		return int(*v)
	}
	return def
}

// MaybeWhole is nil for null.
func (f *Fields) MaybeWhole(name string) *int64 {
	v, _ := f.Get(name)
	switch v := v.(type) {
	case int64:
		return &v
	case *big.Int:
		f.fail(exception.Crash("OverflowError", "%s is too large", name))
		return new(int64)
	}
	return nil
}

// Text reads a string; null is "".
func (f *Fields) Text(name string) string {
	v, _ := f.Get(name)
	s, _ := v.(string)
	return s
}

// MaybeText is nil for null.
func (f *Fields) MaybeText(name string) *string {
	v, _ := f.Get(name)
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

// Flag reads a boolean; null is def.
func (f *Fields) Flag(name string, def bool) bool {
	v, _ := f.Get(name)
	if b, ok := v.(bool); ok {
		return b
	}
	return def
}

// List reads an array; null is empty.
func (f *Fields) List(name string) []any {
	v, _ := f.Get(name)
	list, _ := v.([]any)
	return list
}

// Texts reads an array of strings; null is empty.
func (f *Fields) Texts(name string) []string {
	out := []string{}
	for _, v := range f.List(name) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Dict reads a dict; null is nil.
func (f *Fields) Dict(name string) *pyjson.Object {
	v, _ := f.Get(name)
	o, _ := v.(*pyjson.Object)
	return o
}

// SetOption puts an option into the overrides.
func (f *Fields) SetOption(name string, value any) {
	o := f.Dict("override_settings")
	if o == nil {
		o = pyjson.NewObject()
		f.Set("override_settings", o)
	}
	o.Set(name, value)
}
