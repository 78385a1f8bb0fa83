package inference

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sdworker/fault"
)

// Queue lets jobs into a Generator in order of arrival, as many at once as the
// generator takes, and knows what they are doing. It is safe for concurrent use.
type Queue struct {
	gen      Generator
	depth    int // running, waiting and reserved jobs; 0 = no limit
	jobs     int // that the generator has at once
	observer Observer

	mu       sync.Mutex
	reserved int
	line     []*ticket // in order of arrival; the generator has the first of them
	last     JobState  // of the job that ended last
}

// QueueOptions configure a Queue. The zero value is ready to use.
type QueueOptions struct {
	// Depth is how many jobs may be in the queue, the running and the reserved
	// ones included; 0 means no limit.
	Depth int
	// Jobs is how many of them the generator has at once; 0 means 1. Of several, one
	// runs from its first report of progress on: until then it may wait for weights.
	Jobs int
	// Observer follows all jobs; it may be nil.
	Observer Observer
}

// ticket is one job's place in the line.
type ticket struct {
	turn    chan struct{} // closed when the generator may have the job
	given   bool          // it has it
	control *Control
	cancel  context.CancelCauseFunc
	state   JobState
	result  **Result // of Generate, nil for other jobs

	telling  sync.Mutex // held while the observer is told, before the queue's lock
	observer Observer
	ended    bool // Done was told
}

// NewQueue returns a queue in front of gen.
func NewQueue(gen Generator, o QueueOptions) *Queue {
	return &Queue{gen: gen, depth: o.Depth, jobs: max(o.Jobs, 1), observer: o.Observer}
}

// Watch adds an observer of all jobs that come from now on.
func (q *Queue) Watch(o Observer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.observer = observers(q.observer, o)
}

// Depth is how many jobs may be in the queue; 0 means no limit.
func (q *Queue) Depth() int { return q.depth }

// Generator is the generator behind the queue, for calls that need no turn:
// Status and Close.
func (q *Queue) Generator() Generator { return q.gen }

// Job names one call of Do.
type Job struct {
	ID       string   // unique; "" when the job need not be found
	Name     string   // "txt2img", "img2img", "extras" ...
	Observer Observer // follows the job, beside those of the context; may be nil
}

// Place is a reserved place in a queue. A request takes one before the work of
// reading it begins. Every place must be released; releasing one that was used does
// nothing.
type Place struct {
	queue *Queue
	mu    sync.Mutex
	used  bool
}

// Reserve takes a place in the queue, or gives Busy when the queue is full. Places
// count for the queue's depth only: jobs run in the order in which they call Do. If
// ctx carries a place (WithPlace), the first caller gets that one.
func (q *Queue) Reserve(ctx context.Context) (*Place, error) {
	if p, ok := ctx.Value(placeKey{}).(*Place); ok && p.queue == q && p.take() {
		return &Place{queue: q}, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.depth > 0 && len(q.line)+q.reserved >= q.depth {
		return nil, &fault.Error{Code: fault.Busy, Op: "queue", Msg: "the queue is full, try again later"}
	}
	q.reserved++
	return &Place{queue: q}, nil
}

type placeKey struct{}

// WithPlace gives a place to the job that is made under ctx, so that a caller of
// the API in the same process can reserve for it.
func WithPlace(ctx context.Context, p *Place) context.Context {
	return context.WithValue(ctx, placeKey{}, p)
}

// take reports whether the place was still there to be used.
func (p *Place) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := !p.used
	p.used = true
	return taken
}

// Release gives the place back unless it was used. A nil Place has none.
func (p *Place) Release() {
	if p != nil && p.take() {
		p.queue.mu.Lock()
		p.queue.reserved--
		p.queue.mu.Unlock()
	}
}

// Together is how many calls of the generator one job may have in work at once, so
// that they share what they can.
func (p *Place) Together() int { return p.queue.jobs }

// Work is what a job does when its turn has come.
type Work func(ctx context.Context, gen Generator, hooks Hooks) error

