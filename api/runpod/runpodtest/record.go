package runpodtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Record is what happened to one job.
type Record struct {
	ID        string
	HandedOut []time.Time
	Progress  []json.RawMessage
	Parts     []json.RawMessage // stream chunks
	Finals    []Final           // accepted final answers; more than one is a violation
	Refused   int               // final posts answered with an error
	Cancelled time.Time         // when the worker was told to stop it

	raw   string
	sent  time.Time // when the last hand-out was written
	lost  bool      // the answer to an accepted final post was lost, so a second one is right
	again bool      // it is in the queue because of Redeliver
}

// Final is one final answer.
type Final struct {
	At       time.Time
	Output   json.RawMessage // nil for none
	Error    string
	StopPod  bool
	IsStream bool
	Bytes    int
}

// Ping is one heartbeat.
type Ping struct {
	At        time.Time
	Jobs      []string
	Version   string
	Unhealthy bool
	Check     string
	Reason    string
}

// Take is one job-take.
type Take struct {
	At    time.Time
	Batch int // 0 for job-take
	Busy  bool
}

// held tells whether the worker has the job: handed out, not answered and not
// stopped.
func (r *Record) held() bool {
	return len(r.HandedOut) > 0 && len(r.Finals) == 0 && r.Cancelled.IsZero()
}

func (r *Record) copy() Record {
	c := *r
	c.HandedOut, c.Progress = slices.Clone(r.HandedOut), slices.Clone(r.Progress)
	c.Parts, c.Finals = slices.Clone(r.Parts), slices.Clone(r.Finals)
	return c
}

// Job returns what happened to a job so far.
func (s *Server) Job(id string) Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.jobs[id]; r != nil {
		return r.copy()
	}
	return Record{ID: id}
}

// Wait returns a job's record once it has a final answer. It fails when ctx ends.
func (s *Server) Wait(ctx context.Context, id string) (Record, error) {
	return s.Until(ctx, id, func(r Record) bool { return len(r.Finals) > 0 })
}

// Until returns a job's record once it satisfies cond.
func (s *Server) Until(ctx context.Context, id string, cond func(Record) bool) (Record, error) {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		r := s.Job(id)
		if cond(r) {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, fmt.Errorf("job %s: %w", id, ctx.Err())
		}
	}
}

// Pings returns all heartbeats so far.
func (s *Server) Pings() []Ping {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pings)
}

// Takes returns all job-takes so far.
func (s *Server) Takes() []Take {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.takes)
}

// LongestPause returns the longest time between two heartbeats.
func (s *Server) LongestPause() time.Duration {
	var longest time.Duration
	pings := s.Pings()
	for i := 1; i < len(pings); i++ {
		longest = max(longest, pings[i].At.Sub(pings[i-1].At))
	}
	return longest
}

// Violations returns every breach of the protocol so far.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}
