package sdapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
)

// authorize checks the credentials of a request, as --api-auth of A1111 does for
// Basic. It never asks with WWW-Authenticate, so that browsers do not prompt.
func (s *Server) authorize(r *http.Request) error {
	if len(s.cfg.Users) == 0 && s.cfg.Token == "" {
		return nil
	}
	scheme, param, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if s.cfg.Token != "" && strings.EqualFold(scheme, "bearer") {
		if same(strings.TrimSpace(param), s.cfg.Token) {
			return nil
		}
		return refuse(http.StatusUnauthorized, "Invalid authentication credentials")
	}
	if len(s.cfg.Users) == 0 || !strings.EqualFold(scheme, "basic") {
		return refuse(http.StatusUnauthorized, "Not authenticated")
	}
	user, password, ok := basic(param)
	if !ok {
		return refuse(http.StatusUnauthorized, "Invalid authentication credentials")
	}
	want, known := s.cfg.Users[user]
	if same(password, want) && known {
		return nil
	}
	return refuse(http.StatusUnauthorized, "Incorrect username or password")
}

// basic decodes the parameter of Basic as Python's b64decode does, which passes
// over characters that are not base64.
func basic(param string) (user, password string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(keepBase64(param))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(raw), ":")
}

// same compares secrets in a time that tells nothing about them.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
