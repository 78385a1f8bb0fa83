package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// localHosts refuses requests for names that are not of this machine. On a loopback
// address such a name can only be a proxy's, which extra lists, or that of a web page
// which makes its name mean this machine to reach servers of its visitors (DNS
// rebinding).
func localHosts(h http.Handler, extra []string) http.Handler {
	machine, _ := os.Hostname() // "" is no name of a request
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLocalHost(r.Host, machine, extra) {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]string{ // a client that went away is not our error
			"error": "HTTPException", "detail": "This server is not asked for by the name " + r.Host + "; ALLOWED_HOSTS allows it", "body": "", "errors": "",
		})
	})
}

// isLocalHost judges a Host header.
func isLocalHost(host, machine string, extra []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || host == strings.ToLower(machine) {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil { // a page cannot have an address for its name and mean another one
		return true
	}
	return slices.ContainsFunc(extra, func(allowed string) bool { return allowed == "*" || strings.EqualFold(allowed, host) })
}
