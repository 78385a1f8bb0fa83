package runpodtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Style is the shape of the URL templates that a worker gets.
type Style int

// Styles seen on the platform.
const (
	Production Style = iota // ?gpu=…, and $ID for the worker in the job-take URL
	Hub                     // $RUNPOD_POD_ID everywhere and no query
	BareQuery               // like Production with an empty query: a trailing "?"
)

// What the server expects of its worker.
const (
	Key      = "test-key"
	Worker   = "worker-1"
	Endpoint = "ep-1"
	gpu      = "NVIDIA GeForce RTX 4090"
)

// Options of a Server. Zero values mean the defaults named here.
type Options struct {
	Style        Style
	PingInterval time.Duration // told to the worker; 1 s
	Hold         time.Duration // how long a poll without a job is held; 5 s
	MaxResult    int           // bytes; RunPod's 10 MB, or 20 MB for ids that start with "sync-"
	Patience     int           // how many times as long all may take, for real clocks of busy machines; 1
}

// Server is the control plane. Its methods may be called from any goroutine.
type Server struct {
	opt  Options
	base string
	http *http.Server // nil for a server in memory

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	jobs       map[string]*Record
	queue      []*Record
	stops      []string
	scripts    map[Route][]Answer
	pings      []Ping
	takes      []Take
	violations []string
	empties    []time.Time // takes answered without a job, for the flood check
	submitted  int
	polling    int // job-takes that wait for a job
	closed     bool
}

// New returns a server in memory, to be reached through Transport.
func New(o Options) *Server {
	if o.PingInterval <= 0 {
		o.PingInterval = time.Second
	}
	if o.Hold <= 0 {
		o.Hold = 5 * time.Second
	}
	o.Patience = max(o.Patience, 1)
	return &Server{opt: o, base: "http://runpod.test", changed: make(chan struct{}), jobs: map[string]*Record{}, scripts: map[Route][]Answer{}}
}

// Listen returns a server on a loopback port.
func Listen(o Options) (*Server, error) {
	s := New(o)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.base = "http://" + listener.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(listener) }() // ends with Close
	return s, nil
}

// Close ends held polls and the listener.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.notify()
	s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	return s.http.Close()
}

// Env is the environment of a worker of this server.
func (s *Server) Env() map[string]string {
	query, taker := "?gpu="+strings.ReplaceAll(gpu, " ", "+"), "$ID"
	switch s.opt.Style {
	case Production:
	case Hub:
		query, taker = "", "$RUNPOD_POD_ID"
	case BareQuery:
		query = "?"
	}
	url := func(route, ids string) string {
		return fmt.Sprintf("%s/v2/%s/%s/%s%s", s.base, Endpoint, route, ids, query)
	}
	return map[string]string{
		"RUNPOD_WEBHOOK_GET_JOB":     url("job-take", taker),
		"RUNPOD_WEBHOOK_POST_OUTPUT": url("job-done", "$RUNPOD_POD_ID/$ID"),
		"RUNPOD_WEBHOOK_POST_STREAM": url("job-stream", "$RUNPOD_POD_ID/$ID"),
		"RUNPOD_WEBHOOK_PING":        url("ping", "$RUNPOD_POD_ID"),
		"RUNPOD_PING_INTERVAL":       strconv.FormatInt(s.opt.PingInterval.Milliseconds(), 10),
		"RUNPOD_AI_API_KEY":          Key,
		"RUNPOD_POD_ID":              Worker,
		"RUNPOD_ENDPOINT_ID":         Endpoint,
	}
}

// bound is how long something may take that should take d at most.
func (s *Server) bound(d time.Duration) time.Duration { return d * time.Duration(s.opt.Patience) }

// Submit queues a job and returns its id.
func (s *Server) Submit(input any) string {
	raw, err := json.Marshal(input)
	if err != nil {
		panic(fmt.Sprintf("runpodtest: input does not encode: %v", err)) // the test is wrong
	}
	s.mu.Lock()
	s.submitted++
	id := fmt.Sprintf("job-%d-e1", s.submitted)
	s.mu.Unlock()
	s.SubmitRaw(id, fmt.Sprintf(`{"id":%q,"input":%s}`, id, raw))
	return id
}

// SubmitRaw queues a job whose text is handed out as it is, well formed or not.
// An id of "" is for jobs that cannot be answered. Submitting an id again hands
// the job out twice.
func (s *Server) SubmitRaw(id, raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.jobs[id]
	if r == nil || id == "" {
		r = &Record{ID: id, raw: raw}
		if id != "" {
			s.jobs[id] = r
		}
	}
	s.queue = append(s.queue, r)
	s.notify()
}

// Redeliver hands a job out once more, before all others, unless it is answered by then.
func (s *Server) Redeliver(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.jobs[id]; r != nil {
		r.again = true
		s.queue = append([]*Record{r}, s.queue...)
		s.notify()
	}
}

// NextWorker gives the worker up and expects the heartbeats of another one, which may
// still have to start. Jobs that the first one had and did not answer are handed out
// anew; it returns how many.
func (s *Server) NextWorker() (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pings, s.takes = nil, nil
	for _, r := range s.jobs {
		if r.held() {
			r.HandedOut, r.sent = nil, time.Time{}
			left++
			if !slices.Contains(s.queue, r) {
				s.queue = append([]*Record{r}, s.queue...)
			}
		}
	}
	s.notify()
	return left
}

// Forget drops what is known of a job, as when the platform tries it again: the
// next Submit of its id begins anew.
func (s *Server) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, id)
}

// Cancel stops a job: one in the queue is dropped, one in hand is named on the
// stop channel.
func (s *Server) Cancel(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.jobs[id]
	if r == nil {
		r = &Record{ID: id}
		s.jobs[id] = r
	}
	for i, q := range s.queue {
		if q == r {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			r.Cancelled = time.Now()
			s.notify()
			return
		}
	}
	s.stops = append(s.stops, id)
	s.notify()
}

// notify wakes everybody who waits. s.mu is held.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// violate notes a breach of the protocol. s.mu is held.
func (s *Server) violate(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}
