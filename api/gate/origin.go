package gate

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Origins are the web origins, such as https://ui.example, whose pages may call
// the API beside the server's own (--cors-allow-origins and
// --cors-allow-origins-regex of A1111).
type Origins struct {
	List    []string       // "*" stands for all
	Pattern *regexp.Regexp // must match the whole of an origin; nil for none
}

func (o Origins) empty() bool { return len(o.List) == 0 && o.Pattern == nil }

// allow returns the test of an origin.
func (o Origins) allow() func(origin string) bool {
	var whole *regexp.Regexp
	if o.Pattern != nil {
		whole = regexp.MustCompile(`^(?:` + o.Pattern.String() + `)$`)
	}
	return func(origin string) bool {
		return slices.Contains(o.List, "*") || slices.Contains(o.List, origin) || whole != nil && whole.MatchString(origin)
	}
}

const (
	corsMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
	corsMaxAge  = "600" // seconds
)

// CORS answers the preflight requests of browsers and lets the pages of the
// origins read the replies, as A1111's server does.
func (o Origins) CORS() Middleware {
	allow := o.allow()
	return func(h http.Handler) http.Handler {
		if o.empty() {
			return h
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
			allowed := origin != "" && allow(origin)
			if allowed {
				w.Header().Set("Access-Control-Allow-Origin", origin)
				w.Header().Set("Access-Control-Allow-Credentials", "true")
				w.Header().Add("Vary", "Origin")
			}
			if origin != "" && method != "" && r.Method == http.MethodOptions {
				preflight(w, r, method, allowed)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// preflight tells a browser whether its page may send a request of the method.
func preflight(w http.ResponseWriter, r *http.Request, method string, allowed bool) {
	var failures []string
	if !allowed {
		failures = append(failures, "origin")
	}
	if !slices.Contains(strings.Split(corsMethods, ", "), method) {
		failures = append(failures, "method")
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	status, text := http.StatusOK, "OK"
	if len(failures) > 0 {
		status, text = http.StatusBadRequest, "Disallowed CORS "+strings.Join(failures, ", ")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that went away is not our error
}

// Protect refuses requests that change something and that a browser sends for
// the page of another site, unless the site is one of the origins. Browsers send
// simple forms anywhere, with the cookies and from the network of their user, and
// they tell by Sec-Fetch-Site and Origin where a request comes from. Clients that
// are no browsers send neither header and pass.
func (o Origins) Protect(refuse Refuse) Middleware {
	allow := o.allow()
	return func(h http.Handler) http.Handler {
		protection := http.NewCrossOriginProtection()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if protection.Check(r) != nil && !allow(r.Header.Get("Origin")) {
				refuse(w, r, http.StatusForbidden, "Requests from pages of other sites are refused; CORS_ALLOW_ORIGINS allows some")
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}
