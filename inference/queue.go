package inference

import (
	"context"
	"errors"
	"sync"
	"time"

	"sdworker/fault"
	"sdworker/inference/imageio"
)

// Queue gives a Generator to one job after another, first come first served,
// and knows what the running job is doing. It is safe for concurrent use.
type Queue struct {
	gen   Generator
	depth int // running and waiting jobs

	mu      sync.Mutex
	waiting []*ticket // in order of arrival; waiting[0] is running
	last    JobState  // of the job that ran last

	expected map[string]chan struct{} // by id, see Expect
}

// ticket is one job's place in the queue.
type ticket struct {
	id      string
	turn    chan struct{} // closed when the job may run
	control *Control
	cancel  context.CancelCauseFunc
	state   JobState
}

// JobState is what is known of a running or finished job.
type JobState struct {
	ID          string
	Name        string    // "txt2img", "img2img", "extras" ...
	Started     time.Time // zero while it waits
	Finished    time.Time // zero until it ends
	Progress    Progress  // the latest report; its Preview is in Preview
	Preview     *imageio.RGB
	PreviewID   int  // grows with each new preview
	Interrupted bool // Interrupt was called
	Skipped     bool // Skip was called
}

// NewQueue returns a queue that admits depth jobs, the running one included;
// depth 0 means no limit.
func NewQueue(gen Generator, depth int) *Queue { return &Queue{gen: gen, depth: depth} }

// Generator is the generator behind the queue, for calls that need no turn:
// Status and Close.
func (q *Queue) Generator() Generator { return q.gen }

// Job names one call of Do.
type Job struct {
	ID   string // unique; "" when the job need not be found
	Name string
	// Progress is called as Hooks.Progress is, after the queue's own record.
	Progress func(Progress)
}

// Do runs fn when its turn comes, with hooks that keep the queue's record and
// let Interrupt, Skip and Cancel reach it. A full queue gives Busy at once; a
// context that ends while waiting gives Canceled.
func (q *Queue) Do(ctx context.Context, job Job, fn func(ctx context.Context, gen Generator, hooks Hooks) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &ticket{id: job.ID, turn: make(chan struct{}), control: NewControl(), cancel: cancel}
	t.state = JobState{ID: job.ID, Name: job.Name}

	q.mu.Lock()
	if err := q.room(); err != nil {
		q.mu.Unlock()
		return err
	}
	q.waiting = append(q.waiting, t)
	if expected, ok := q.expected[t.id]; ok {
		close(expected)
		delete(q.expected, t.id)
	}
	if len(q.waiting) == 1 {
		close(t.turn)
	}
	q.mu.Unlock()
	defer q.leave(t)

	select {
	case <-t.turn:
	case <-ctx.Done():
		var told *fault.Error
		if errors.As(context.Cause(ctx), &told) {
			return told
		}
		return &fault.Error{Code: fault.Canceled, Op: "queue", Msg: "canceled while waiting", Err: context.Cause(ctx)}
	}
	q.mu.Lock()
	t.state.Started = time.Now()
	q.mu.Unlock()
	hooks := Hooks{Control: t.control, Progress: func(p Progress) {
		q.mu.Lock()
		if p.Preview != nil {
			t.state.Preview = p.Preview
			t.state.PreviewID++
		}
		t.state.Progress = p
		t.state.Progress.Preview = nil
		q.mu.Unlock()
		if job.Progress != nil {
			job.Progress(p)
		}
	}}
	return fn(ctx, q.gen, hooks)
}

// Expect returns a channel that is closed when a job with the id is admitted. stop
// ends the expectation; it must be called.
func (q *Queue) Expect(id string) (admitted <-chan struct{}, stop func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := make(chan struct{})
	if q.expected == nil {
		q.expected = make(map[string]chan struct{})
	}
	q.expected[id] = c
	return c, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.expected[id] == c {
			delete(q.expected, id)
		}
	}
}

// Room tells whether another job would be admitted now; if not, the error is that
// of Do. It lets a caller refuse a request before the work of reading it.
func (q *Queue) Room() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.room()
}

// room is Room with the queue's lock held.
func (q *Queue) room() error {
	if q.depth > 0 && len(q.waiting) >= q.depth {
		return &fault.Error{Code: fault.Busy, Op: "queue", Msg: "the queue is full, try again later"}
	}
	return nil
}

// leave takes t out of the queue and wakes the next one.
func (q *Queue) leave(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.waiting {
		if other != t {
			continue
		}
		q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
		if i == 0 {
			t.state.Finished = time.Now()
			q.last = t.state
			if len(q.waiting) > 0 {
				close(q.waiting[0].turn)
			}
		}
		return
	}
}

// Generate is Do for one request. Result.Timings.Queue is filled in.
func (q *Queue) Generate(ctx context.Context, job Job, req *Request) (*Result, error) {
	var res *Result
	arrived := time.Now()
	err := q.Do(ctx, job, func(ctx context.Context, gen Generator, hooks Hooks) (err error) {
		waited := time.Since(arrived).Seconds()
		res, err = gen.Generate(ctx, req, hooks)
		if res != nil {
			res.Timings.Queue = waited
		}
		return err
	})
	return res, err
}

// Running returns the state of the running job.
func (q *Queue) Running() (JobState, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return JobState{}, false
	}
	return q.waiting[0].snapshot(), true
}

// Last returns the state of the job that ended last, the zero state if none did.
func (q *Queue) Last() JobState {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}

// Find returns the state of a waiting or running job and how many jobs are
// ahead of it, 0 for the running one.
func (q *Queue) Find(id string) (state JobState, ahead int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range q.waiting {
		if t.id == id && id != "" {
			return t.snapshot(), i, true
		}
	}
	return JobState{}, 0, false
}

// IDs lists the jobs in the queue, the running one first.
func (q *Queue) IDs() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := make([]string, len(q.waiting))
	for i, t := range q.waiting {
		ids[i] = t.id
	}
	return ids
}

// Interrupt asks the running job to finish with what exists.
func (q *Queue) Interrupt() {
	if t := q.head(); t != nil {
		t.control.Interrupt()
	}
}

// Finish asks the running job to finish with what exists and ends those that
// wait with cause, for the end of the program.
func (q *Queue) Finish(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range q.waiting {
		if i == 0 {
			t.control.Interrupt()
		} else {
			t.cancel(cause)
		}
	}
}

// Skip asks the running job to go on with its next batch.
func (q *Queue) Skip() {
	if t := q.head(); t != nil {
		t.control.Skip()
	}
}

// Cancel ends a waiting or running job without a result. It reports whether the
// job was found.
func (q *Queue) Cancel(id string, cause error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.waiting {
		if t.id == id && id != "" {
			t.cancel(cause)
			return true
		}
	}
	return false
}

func (q *Queue) head() *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	return q.waiting[0]
}

// snapshot copies the state; the queue's lock is held.
func (t *ticket) snapshot() JobState {
	s := t.state
	s.Interrupted = t.control.Interrupted()
	s.Skipped = t.control.Skips() > 0
	return s
}
