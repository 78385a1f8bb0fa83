package sdapi

import (
	"math/rand/v2"
	"net/http"
	"time"

	"sdworker/api/gate"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/scripts"
)

// Config is what a Server is made of, beside what makes its pictures.
type Config struct {
	generation.Config

	// Origins are shown among the flags of the command line. Heeding them is the
	// gate's work.
	Origins gate.Origins
	// ServerStop is called by server-kill, server-restart and server-stop; nil
	// leaves these routes out (--api-server-stop).
	ServerStop func()
	// OtherPaths are routes that somebody else serves beside these, as the paths of
	// an OpenAPI document. They are only described.
	OtherPaths map[string]any
}

// Server answers the API. It is safe for concurrent use and must be closed.
type Server struct {
	*generation.Service
	cfg     Config
	routes  []route
	mux     *gate.Mux
	started time.Time
	appID   int64
}

// New reads the options and returns the server.
func New(cfg Config) (*Server, error) {
	cfg.Scripts = scripts.All()
	made, err := generation.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	cfg.Config = made.Config
	s := &Server{Service: made, cfg: cfg, started: cfg.Now(), appID: rand.Int64N(1 << 62)}
	s.routes = s.table()
	s.mux = gate.NewMux(gate.Policy{}, nil, s.Door())
	return s, nil
}

// ServeHTTP answers a request of anyone. Where clients have to be checked, Door
// goes into a gate.Mux instead.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// timedWriter adds X-Process-Time, in seconds, before the header goes out.
type timedWriter struct {
	http.ResponseWriter
	started time.Time
	wrote   bool
}

func (w *timedWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	seconds := time.Since(w.started).Round(100 * time.Microsecond).Seconds()
	w.Header().Set("X-Process-Time", pyjson.Repr(seconds))
	w.ResponseWriter.WriteHeader(status)
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
