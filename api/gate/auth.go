package gate

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
)

// Credentials are what clients may identify themselves with. Without any,
// everyone is let in.
type Credentials struct {
	Users map[string]string // passwords by name, for HTTP Basic (--api-auth of A1111)
	Token string            // bearer token, "" for none
}

// Require lets clients with valid credentials through. The texts of the refusals
// are those of A1111. No reply has WWW-Authenticate, so that browsers do not ask
// for a password.
func (c Credentials) Require(refuse Refuse) Middleware {
	return func(h http.Handler) http.Handler {
		if len(c.Users) == 0 && c.Token == "" {
			return h
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if problem := c.check(r.Header.Get("Authorization")); problem != "" {
				refuse(w, r, http.StatusUnauthorized, problem)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// check says what is wrong with an Authorization header, "" if nothing is.
func (c Credentials) check(header string) (problem string) {
	const missing, invalid, incorrect = "Not authenticated", "Invalid authentication credentials", "Incorrect username or password"
	scheme, param, _ := strings.Cut(header, " ")
	switch {
	case c.Token != "" && strings.EqualFold(scheme, "bearer"):
		if !same(strings.TrimSpace(param), c.Token) {
			return invalid
		}
		return ""
	case len(c.Users) == 0 || !strings.EqualFold(scheme, "basic"):
		return missing
	}
	user, password, ok := decodeBasic(param)
	if !ok {
		return invalid
	}
	if want, known := c.Users[user]; !same(password, want) || !known {
		return incorrect
	}
	return ""
}

// decodeBasic decodes the parameter of Basic as Python's b64decode does, which
// skips characters that are not base64.
func decodeBasic(param string) (user, password string, ok bool) {
	param = strings.Map(func(r rune) rune {
		if r == '+' || r == '/' || r == '=' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return -1
	}, param)
	raw, err := base64.StdEncoding.DecodeString(param)
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
