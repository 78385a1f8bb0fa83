package runpod

import "net/http"

// Health is what a worker behind a load-balancing endpoint tells about itself.
type Health int

// States of a worker; the time from Loading to Ready is what RunPod reports as
// the cold start.
const (
	Loading   Health = iota // 204: alive, not yet able to work
	Ready                   // 200
	Unhealthy               // 503: replace this worker
)

// Ping answers the health checks of RunPod's load-balancing endpoints, which ask
// GET /ping on PORT_HEALTH (default PORT).
func Ping(state func() Health) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		switch state() {
		case Loading:
			w.WriteHeader(http.StatusNoContent)
		case Ready:
			w.WriteHeader(http.StatusOK)
		case Unhealthy:
			http.Error(w, "unhealthy", http.StatusServiceUnavailable)
		}
	})
}

// Balanced serves api with Ping at /ping.
func Balanced(api http.Handler, state func() Health) http.Handler {
	ping := Ping(state)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ping" {
			ping.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}
