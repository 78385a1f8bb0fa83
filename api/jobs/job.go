package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"sdworker/api/a1111"
	"sdworker/api/budget"
	"sdworker/inference"
)

// State tells how far a job is.
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
	webhook  *webhook // nil: none
	created  time.Time
	stop     context.CancelCauseFunc
	admitted chan struct{} // closed when the job is in the queue, or ended before
	done     chan struct{} // closed when the job has ended

	mu       sync.Mutex
	state    State
	queued   bool            // was in the queue at some time
	event    inference.Event // the latest of the queue
	changed  chan struct{}   // closed and replaced at each event
	refused  bool            // ended with an error before it was in the queue
	started  time.Time
	finished time.Time
	reply    *a1111.Reply // of the API
	cause    error        // why it was stopped, nil when it was not
}

// start makes a job and calls the API for it in the background. The job takes over
// the place.
func (s *Server) start(r *http.Request, sub *submission, place *inference.Place) *job {
	// The client may leave, its job stays.
	ctx, stop := context.WithCancelCause(context.WithoutCancel(r.Context()))
	j := &job{
		id: "job-" + strings.ToLower(rand.Text()), endpoint: sub.target, webhook: sub.webhook, created: time.Now(), stop: stop,
		admitted: make(chan struct{}), done: make(chan struct{}), state: Queued, changed: make(chan struct{}),
	}
	ctx = inference.WithObserver(ctx, j.observe)
	if place != nil {
		ctx = inference.WithPlace(ctx, place)
	}
	cancel := func() {}
	if sub.timeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, sub.timeout, errTimeout)
	}
	release := budget.Keep(r.Context()) // of the body, which the job has
	s.working.Go(func() {
		defer stop(nil)
		defer cancel()
		defer release()
		defer place.Release()
		reply := s.cfg.API.Post(ctx, sub.target.path, sub.body(j.id))
		if j.end(reply, context.Cause(ctx)) {
			s.store.forget(j)
			close(j.admitted)
		} else {
			s.store.ended(j)
		}
		close(j.done)
		if j.webhook != nil && j.refusal() == nil {
			s.working.Go(func() { s.deliver(j) })
		}
	})
	return j
}

// observe follows the job through the queue.
func (j *job) observe(e inference.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e.Kind {
	case inference.Admitted:
		if j.queued { // once before: it stays admitted
			break
		}
		j.queued = true
		close(j.admitted)
	case inference.Started:
		j.state, j.started = Running, e.Job.Started
	default: // the event itself tells all
	}
	j.event = e
	close(j.changed)
	j.changed = make(chan struct{})
}

// refusal is the API's answer to a request that it refused, or nil.
func (j *job) refusal() *a1111.Reply {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.refused {
		return j.reply
	}
	return nil
}

// end notes how the job ended, and reports whether the API refused it: it has
// checked a request before the queue has it, so that an error before is an answer to
// the submission.
func (j *job) end(reply *a1111.Reply, cause error) (refused bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finished, j.reply = time.Now(), reply
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
	j.refused = !j.queued && j.state == Failed && j.cause == nil
	return j.refused
}

// size is the number of bytes that an ended job keeps.
func (j *job) size() int64 { return int64(len(j.reply.Body)) }
