package httpd

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"sdworker/api/runpod"
)

// Services are what a server leads to once they are up.
type Services struct {
	Handler http.Handler
	Health  func() runpod.Health
	Hurry   func() // asks the jobs in hand to finish with what they have
}

// Startup answers health checks until the services are up, then forwards to them.
type Startup struct{ services atomic.Pointer[Services] }

// NewStartup returns a handler that says that the model is being fetched.
func NewStartup() *Startup {
	s := new(Startup)
	s.Open(&Services{
		Handler: http.HandlerFunc(whileFetching),
		Health:  func() runpod.Health { return runpod.Loading },
		Hurry:   func() {},
	})
	return s
}

// Open forwards all further requests to services.
func (s *Startup) Open(services *Services) { s.services.Store(services) }

// Health is the health of the services.
func (s *Startup) Health() runpod.Health { return s.services.Load().Health() }

// Hurry asks the jobs in hand to finish with what they have.
func (s *Startup) Hurry() { s.services.Load().Hurry() }

func (s *Startup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.services.Load().Handler.ServeHTTP(w, r)
}

// whileFetching answers as the API does while a model loads: the process is alive
// but not ready, and every other request has to be sent again later.
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
