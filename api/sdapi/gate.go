package sdapi

import (
	"net/http"
)

// Guard serves h to those whom the members' routes of the API are open to, with
// the same headers for other origins and the same limit of the body.
func (s *Server) Guard(h http.Handler) http.Handler {
	return s.gate(func(w http.ResponseWriter, r *http.Request) error {
		if err := s.authorize(r); err != nil {
			return err
		}
		h.ServeHTTP(w, r)
		return nil
	})
}

// gate is what every request passes: the limit of its body, CORS, and a look at
// where a browser sends it from.
func (s *Server) gate(next handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
		}
		if s.cors(w, r) {
			return
		}
		err := s.checkOrigin(r)
		if err == nil {
			err = next(w, r)
		}
		if err != nil {
			s.writeError(w, r, err)
		}
	})
}

// crossOrigin finds by Sec-Fetch-Site and Origin, which browsers send and other
// clients do not, that the page of another site sends a request.
var crossOrigin = http.NewCrossOriginProtection()

// checkOrigin refuses what the page of another site sends without being one of the
// allowed origins: browsers send simple forms anywhere, with the cookies and from the
// network of their user.
func (s *Server) checkOrigin(r *http.Request) error {
	if crossOrigin.Check(r) == nil || s.allowedOrigin(r.Header.Get("Origin")) {
		return nil
	}
	return refuse(http.StatusForbidden, "Requests from pages of other sites are refused; CORS_ALLOW_ORIGINS allows some")
}
