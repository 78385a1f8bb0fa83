// Package openai answers the routes of OpenAI's image API for tools that speak
// it, by translating them into requests to the A1111 API:
//
//	POST /v1/images/generations   txt2img
//	POST /v1/images/edits         img2img; transparent pixels of the mask are repainted
//	GET  /v1/models               checkpoints
//	GET  /v1/models/{model}       one of them
//
// Parameters that OpenAI does not have are passed on, so that steps, seed,
// negative_prompt and all other A1111 fields may stand beside OpenAI's own;
// their defaults are A1111's. The A1111 API is called in memory with the
// client's credentials, and its errors come back in OpenAI's shape.
package openai

import (
	"net/http"
	"strings"
	"time"
)

// Config is what the handler is made of. API is required.
type Config struct {
	API http.Handler // the A1111 API

	// Poll is the time between looks at the progress of a streamed request; 0
	// means DefaultPoll.
	Poll time.Duration
}

// DefaultPoll is the default of Config.Poll.
const DefaultPoll = 100 * time.Millisecond

// New returns the handler. Origins and the size of bodies are checked by whoever
// mounts it, credentials by the A1111 API.
func New(cfg Config) http.Handler {
	if cfg.Poll == 0 {
		cfg.Poll = DefaultPoll
	}
	s := &server{cfg}
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range s.routes() {
		methods[rt.path] = append(methods[rt.path], rt.method)
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			if err := rt.handle(w, r); err != nil {
				writeError(w, err)
			}
		})
	}
	for path, allowed := range methods {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeError(w, &apiError{status: http.StatusMethodNotAllowed, Message: r.Method + " is not possible here", Type: typeInvalid})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &apiError{status: http.StatusNotFound, Message: "there is no " + r.URL.Path + " here", Type: typeInvalid})
	})
	return mux
}

type server struct{ cfg Config }

// route is one method of one path.
type route struct {
	method, path string
	handle       func(w http.ResponseWriter, r *http.Request) error
}

func (s *server) routes() []route {
	return []route{
		{http.MethodPost, "/v1/images/generations", s.generate},
		{http.MethodPost, "/v1/images/edits", s.edit},
		{http.MethodGet, "/v1/models", s.models},
		{http.MethodGet, "/v1/models/{model}", s.model},
	}
}
