package gate

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Hosts refuses requests for other hosts than this machine and the names of
// extra, where "*" stands for all. To a server on a loopback address such a request
// comes from a proxy, whose name belongs into extra, or from a web page whose owner
// lets the page's own name mean this machine, to reach the servers of its visitors
// (DNS rebinding).
func Hosts(extra []string, refuse Refuse) Middleware {
	machine, _ := os.Hostname() // without a name it is reached by localhost
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !hostAllowed(r.Host, machine, extra) {
				refuse(w, r, http.StatusForbidden, "This server does not answer for the host "+r.Host+"; ALLOWED_HOSTS allows it")
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// hostAllowed judges a Host header.
func hostAllowed(host, machine string, extra []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || host == strings.ToLower(machine) {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil { // an address means itself, whoever owns the page
		return true
	}
	return slices.ContainsFunc(extra, func(allowed string) bool { return allowed == "*" || strings.EqualFold(allowed, host) })
}
