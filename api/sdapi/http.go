package sdapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/gate"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

// route is one method of one path.
type route struct {
	method, path string
	handle       fastapi.Handler
	access       gate.Access
	body         *schema.Model // of the OpenAPI document; nil for none
	query        []schema.Field
	summary      string
	also         string // a status other than 200 whose reply has the same shape
	hidden       bool   // left out of the OpenAPI document
}

// Door is the API for a gate.Mux, which checks who calls it.
func (s *Server) Door() gate.Door {
	d := gate.Door{Below: []string{"/"}, NotFound: s.handler(s.elsewhere), Refuse: s.Refuse}
	for i := range s.routes {
		rt := &s.routes[i]
		path := rt.path
		if strings.HasSuffix(path, "/") {
			path += "{$}"
		}
		d.Routes = append(d.Routes, gate.Route{Method: rt.method, Path: path, Access: rt.access, Handler: s.handler(rt.handle)})
	}
	return d
}

// Refuse answers a request that does not reach a handler, as A1111 does.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.handler(func(w http.ResponseWriter, _ *http.Request) error {
		if status != http.StatusMethodNotAllowed {
			return exception.Refuse(status, "%s", text)
		}
		first, _, _ := strings.Cut(w.Header().Get("Allow"), ",") // A1111's router looks no further
		w.Header().Set("Allow", first)
		return &fastapi.Error{Status: status, Text: text}
	}).ServeHTTP(w, r)
}

// handler runs h with what all routes have: the time of the reply, a logger in the
// context, A1111's answer to errors, and to a panic its answer to an unexpected
// exception.
func (s *Server) handler(h fastapi.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &timedWriter{ResponseWriter: w, started: time.Now()}
		r = r.WithContext(s.cfg.Log.WithContext(r.Context()))
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.cfg.Log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("path", r.URL.Path).Msg("a handler panicked")
				s.writeError(w, r, fmt.Errorf("panic: %v", p))
			}
		}()
		if err := h(w, r); err != nil {
			s.writeError(w, r, err)
		}
	})
}

// elsewhere redirects a path with one slash too many or too few.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) error {
	path, slash := strings.CutSuffix(r.URL.Path, "/")
	if !slash {
		path += "/"
	}
	if path != "" && s.knows(path) {
		target := *r.URL
		target.Path, target.RawPath = path, ""
		if r.Host != "" && !strings.HasPrefix(path, "//") {
			target.Scheme, target.Host = "http", r.Host
			if r.TLS != nil {
				target.Scheme = "https"
			}
		}
		w.Header().Set("Location", target.String())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	}
	return &fastapi.Error{Status: http.StatusNotFound, Text: "Not Found"}
}

// knows tells whether there is a route at a path.
func (s *Server) knows(path string) bool {
	return slices.ContainsFunc(s.routes, func(rt route) bool { return rt.path == path })
}

// answer is a handler that always sends the same value.
func (s *Server) answer(v any) fastapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.writeJSON(w, r, http.StatusOK, v)
		return nil
	}
}

// value is a handler that sends what f returns.
func (s *Server) value(f func(r *http.Request) (any, error)) fastapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := f(r)
		if err != nil {
			return err
		}
		s.writeJSON(w, r, http.StatusOK, v)
		return nil
	}
}

// empty is the reply {}.
var empty = pyjson.NewObject()

// writeJSON sends v as FastAPI would.
func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := pyjson.Marshal(v, pyjson.Compact)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	fastapi.Write(w, r, status, "application/json", body)
}

// text is a handler for a fixed text.
func text(contentType, body string) fastapi.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		fastapi.Write(w, r, http.StatusOK, contentType, []byte(body))
		return nil
	}
}

// writeError is the only place that picks a status and writes an error.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var (
		invalid schema.Errors
		plain   *fastapi.Error
		syntax  *pyjson.SyntaxError
	)
	switch {
	case errors.As(err, &invalid):
		s.writeJSON(w, r, http.StatusUnprocessableEntity, pyjson.NewObject("detail", invalid.JSON()))
		return
	case errors.As(err, &syntax):
		list, _ := schema.FromSyntax(err)
		s.writeJSON(w, r, http.StatusUnprocessableEntity, pyjson.NewObject("detail", list.JSON()))
		return
	case errors.As(err, &plain):
		maps.Copy(w.Header(), plain.Header)
		s.writeJSON(w, r, plain.Status, pyjson.NewObject("detail", plain.Text))
		return
	}
	reply := exception.AsReply(r.Context(), err)
	if reply.Cause != nil && reply.Status == http.StatusInternalServerError && r.Context().Err() == nil {
		zerolog.Ctx(r.Context()).Error().Err(err).Str("path", r.URL.Path).Msg("request failed")
	}
	maps.Copy(w.Header(), reply.Header)
	s.writeJSON(w, r, reply.Status, reply.Body())
}