// Do runs fn when its turn comes, with hooks that keep the queue's record and
// let Interrupt, Skip and Cancel reach it. A full queue gives Busy at once; a
// context that ends while waiting gives Canceled.
func (q *Queue) Do(ctx context.Context, job Job, fn Work) error {
	p, err := q.Reserve(ctx)
	if err != nil {
		return err
	}
	return p.Do(ctx, job, fn)
}

// Do is Queue.Do for the job that the place was reserved for. A place serves one
// job.
func (p *Place) Do(ctx context.Context, job Job, fn Work) error { return p.do(ctx, job, fn, nil) }

// do is Do for work that leaves a result, unless nil, which observers are told.
func (p *Place) do(ctx context.Context, job Job, fn Work, result **Result) (err error) {
	if !p.take() {
		return fault.Errorf(fault.Internal, "queue", "a place in the queue was used twice")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := p.queue
	t := &ticket{turn: make(chan struct{}), control: NewControl(), cancel: cancel}
	t.state = JobState{ID: job.ID, Name: job.Name, Admitted: time.Now()}
	t.result = result

	q.mu.Lock()
	t.observer = observers(q.observer, job.Observer, observerOf(ctx))
	q.reserved--
	q.line = append(q.line, t)
	q.advance()
	q.mu.Unlock()

	var outcome error = fault.Errorf(fault.Internal, "queue", "the job ended by a panic")
	defer func() {
		q.leave(t)
		q.tell(t, Done, outcome)
	}()
	q.tell(t, Admitted, nil)
	if err = q.await(ctx, t); err == nil {
		err = fn(ctx, q.gen, Hooks{Control: t.control, Progress: func(p Progress) { q.progress(t, p) }})
	}
	outcome = err
	return err
}

// await returns when the generator may have t, or its context has ended.
func (q *Queue) await(ctx context.Context, t *ticket) error {
	select {
	case <-t.turn:
		if q.jobs == 1 { // of several, the generator tells which one it works on
			q.begin(t)
		}
		return nil
	case <-ctx.Done():
		if told, ok := errors.AsType[*fault.Error](context.Cause(ctx)); ok {
			return told
		}
		return &fault.Error{Code: fault.Canceled, Op: "queue", Msg: "canceled while waiting", Err: context.Cause(ctx)}
	}
}

// begin notes that the work on t has begun, once.
func (q *Queue) begin(t *ticket) {
	q.mu.Lock()
	first := t.state.Started.IsZero()
	if first {
		t.state.Started = time.Now()
	}
	q.mu.Unlock()
	if first {
		q.tell(t, Started, nil)
	}
}

// progress records what a job reports.
func (q *Queue) progress(t *ticket, p Progress) {
	q.begin(t)
	q.mu.Lock()
	if p.Preview != nil {
		t.state.Preview = p.Preview
		t.state.PreviewID++
	}
	t.state.Progress = p
	t.state.Progress.Preview = nil
	q.mu.Unlock()
	q.tell(t, Progressed, nil)
}

// tell calls the observers of a job, without the queue's lock.
func (q *Queue) tell(t *ticket, kind EventKind, err error) {
	if t.observer == nil {
		return
	}
	t.telling.Lock()
	defer t.telling.Unlock()
	q.mu.Lock()
	e := Event{Kind: kind, Job: t.snapshot(), Ahead: q.ahead(t), Err: err}
	q.mu.Unlock()
	if t.ended || kind == Moved && !e.Job.Started.IsZero() { // too late to matter
		return
	}
	t.ended = kind == Done
	if kind == Done && t.result != nil {
		e.Result = *t.result
	}
	t.observer(e)
}

// advance gives the generator the jobs whose turn has come; the queue's lock is held.
func (q *Queue) advance() {
	for _, t := range q.line[:min(q.jobs, len(q.line))] {
		if !t.given {
			t.given = true
			close(t.turn)
		}
	}
}

// leave takes t out of the line and lets the next one run.
func (q *Queue) leave(t *ticket) {
	q.mu.Lock()
	at := slices.Index(q.line, t)
	q.line = slices.Delete(q.line, at, at+1)
	if t.given {
		t.state.Finished = time.Now()
		if t.state.Started.IsZero() {
			t.state.Started = t.state.Finished
		}
		q.last = t.snapshot()
	}
	q.advance()
	behind := slices.Clone(q.line[at:])
	q.mu.Unlock()
	for _, other := range behind {
		q.tell(other, Moved, nil)
	}
}

// ahead is how many jobs are before t, 0 when it runs; the queue's lock is held.
func (q *Queue) ahead(t *ticket) int {
	if !t.state.Started.IsZero() {
		return 0
	}
	return max(slices.Index(q.line, t), 0)
}

// Generate is Do for one request. Result.Timings.Queue is filled in.
func (q *Queue) Generate(ctx context.Context, job Job, req *Request) (*Result, error) {
	p, err := q.Reserve(ctx)
	if err != nil {
		return nil, err
	}
	return p.Generate(ctx, job, req)
}

// Generate is Queue.Generate for the job that the place was reserved for.
func (p *Place) Generate(ctx context.Context, job Job, req *Request) (*Result, error) {
	var res *Result
	arrived := time.Now()
	err := p.do(ctx, job, func(ctx context.Context, gen Generator, hooks Hooks) (err error) {
		waited := time.Since(arrived).Seconds()
		res, err = gen.Generate(ctx, req, hooks)
		if res != nil {
			res.Timings.Queue += waited
		}
		return err
	}, &res)
	return res, err
}

// Running returns the state of the oldest running job.
func (q *Queue) Running() (JobState, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.oldest(); t != nil && !t.state.Started.IsZero() {
		return t.snapshot(), true
	}
	return JobState{}, false
}

// Last returns the state of the job that ended last, the zero state if none did.
func (q *Queue) Last() JobState {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}

// Find returns the state of a waiting or running job and how many jobs are
// ahead of it, 0 for a running one.
func (q *Queue) Find(id string) (state JobState, ahead int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.find(id); t != nil {
		return t.snapshot(), q.ahead(t), true
	}
	return JobState{}, 0, false
}

// find returns the ticket of a job, nil if there is none; the queue's lock is held.
func (q *Queue) find(id string) *ticket {
	for _, t := range q.line {
		if t.state.ID == id && id != "" {
			return t
		}
	}
	return nil
}

// IDs lists the jobs in the queue, the running ones first.
func (q *Queue) IDs() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := make([]string, len(q.line))
	for i, t := range q.line {
		ids[i] = t.state.ID
	}
	return ids
}

