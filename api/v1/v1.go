// Package v1 is what the APIs below /v1 share: how their routes become a door of
// package gate, and how they describe themselves.
package v1

import (
	"encoding/json"
	"net/http"
	"strings"

	"sdworker/api/gate"
)

// Route is one method of one path.
type Route struct {
	Method, Path string
	// Handle writes the reply only when it returns nil.
	Handle func(w http.ResponseWriter, r *http.Request) error
}

// API is a set of routes whose errors have one shape.
type API struct {
	Routes []Route
	Below  []string // the subtrees that are the API's, see gate.Door
	// Refusal is the error for a request that reaches no route.
	Refusal func(r *http.Request, status int, text string) error
	// WriteError answers with an error, in the shape of the API.
	WriteError func(w http.ResponseWriter, err error)
}

// Door is the API for a gate.Mux. All of its routes are for members.
func (a API) Door() gate.Door {
	d := gate.Door{
		Below: a.Below,
		Refuse: func(w http.ResponseWriter, r *http.Request, status int, text string) {
			a.WriteError(w, a.Refusal(r, status, text))
		},
	}
	d.NotFound = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.Refuse(w, r, http.StatusNotFound, "Not Found")
	})
	for _, rt := range a.Routes {
		d.Routes = append(d.Routes, gate.Route{Method: rt.Method, Path: rt.Path, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := rt.Handle(w, r); err != nil {
				a.WriteError(w, err)
			}
		})})
	}
	d.Routes = gate.Head(d.Routes)
	return d
}

// Handler serves the API to everyone.
func (a API) Handler() http.Handler { return gate.NewMux(gate.Policy{}, nil, a.Door()) }

// Paths reads the paths of an OpenAPI 3.0 document, embedded in the program. A response
// with the key "reply" gets the reply of that name as its content.
func Paths(description string, replies map[string]Reply) map[string]any {
	var paths map[string]any
	if err := json.NewDecoder(strings.NewReader(description)).Decode(&paths); err != nil {
		panic(err) // a mistake in the program
	}
	addReplies(paths, replies)
	return wholeNumbers(paths).(map[string]any)
}
