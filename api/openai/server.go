// Package openai answers the routes of OpenAI's image API for tools that speak
// it, by translating them into requests to the A1111 API:
//
//	POST /v1/images/generations   txt2img
//	POST /v1/images/edits         img2img; transparent pixels of the mask are repainted
//	POST /v1/images/variations    img2img of half strength, with the prompt inside the picture
//	GET  /v1/models               checkpoints
//	GET  /v1/models/{model}       one of them
//
// Parameters that OpenAI does not have are passed on, so that steps, seed,
// negative_prompt and all other A1111 fields may stand beside OpenAI's own;
// their defaults are A1111's. The A1111 API is called in memory, and its errors
// come back in OpenAI's shape.
package openai

import (
	"net/http"

	"sdworker/api/a1111"
	"sdworker/api/gate"
	v1 "sdworker/api/v1"
	"sdworker/inference"
)

// Config is what the handler is made of. API and Queue are required.
type Config struct {
	API   a1111.Client
	Queue *inference.Queue // the queue in front of which API stands

	// Preview makes a data URL of a job's live preview, "" for none; nil means that
	// there are no previews.
	Preview func(inference.JobState) (string, error)
}

// Server answers the routes of the package. It is safe for concurrent use.
type Server struct {
	cfg Config
	api v1.API
	mux http.Handler
}

// New returns the server.
func New(cfg Config) *Server {
	if cfg.Preview == nil {
		cfg.Preview = func(inference.JobState) (string, error) { return "", nil }
	}
	s := &Server{cfg: cfg}
	s.api = v1.API{
		Routes: []v1.Route{
			{Method: http.MethodPost, Path: "/v1/images/generations", Handle: s.generate},
			{Method: http.MethodPost, Path: "/v1/images/edits", Handle: s.withPicture(s.edit)},
			{Method: http.MethodPost, Path: "/v1/images/variations", Handle: s.withPicture(s.vary)},
			{Method: http.MethodGet, Path: "/v1/models", Handle: s.models},
			{Method: http.MethodGet, Path: "/v1/models/{model}", Handle: s.model},
		},
		Below:      []string{"/v1/images/", "/v1/models/"},
		Refusal:    refusal,
		WriteError: writeError,
	}
	s.mux = s.api.Handler()
	return s
}

// Door is the server for a gate.Mux, which checks who calls it.
func (s *Server) Door() gate.Door { return s.api.Door() }

// ServeHTTP answers a request of anyone.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// refusal is the error for a request that reaches no route.
func refusal(r *http.Request, status int, message string) error {
	e := &apiError{status: status, Message: message, Type: typeInvalid}
	switch status {
	case http.StatusNotFound:
		e.Message = "there is no " + r.URL.Path + " here"
	case http.StatusMethodNotAllowed:
		e.Message = r.Method + " is not possible here"
	case http.StatusUnauthorized:
		e.Code = text(codeKey)
	}
	return e
}
