package schema

import (
	"errors"
	"fmt"
	"slices"

	"sdworker/api/sdapi/pyjson"
)

// Error is one entry of the detail list of a 422 reply.
type Error struct {
	Loc  []any // "body" or "query", then field names and list indexes
	Msg  string
	Type string
	Ctx  *pyjson.Object // nil for none
}

// Errors is the detail list of a 422 reply.
type Errors []Error

func (e Errors) Error() string {
	if len(e) == 0 {
		return "no validation error"
	}
	return fmt.Sprintf("%v: %s", e[0].Loc, e[0].Msg)
}

// JSON returns the list as it is sent.
func (e Errors) JSON() []any {
	list := make([]any, len(e))
	for i, item := range e {
		o := pyjson.NewObject("loc", item.Loc, "msg", item.Msg, "type", item.Type)
		if item.Ctx != nil {
			o.Set("ctx", item.Ctx)
		}
		list[i] = o
	}
	return list
}

// Under puts every error below the given places, the outermost first.
func (e Errors) Under(places ...any) Errors {
	for _, place := range slices.Backward(places) {
		e = e.at(place)
	}
	return e
}

// at puts every error below a field or an index.
func (e Errors) at(place any) Errors {
	for i := range e {
		e[i] = e[i].under(place)
	}
	return e
}

func (e Error) under(place any) Error {
	e.Loc = append([]any{place}, e.Loc...)
	return e
}

// errorKind is a message of pydantic v1 with its type name.
type errorKind struct{ msg, name string }

var (
	errInteger = errorKind{"value is not a valid integer", "type_error.integer"}
	errFloat   = errorKind{"value is not a valid float", "type_error.float"}
	errString  = errorKind{"str type expected", "type_error.str"}
	errBool    = errorKind{"value could not be parsed to a boolean", "type_error.bool"}
	errList    = errorKind{"value is not a valid list", "type_error.list"}
	errDict    = errorKind{"value is not a valid dict", "type_error.dict"}
	errNone    = errorKind{"none is not an allowed value", "type_error.none.not_allowed"}
	errMissing = errorKind{"field required", "value_error.missing"}
	errConst   = errorKind{"", "value_error.const"}
	errNotGT   = errorKind{"ensure this value is greater than ", "value_error.number.not_gt"}
	errNotGE   = errorKind{"ensure this value is greater than or equal to ", "value_error.number.not_ge"}
	errNotLE   = errorKind{"ensure this value is less than or equal to ", "value_error.number.not_le"}
)

func fault(k errorKind) Error { return Error{Loc: []any{}, Msg: k.msg, Type: k.name} }

// MissingBody is the reply to a request without a body.
func MissingBody() Errors { return Errors{fault(errMissing)}.at("body") }

// FromSyntax turns an error of pyjson.Decode into the reply that FastAPI gives.
// It reports false for an error that has no such reply.
func FromSyntax(err error) (Errors, bool) {
	var s *pyjson.SyntaxError
	if !errors.As(err, &s) {
		return nil, false
	}
	return Errors{{
		Loc:  []any{"body", s.Pos},
		Msg:  s.Error(),
		Type: "value_error.jsondecode",
		Ctx:  pyjson.NewObject("msg", s.Msg, "doc", s.Doc, "pos", s.Pos, "lineno", s.Line, "colno", s.Column),
	}}, true
}

// QueryBool reads a boolean query parameter; an empty list of values gives def.
func QueryBool(name string, values []string, def bool) (bool, error) {
	if len(values) == 0 {
		return def, nil
	}
	b, ok := toBool(values[len(values)-1])
	if !ok {
		return false, Errors{fault(errBool).under(name).under("query")}
	}
	return b, nil
}

// ReadDict takes a body that may be any object.
func ReadDict(body any) (*pyjson.Object, error) {
	o, ok := toDict(body)
	if !ok {
		return nil, Errors{fault(errDict)}.at("body")
	}
	return o, nil
}
