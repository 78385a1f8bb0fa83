package sdapi

import (
	"math/big"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

// fields reads a checked body. The first value that the original would stumble
// over is kept in err.
type fields struct {
	schema.Values
	err error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// number reads a field that the pipeline computes with.
func (f *fields) number(name string) float64 {
	v := f.maybeNumber(name)
	if v == nil {
		f.fail(crash("TypeError", "%s must be a number, not null", name))
		return 0
	}
	return *v
}

// maybeNumber is nil for null.
func (f *fields) maybeNumber(name string) *float64 {
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

// whole reads an integer that the pipeline computes with.
func (f *fields) whole(name string) int {
	v := f.maybeWhole(name)
	if v == nil {
		f.fail(crash("TypeError", "%s must be an integer, not null", name))
		return 0
	}
	return int(*v)
}

// wholeOr is whole with a value for null.
func (f *fields) wholeOr(name string, def int) int {
	if v := f.maybeWhole(name); v != nil {
		return int(*v)
	}
	return def
}

// maybeWhole is nil for null.
func (f *fields) maybeWhole(name string) *int64 {
	v, _ := f.Get(name)
	switch v := v.(type) {
	case int64:
		return &v
	case *big.Int:
		f.fail(crash("OverflowError", "%s is too large", name))
		return new(int64)
	}
	return nil
}

// text reads a string; null is "".
func (f *fields) text(name string) string {
	v, _ := f.Get(name)
	s, _ := v.(string)
	return s
}

// maybeText is nil for null.
func (f *fields) maybeText(name string) *string {
	v, _ := f.Get(name)
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

// flag reads a boolean; null is def.
func (f *fields) flag(name string, def bool) bool {
	v, _ := f.Get(name)
	if b, ok := v.(bool); ok {
		return b
	}
	return def
}

// list reads an array; null is empty.
func (f *fields) list(name string) []any {
	v, _ := f.Get(name)
	list, _ := v.([]any)
	return list
}

// texts reads an array of strings; null is empty.
func (f *fields) texts(name string) []string {
	out := []string{}
	for _, v := range f.list(name) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// object reads a dict; null is nil.
func (f *fields) object(name string) *pyjson.Object {
	v, _ := f.Get(name)
	o, _ := v.(*pyjson.Object)
	return o
}