// Waiting lists the jobs that do not run yet, in order of arrival.
func (q *Queue) Waiting() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := []string{}
	for _, t := range q.line {
		if t.state.Started.IsZero() {
			ids = append(ids, t.state.ID)
		}
	}
	return ids
}

// Interrupt asks the oldest running job to finish with what exists.
func (q *Queue) Interrupt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.oldest(); t != nil {
		t.control.Interrupt()
	}
}

// Conclude asks a running job to finish with what exists. It reports whether the job
// was found.
func (q *Queue) Conclude(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.find(id)
	if t != nil {
		t.control.Interrupt()
	}
	return t != nil
}

// Skip asks the oldest running job to go on with its next batch.
func (q *Queue) Skip() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.oldest(); t != nil {
		t.control.Skip()
	}
}

// Finish asks the running jobs to finish with what exists and ends those that
// wait with cause, for the end of the program.
func (q *Queue) Finish(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.line {
		if t.given && !t.state.Started.IsZero() {
			t.control.Interrupt()
		} else {
			t.cancel(cause)
		}
	}
}

// Cancel ends a waiting or running job without a result. It reports whether the
// job was found.
func (q *Queue) Cancel(id string, cause error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.find(id)
	if t != nil {
		t.cancel(cause)
	}
	return t != nil
}

// oldest is the oldest running job; where none has begun, the first of the line; nil
// in an empty queue. The queue's lock is held.
func (q *Queue) oldest() *ticket {
	for _, t := range q.line {
		if !t.state.Started.IsZero() {
			return t
		}
	}
	if len(q.line) == 0 {
		return nil
	}
	return q.line[0]
}

// snapshot copies the state; the queue's lock is held.
func (t *ticket) snapshot() JobState {
	s := t.state
	s.Interrupted = t.control.Interrupted()
	s.Skipped = t.control.Skips() > 0
	return s
}
