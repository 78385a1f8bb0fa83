package sdapi

import (
	"net/http"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

// handler answers one route. It writes the reply only when it returns nil.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one method of one path.
type route struct {
	method, path string
	handle       handler
	access       access
	body         *schema.Model // of the OpenAPI document; nil for none
	query        []schema.Field
	summary      string
	hidden       bool // left out of the OpenAPI document
}

// access says who may call a route.
type access int

const (
	members access = iota // those whom Users or Token let in
	guests                // everyone under Users, as in A1111; Token and AuthAll count
	anyone                // health checks
)

// routes finds routes by path; within one path in the order of the table.
type routes struct {
	list   []route
	byPath map[string][]*route
}

func newRoutes(list []route) routes {
	rs := routes{list: list, byPath: make(map[string][]*route)}
	for i := range list {
		rs.byPath[list[i].path] = append(rs.byPath[list[i].path], &list[i])
	}
	return rs
}

// route finds the handler of a request and runs it.
func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Path
	found := s.routes.byPath[path]
	if found == nil {
		return s.elsewhere(w, r)
	}
	for _, rt := range found {
		if rt.method != r.Method {
			continue
		}
		if rt.access == members || rt.access == guests && (s.cfg.Token != "" || s.cfg.AuthAll) {
			if err := s.authorize(r); err != nil {
				return err
			}
		}
		return rt.handle(w, r)
	}
	return &plainError{
		status: http.StatusMethodNotAllowed, text: "Method Not Allowed",
		header: http.Header{"Allow": {found[0].method}},
	}
}

// elsewhere sends a path with a slash too many or too few to the right place.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) error {
	path, slash := strings.CutSuffix(r.URL.Path, "/")
	if !slash {
		path += "/"
	}
	if path != "" && s.routes.byPath[path] != nil {
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
	return &plainError{status: http.StatusNotFound, text: "Not Found"}
}

// answer is a handler that always sends the same value.
func (s *Server) answer(v any) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.writeJSON(w, r, http.StatusOK, v)
		return nil
	}
}

// value is a handler that sends what f returns.
func (s *Server) value(f func(r *http.Request) (any, error)) handler {
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
