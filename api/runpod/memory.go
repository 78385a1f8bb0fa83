package runpod

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// States of a job as RunPod's endpoint API shows them.
const (
	statusQueued     = "IN_QUEUE"
	statusInProgress = "IN_PROGRESS"
	statusCompleted  = "COMPLETED"
	statusFailed     = "FAILED"
	statusCancelled  = "CANCELLED"
)

// retention is how long a finished job can be asked for, as for /run.
const retention = 30 * time.Minute

// Status is the answer of /status.
type Status struct {
	ID            string            `json:"id"`
	Status        string            `json:"status"`
	DelayTime     int64             `json:"delayTime"`     // milliseconds in the queue
	ExecutionTime int64             `json:"executionTime"` // milliseconds from hand-out to answer
	Output        json.RawMessage   `json:"output,omitempty"`
	Error         string            `json:"error,omitempty"`
	Stream        []json.RawMessage `json:"-"`
}

// memory is a control plane in memory: the queue of the local API.
type memory struct {
	mu      sync.Mutex
	jobs    map[string]*localJob
	queue   []*localJob
	cancels []string
	changed chan struct{} // closed and replaced at every change
}

type localJob struct {
	job                      Job
	status                   string
	queued, started, stopped time.Time
	output                   json.RawMessage
	err                      string
	parts                    []json.RawMessage
	fetched                  int // of parts, by clients
}

var _ plane = (*memory)(nil)

func newMemory() *memory {
	return &memory{jobs: map[string]*localJob{}, changed: make(chan struct{})}
}

// notify wakes everybody who waits. m.mu is held.
func (m *memory) notify() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// admit registers a job that goes to a worker without the queue.
func (m *memory) admit(job Job) *localJob {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for id, old := range m.jobs {
		if old.finished() && now.Sub(old.stopped) > retention {
			delete(m.jobs, id)
		}
	}
	j := &localJob{job: job, status: statusInProgress, queued: now, started: now}
	m.jobs[job.ID] = j
	return j
}

// enqueue registers a job for the next job-take.
func (m *memory) enqueue(job Job) {
	j := m.admit(job)
	m.mu.Lock()
	defer m.mu.Unlock()
	j.status = statusQueued
	m.queue = append(m.queue, j)
	m.notify()
}

func (j *localJob) finished() bool { return j.status != statusQueued && j.status != statusInProgress }

func (m *memory) take(ctx context.Context, n int, _ bool) answer {
	for {
		m.mu.Lock()
		if k := min(n, len(m.queue)); k > 0 && ctx.Err() == nil {
			var a answer
			for _, j := range m.queue[:k] {
				j.status, j.started = statusInProgress, time.Now()
				a.jobs = append(a.jobs, j.job)
			}
			m.queue = m.queue[k:]
			m.notify()
			m.mu.Unlock()
			return a
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return answer{}
		}
	}
}

func (m *memory) stops(ctx context.Context) ([]string, time.Duration, bool) {
	for {
		m.mu.Lock()
		ids, changed := m.cancels, m.changed
		m.cancels = nil
		m.mu.Unlock()
		if len(ids) > 0 {
			return ids, 0, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, 0, true
		}
	}
}

func (m *memory) streams() bool { return true }

func (m *memory) post(_ context.Context, kind postKind, id string, body []byte) error {
	var wire struct {
		Output json.RawMessage `json:"output"`
		Error  string          `json:"error"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return &postError{err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil || j.finished() {
		return nil // cancelled meanwhile
	}
	switch kind {
	case postProgress:
		j.output = wire.Output
	case postStreamPart:
		j.parts = append(j.parts, wire.Output)
	case postFinal, postStreamEnd:
		j.output, j.err, j.stopped = wire.Output, wire.Error, time.Now()
		if kind == postStreamEnd && wire.Error == "" {
			j.output, _ = encodeValue(j.parts) // RawMessages that were decoded before
		}
		j.status = statusCompleted
		if wire.Error != "" {
			j.status = statusFailed
		}
	}
	m.notify()
	return nil
}

// status describes a job.
func (m *memory) status(id string) (Status, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.jobs[id]
	if !ok {
		return Status{}, false
	}
	s := Status{ID: id, Status: j.status, Output: j.output, Error: j.err, Stream: j.parts}
	now := time.Now()
	if j.status == statusQueued {
		s.DelayTime = now.Sub(j.queued).Milliseconds()
		return s, true
	}
	s.DelayTime = j.started.Sub(j.queued).Milliseconds()
	if j.finished() {
		now = j.stopped
	}
	s.ExecutionTime = now.Sub(j.started).Milliseconds()
	return s, true
}

// wait returns a job's status once it is finished, or as it is when ctx ends.
func (m *memory) wait(ctx context.Context, id string) (Status, bool) {
	for {
		m.mu.Lock()
		changed := m.changed
		j := m.jobs[id]
		over := j == nil || j.finished() || ctx.Err() != nil
		m.mu.Unlock()
		if over {
			return m.status(id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// nextParts returns the stream parts not yet fetched, waiting for the first one
// or the end of the job.
// Each part is given out once.
func (m *memory) nextParts(ctx context.Context, id string) ([]json.RawMessage, string, error) {
	for {
		m.mu.Lock()
		j := m.jobs[id]
		if j == nil {
			m.mu.Unlock()
			return nil, "", errors.New("unknown job")
		}
		parts, status, changed := j.parts[j.fetched:], j.status, m.changed
		over := len(parts) > 0 || j.finished() || ctx.Err() != nil
		if over {
			j.fetched = len(j.parts)
		}
		m.mu.Unlock()
		if over {
			return parts, status, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// cancel ends a job wherever it is.
func (m *memory) cancel(id string) (Status, bool) {
	m.mu.Lock()
	j, ok := m.jobs[id]
	if ok && !j.finished() {
		if j.status == statusInProgress {
			m.cancels = append(m.cancels, id)
		}
		for i, q := range m.queue {
			if q == j {
				m.queue = append(m.queue[:i:i], m.queue[i+1:]...)
				break
			}
		}
		j.status, j.stopped = statusCancelled, time.Now()
		if j.started.IsZero() {
			j.started = j.stopped
		}
		m.notify()
	}
	m.mu.Unlock()
	return m.status(id)
}

// purge cancels all queued jobs and returns their number.
func (m *memory) purge() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.queue)
	for _, j := range m.queue {
		j.status, j.started, j.stopped = statusCancelled, time.Now(), time.Now()
	}
	m.queue = nil
	m.notify()
	return n
}

// counts returns the number of jobs by state.
func (m *memory) counts() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := map[string]int{}
	for _, j := range m.jobs {
		n[j.status]++
	}
	return n
}
