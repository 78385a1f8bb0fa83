package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"sdworker/api/budget"
	"sdworker/api/loopback"
	"sdworker/inference"
)

// State is where a job is on its way.
type State string

// States. A job passes from left to right and stays in one of the last three.
const (
	Queued    State = "queued"
	Running   State = "running"
	Completed State = "completed"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// ended reports whether a state is final.
func (s State) ended() bool { return s == Completed || s == Failed || s == Canceled }

var (
	errCanceled = errors.New("canceled by a client")
	errClosing  = errors.New("canceled because the server is shutting down")
	errTimeout  = errors.New("the job took longer than its timeout")
)

// job is one request to the API.
type job struct {
	id       string // its task id in the API as well
	endpoint endpoint
	created  time.Time
	stop     context.CancelCauseFunc
	admitted chan struct{} // closed when the job is in the queue, or ended before
	done     chan struct{} // closed when the job has ended

	mu       sync.Mutex
	state    State
	refused  bool // ended with an error before it was in the queue
	started  time.Time
	finished time.Time
	reply    *loopback.Reply // of the API
	cause    error           // why it was stopped, nil when it was not
}

// start makes a job and calls the API for it in the background.
func (s *Server) start(r *http.Request, sub *submission) *job {
	// The client may leave, its job stays.
	ctx, stop := context.WithCancelCause(context.WithoutCancel(r.Context()))
	j := &job{
		id: "job-" + strings.ToLower(rand.Text()), endpoint: sub.target, created: time.Now(), stop: stop,
		admitted: make(chan struct{}), done: make(chan struct{}), state: Queued,
	}
	if !sub.target.tracked { // whether it waits cannot be known
		j.run(j.created)
	}
	cancel := func() {}
	if sub.timeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, sub.timeout, errTimeout)
	}
	header := loopback.Credentials(r)
	release := budget.Keep(r.Context()) // of the body, which the job has
	admitted, forget := s.cfg.Queue.Expect(j.id)
	s.working.Go(func() {
		defer stop(nil)
		defer cancel()
		defer release()
		reply := loopback.Post(ctx, s.cfg.API, sub.target.path, header, sub.body(j.id))
		j.end(reply, context.Cause(ctx), s.cfg.Queue.Last())
		s.store.ended(j)
		close(j.done)
	})
	s.working.Go(func() {
		defer forget()
		s.admit(j, admitted)
	})
	return j
}

// admit closes j.admitted once the queue has admitted the job. The API has checked
// the request by then, so that an error before is an answer to the submission.
func (s *Server) admit(j *job, admitted <-chan struct{}) {
	defer close(j.admitted)
	if !j.endpoint.tracked {
		return
	}
	select {
	case <-admitted:
		return
	case <-j.done:
	}
	select {
	case <-admitted: // and ended at once
	default:
		if j.refuse() {
			s.store.forget(j)
		}
	}
}

// refuse notes that the job failed before it was in the queue, if it did.
func (j *job) refuse() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refused = j.state == Failed && j.cause == nil
	return j.refused
}

// refusal is the API's answer to a request that it refused, or nil.
func (j *job) refusal() *loopback.Reply {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.refused {
		return j.reply
	}
	return nil
}

// end notes how the job ended; last is what the queue knows of the job that ran
// last, most likely this one.
func (j *job) end(reply *loopback.Reply, cause error, last inference.JobState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finished, j.reply = time.Now(), reply
	if j.started.IsZero() && last.ID == j.id {
		j.started = last.Started
	}
	switch {
	case reply.Status == http.StatusOK:
		j.state = Completed
	case cause == nil:
		j.state = Failed
	case errors.Is(cause, errTimeout):
		j.state, j.cause = Failed, cause
	default:
		j.state, j.cause = Canceled, cause
	}
}

// run notes that the job was seen running.
func (j *job) run(started time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state == Queued {
		j.state, j.started = Running, started
	}
}

// size is the number of bytes that an ended job keeps.
func (j *job) size() int64 { return int64(len(j.reply.Body)) }
