package runpodtest

import (
	"net/http"
	"strconv"
	"time"
)

// Route is a kind of call whose answers can be scripted.
type Route string

// Routes of a worker.
const (
	TakeRoute     Route = "job-take" // single and batch
	StopRoute     Route = "job-stop"
	DoneRoute     Route = "job-done" // final answers
	ProgressRoute Route = "progress" // job-done posts that are no final answer
	StreamRoute   Route = "job-stream"
	PingRoute     Route = "ping"
)

// Answer is one scripted answer. It replaces the regular one, except that Lose,
// Slow and Cut change how the regular one is sent when no Status is set.
type Answer struct {
	Status      int           // HTTP status
	Body        string        // with ContentType, application/json unless set
	ContentType string        //
	RetryAfter  string        // header
	Location    string        // header
	Delay       time.Duration // wait before anything else
	Drop        bool          // close the connection instead of answering
	Lose        bool          // do what was asked, then close the connection without an answer
	Cut         bool          // send half of the body, then close the connection
	Slow        time.Duration // send the body in small pieces over this time
}

// Script appends answers that the next calls of a route get, one each. After
// them the server behaves normally again.
func (s *Server) Script(route Route, answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[route] = append(s.scripts[route], answers...)
}

// Scripted returns how many answers of a route's script are left.
func (s *Server) Scripted(route Route) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.scripts[route])
}

// next takes the next scripted answer of a route.
func (s *Server) next(route Route) (Answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.scripts[route]
	if len(list) == 0 {
		return Answer{}, false
	}
	s.scripts[route] = list[1:]
	return list[0], true
}

// play waits and drops as scripted, and sends a scripted status. It returns false
// when the regular answer is to follow.
func (a Answer) play(w http.ResponseWriter, r *http.Request) bool {
	if a.Delay > 0 {
		select {
		case <-time.After(a.Delay):
		case <-r.Context().Done():
		}
	}
	if a.Drop {
		panic(http.ErrAbortHandler)
	}
	if a.Status == 0 {
		return false
	}
	kind := a.ContentType
	if kind == "" {
		kind = "application/json"
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	if a.Location != "" {
		w.Header().Set("Location", a.Location)
	}
	a.send(w, a.Status, kind, []byte(a.Body))
	return true
}

// send writes an answer, whole, slowly or cut short.
func (a Answer) send(w http.ResponseWriter, status int, kind string, body []byte) {
	if a.Lose {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", kind)
	if a.Slow == 0 && !a.Cut {
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	if a.Cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
		body = body[:len(body)/2]
	}
	w.WriteHeader(status)
	const pieces = 8
	for i := range pieces {
		_, _ = w.Write(body[len(body)*i/pieces : len(body)*(i+1)/pieces])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(a.Slow / pieces)
	}
	if a.Cut {
		panic(http.ErrAbortHandler)
	}
}
