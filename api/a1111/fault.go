package a1111

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Fault is what an error reply of the API says. Its body has one of three shapes:
// FastAPI's list of fields that do not pass validation, FastAPI's plain detail, and
// A1111's own {error, detail, body, errors}.
type Fault struct { //nolint:errname // the name says more without Error
	Status  int
	Class   string // of the exception; "" in FastAPI's shapes
	Message string // "" when the body has no text
	Fields  []FieldFault
	Body    []byte // as it came
}

// FieldFault is one field that does not pass validation.
type FieldFault struct {
	Path    []string // without FastAPI's leading "body" or "query"; empty for the body itself
	Message string
}

// HTTPException is the Class of errors that A1111 raises on purpose.
const HTTPException = "HTTPException"

// Fault reads an error reply.
func (r *Reply) Fault() *Fault {
	f := &Fault{Status: r.Status, Body: r.Body}
	var body struct {
		Error  string          `json:"error"`
		Detail json.RawMessage `json:"detail"`
		Errors string          `json:"errors"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return f
	}
	f.Class, f.Message = body.Error, body.Errors
	var list []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	var detail string
	switch {
	case json.Unmarshal(body.Detail, &list) == nil:
		for _, entry := range list {
			f.Fields = append(f.Fields, FieldFault{path(entry.Loc), entry.Msg})
		}
	case json.Unmarshal(body.Detail, &detail) == nil && detail != "":
		f.Message = detail
	}
	return f
}

// OfRequest tells whether the request is to blame: a status says so, or the exception of
// Python that a value leads to in A1111, which answers with 500 then.
func (f *Fault) OfRequest() bool {
	switch f.Class {
	case "ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "AssertionError", "OverflowError", "ZeroDivisionError":
		return true
	}
	return f.Status < http.StatusInternalServerError
}

// path is a location of pydantic's without where the field was sent.
func path(loc []any) []string {
	var parts []string
	for i, l := range loc {
		if i > 0 || l != "body" && l != "query" {
			parts = append(parts, fmt.Sprint(l))
		}
	}
	return parts
}

// Error is all that the fault says, in one line.
func (f *Fault) Error() string {
	if f.Fields != nil {
		texts := make([]string, len(f.Fields))
		for i, field := range f.Fields {
			texts[i] = field.Message
			if field.Path != nil {
				texts[i] = strings.Join(field.Path, ".") + ": " + field.Message
			}
		}
		return strings.Join(texts, "; ")
	}
	if f.Message != "" {
		return f.Message
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP status %d (%s): %s", f.Status, http.StatusText(f.Status), bytes.TrimSpace(f.Body)))
}
