// Package schema declares the request models of the A1111 API once, as tables,
// and reads request bodies by them in the way of pydantic v1: its coercions,
// its defaults, its lists of errors. The OpenAPI document comes from the same
// tables.
package schema

import (
	"fmt"
	"strconv"
	"strings"

	"sdworker/api/sdapi/pyjson"
)

// Kind is the type of a field.
type Kind int

// Kinds of fields.
const (
	Integer Kind = iota // int64 or *big.Int
	Number              // float64; a default may be int64 and is echoed so
	String
	Boolean
	Array   // []any
	Strings // []any of string
	Models  // []any of *pyjson.Object, each read by Field.Item
	Dict    // *pyjson.Object
	Any
)

// Field is one field of a request model.
type Field struct {
	Name     string
	Kind     Kind
	Default  any  // as it is echoed
	Nullable bool // null is kept; otherwise it is an error
	Required bool // no default

	// Bounds of a number, nil for none. Permitted lists the only values of an
	// Integer that is read without coercion.
	GE, LE, GT any
	Permitted  []int64

	Item *Model // model of the elements of Models

	// Doc makes the field a flag of worker generate and is its help, to which the
	// default is added. Flag is the flag's name where that is not the field's, and
	// Switch makes one without a value of an Integer that is 0 or 1.
	Doc    string
	Flag   string
	Switch bool
}

// Model is one request body, its fields in the order in which they are echoed
// and in which errors are listed.
type Model struct {
	Name   string
	Fields []Field
}

// Values is a body that was read: every field of its model in order, and which
// of them the client gave.
type Values struct {
	*pyjson.Object
	given map[string]bool
}

// Given reports whether the client sent the field.
func (v Values) Given(name string) bool { return v.given[name] }

// Read checks body against the model. Keys that the model does not know are
// ignored. An error is of type Errors.
func (m *Model) Read(body any) (Values, error) {
	object, ok := toDict(body)
	if !ok {
		return Values{}, Errors{fault(errDict)}.at("body")
	}
	v, errs := m.read(object)
	if len(errs) > 0 {
		return Values{}, errs.at("body")
	}
	return v, nil
}

func (m *Model) read(object *pyjson.Object) (Values, Errors) {
	v := Values{Object: pyjson.NewObject(), given: make(map[string]bool)}
	var errs Errors
	for i := range m.Fields {
		f := &m.Fields[i]
		raw, ok := object.Get(f.Name)
		if !ok {
			if f.Required {
				errs = append(errs, fault(errMissing).under(f.Name))
			}
			v.Set(f.Name, f.Default)
			continue
		}
		v.given[f.Name] = true
		value, bad := f.Coerce(raw)
		errs = append(errs, bad.at(f.Name)...)
		v.Set(f.Name, value)
	}
	return v, errs
}

// Coerce turns a JSON value into the type of the field, or says what is wrong with it.
func (f *Field) Coerce(raw any) (any, Errors) {
	if raw == nil && f.Kind != Any {
		if f.Nullable {
			return nil, nil
		}
		return nil, Errors{fault(errNone)}
	}
	if f.Permitted != nil {
		return f.literal(raw)
	}
	var (
		value any
		ok    bool
		kind  errorKind
	)
	switch f.Kind {
	case Integer:
		value, ok = toInt(raw)
		kind = errInteger
	case Number:
		value, ok = toFloat(raw)
		kind = errFloat
	case String:
		value, ok = toString(raw)
		kind = errString
	case Boolean:
		value, ok = toBool(raw)
		kind = errBool
	case Dict:
		value, ok = toDict(raw)
		kind = errDict
	case Array, Strings, Models:
		value, ok = raw.([]any)
		kind = errList
	default:
		return raw, nil
	}
	if !ok {
		return nil, Errors{fault(kind)}
	}
	if f.Kind == Strings || f.Kind == Models {
		return f.elements(value.([]any))
	}
	if e := f.bounds(value); e != nil {
		return nil, Errors{*e}
	}
	return value, nil
}

// literal reads a field of few permitted values. Python compares 1, 1.0 and
// True as equal.
func (f *Field) literal(raw any) (any, Errors) {
	if n, ok := toNumber(raw); ok {
		for _, p := range f.Permitted {
			if n == float64(p) {
				return p, nil
			}
		}
	}
	e := fault(errConst)
	texts := make([]string, len(f.Permitted))
	for i, p := range f.Permitted {
		texts[i] = strconv.FormatInt(p, 10)
	}
	e.Msg = "unexpected value; permitted: " + strings.Join(texts, ", ")
	e.Ctx = pyjson.NewObject("given", raw, "permitted", f.Permitted)
	return nil, Errors{e}
}

func (f *Field) elements(list []any) (any, Errors) {
	out := make([]any, len(list))
	var errs Errors
	for i, raw := range list {
		var bad Errors
		switch {
		case raw == nil:
			bad = Errors{fault(errNone)}
		case f.Kind == Strings:
			s, ok := toString(raw)
			if !ok {
				bad = Errors{fault(errString)}
			}
			out[i] = s
		default:
			object, ok := toDict(raw)
			if !ok {
				bad = Errors{fault(errDict)}
				break
			}
			var v Values
			v, bad = f.Item.read(object)
			out[i] = v.Object
		}
		errs = append(errs, bad.at(int64(i))...)
	}
	return out, errs
}

// bounds checks in pydantic's order; NaN is outside of every bound.
func (f *Field) bounds(value any) *Error {
	n, ok := toNumber(value)
	if !ok {
		return nil
	}
	check := func(limit any, holds func(float64) bool, kind errorKind) *Error {
		if limit == nil {
			return nil
		}
		l, _ := toNumber(limit)
		if holds(l) {
			return nil
		}
		e := fault(kind)
		e.Msg += fmt.Sprint(limit)
		e.Ctx = pyjson.NewObject("limit_value", limit)
		return &e
	}
	if e := check(f.GT, func(l float64) bool { return n > l }, errNotGT); e != nil {
		return e
	}
	if e := check(f.GE, func(l float64) bool { return n >= l }, errNotGE); e != nil {
		return e
	}
	return check(f.LE, func(l float64) bool { return n <= l }, errNotLE)
}
