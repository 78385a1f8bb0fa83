package jobs

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"sdworker/api/a1111"
	"sdworker/api/gate"
	v1 "sdworker/api/v1"
	"sdworker/fault"
	"sdworker/inference"
)

// Config is what a Server is made of. API and Queue are required; for the rest
// zero means the default of the same name.
type Config struct {
	API   a1111.Client
	Queue *inference.Queue // the queue in front of which API stands

	Keep       time.Duration // how long an output is kept once its job has ended
	MaxResults int           // ended jobs that are kept
	MaxBytes   int64         // of all outputs together; the newest one is kept whatever its size

	Webhooks Webhooks

	Heartbeat time.Duration // between comments in a quiet event stream

	// Preview makes a data URL of a job's live preview, "" for none; nil means that
	// there are no previews.
	Preview func(inference.JobState) (string, error)
}

// Defaults of Config.
const (
	DefaultKeep       = time.Hour
	DefaultMaxResults = 1000
	DefaultMaxBytes   = 512 << 20
	DefaultHeartbeat  = 15 * time.Second
)

// Server answers the routes of the package. It is safe for concurrent use and
// must be closed.
type Server struct {
	cfg   Config
	api   v1.API
	mux   http.Handler
	store store

	hooks   *http.Client
	working sync.WaitGroup // one for every job that has not ended, and for its webhook
	closing chan struct{}  // closed by Close
	close   sync.Once
}

// New returns a server without jobs.
func New(cfg Config) *Server {
	cfg.Keep = cmp.Or(cfg.Keep, DefaultKeep)
	cfg.MaxResults = cmp.Or(cfg.MaxResults, DefaultMaxResults)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, DefaultHeartbeat)
	s := &Server{cfg: cfg, hooks: cfg.Webhooks.client(), closing: make(chan struct{})}
	s.store = newStore(cfg.Keep, cfg.MaxResults, cfg.MaxBytes)
	s.api = v1.API{
		Routes: []v1.Route{
			{Method: http.MethodPost, Path: "/v1/jobs", Handle: s.submit},
			{Method: http.MethodGet, Path: "/v1/jobs", Handle: s.list},
			{Method: http.MethodGet, Path: "/v1/jobs/{id}", Handle: s.show},
			{Method: http.MethodDelete, Path: "/v1/jobs/{id}", Handle: s.remove},
			{Method: http.MethodPost, Path: "/v1/jobs/{id}/cancel", Handle: s.cancel},
			{Method: http.MethodPost, Path: "/v1/jobs/{id}/finish", Handle: s.finish},
			{Method: http.MethodGet, Path: "/v1/jobs/{id}/events", Handle: s.events},
			{Method: http.MethodGet, Path: "/v1/jobs/{id}/images/{n}", Handle: s.image},
		},
		Below:      []string{"/v1/jobs/"},
		Refusal:    func(_ *http.Request, status int, text string) error { return refuse(status, "%s", text) },
		WriteError: writeError,
	}
	s.mux = s.api.Handler()
	return s
}

// Door is the server for a gate.Mux, which checks who calls it.
func (s *Server) Door() gate.Door { return s.api.Door() }

// ServeHTTP answers a request of anyone.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close cancels all jobs, waits until they have ended, which ends the event
// streams, and forgets the outputs. Webhooks are tried once more at most.
func (s *Server) Close() error {
	s.close.Do(func() { close(s.closing) })
	for _, j := range s.store.close() {
		j.stop(errClosing)
	}
	s.working.Wait()
	s.store.clear()
	return nil
}

func (s *Server) submit(w http.ResponseWriter, r *http.Request) error {
	place, err := s.reserve(r) // before the body costs memory
	if err != nil {
		return err
	}
	defer func() { place.Release() }()
	sub, err := s.readSubmission(r)
	if err != nil {
		return err
	}
	j, replayed, err := s.store.admit(sub, func() *job {
		its := place
		place = nil
		return s.start(r, sub, its)
	})
	if err != nil {
		return err
	}
	select {
	case <-j.admitted:
	case <-r.Context().Done():
		return nil // the job goes on
	}
	if reply := j.refusal(); reply != nil {
		copyReply(w, reply)
		return nil
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	w.Header().Set("Location", "/v1/jobs/"+j.id)
	return s.answer(w, r, j, http.StatusAccepted)
}

// reserve takes a place in the queue for the job of a submission; nil for one that
// has most likely been made before, which needs none.
func (s *Server) reserve(r *http.Request) (*inference.Place, error) {
	place, err := s.cfg.Queue.Reserve(r.Context())
	switch {
	case err == nil:
		return place, nil
	case s.store.knows(idempotencyKey(r)):
		return nil, nil
	}
	return nil, refuse(http.StatusTooManyRequests, "%s", fault.Message(err))
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) error {
	j, err := s.store.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.answer(w, r, j, http.StatusOK)
}

// answer sends the document of j, with its output, after waiting for its end as
// long as the query asks.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, j *job, status int) error {
	if err := wait(r, j); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeDocument(w, status, describe(j))
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	j, err := s.store.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := j.stopAndWait(r.Context()); err != nil {
		return err
	}
	return writeDocument(w, http.StatusOK, describe(j).withoutOutput())
}

// finish asks a job to end soon with the pictures that it has. One that has ended
// already stays as it is.
func (s *Server) finish(w http.ResponseWriter, r *http.Request) error {
	j, err := s.store.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	s.cfg.Queue.Conclude(j.id)
	return writeDocument(w, http.StatusOK, describe(j).withoutOutput())
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) error {
	j, err := s.store.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := j.stopAndWait(r.Context()); err != nil {
		return err
	}
	s.store.drop(j)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// stopAndWait cancels j and waits for its end, at most one step of the engine.
func (j *job) stopAndWait(ctx context.Context) error {
	j.stop(errCanceled)
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
