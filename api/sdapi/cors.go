package sdapi

import (
	"net/http"
	"slices"
	"strings"
)

const (
	corsMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
	corsMaxAge  = "600"
)

// allowedOrigin tells whether pages of an origin may call the API.
func (s *Server) allowedOrigin(origin string) bool {
	return slices.Contains(s.cfg.CORSOrigins, "*") || slices.Contains(s.cfg.CORSOrigins, origin) ||
		s.originPattern != nil && s.originPattern.MatchString(origin)
}

// cors answers preflight requests and marks replies for the allowed origins. It
// reports whether the request is answered.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || len(s.cfg.CORSOrigins) == 0 && s.cfg.CORSOriginPattern == nil {
		return false
	}
	h := w.Header()
	allowed := s.allowedOrigin(origin)
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Add("Vary", "Origin")
	}
	method := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || method == "" {
		return false
	}
	var failures []string
	if !allowed {
		failures = append(failures, "origin")
	}
	if !slices.Contains(strings.Split(corsMethods, ", "), method) {
		failures = append(failures, "method")
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	if len(failures) > 0 {
		write(w, r, http.StatusBadRequest, "text/plain; charset=utf-8", []byte("Disallowed CORS "+strings.Join(failures, ", ")))
		return true
	}
	write(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte("OK"))
	return true
}
