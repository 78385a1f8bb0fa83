package main

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"sdworker/api/runpod"
)

// doors is what a listening server needs to know.
type doors struct {
	handler http.Handler
	health  func() runpod.Health
	hurry   func() // asks the jobs in hand to finish with what they have
}

// front is what a port leads to: first to nothing but health checks, then to doors.
type front struct{ behind atomic.Pointer[doors] }

// newFront returns a front that says that the model is being fetched.
func newFront() *front {
	f := new(front)
	f.open(&doors{
		handler: http.HandlerFunc(whileFetching),
		health:  func() runpod.Health { return runpod.Loading },
		hurry:   func() {},
	})
	return f
}

func (f *front) open(d *doors) { f.behind.Store(d) }

func (f *front) health() runpod.Health { return f.behind.Load().health() }

func (f *front) hurry() { f.behind.Load().hurry() }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.behind.Load().handler.ServeHTTP(w, r)
}

// whileFetching answers as the API does while a model loads: it is alive, not ready,
// and everything else has to be asked for later.
func whileFetching(w http.ResponseWriter, r *http.Request) {
	status, reply := http.StatusServiceUnavailable, map[string]any{"status": "fetching", "checkpoint": nil}
	switch r.URL.Path {
	case "/healthz":
		status, reply = http.StatusOK, map[string]any{"status": "ok"}
	case "/readyz":
	default:
		w.Header().Set("Retry-After", "10")
		reply = map[string]any{"error": "Starting", "detail": "", "body": "", "errors": "the model is being fetched, try again later"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply) // a client that went away is not our error
}
