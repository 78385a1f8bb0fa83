package batch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Rules say what a Rendezvous is for.
type Rules[C any] struct {
	// Group chooses from the waiting calls, those of the oldest members first, which
	// ones make the next run: it returns their indices, of which the first is 0. It
	// is called under a lock and must be quick.
	Group func(waiting []C) []int

	// Run does the calls of a group and puts the results into them. ctx ends when
	// nobody wants a result any more.
	Run func(ctx context.Context, group []C)
}

// Rendezvous is where the calls of several members meet that need the same engine.
// When the engine is free it serves a call that must be alone, the one that came
// first; else the call of the oldest member, with those that can go along. While one
// call runs the next group gathers. It is safe for concurrent use.
type Rendezvous[C any] struct {
	rules Rules[C]

	mu     sync.Mutex
	age    int
	busy   bool
	alone  []*waiter[C]            // in order of arrival
	shared []*waiter[C]            // the oldest member's first
	coming map[*Member[C]]struct{} // members in a loop of calls, between two of them
	grace  *time.Timer             // while it runs, those that are coming are waited for
	last   time.Duration           // how long the last shared call took
}

// graceShare is the part of the last call's time for which the engine may stay idle
// to wait for members that work on their next call. Without it members that run in
// step would part for good: the first one back would be served alone, and the others
// would wait for it.
const graceShare = 8

// waiter is a call that waits or runs.
type waiter[C any] struct {
	ctx    context.Context //nolint:containedctx // of one call
	member *Member[C]
	call   C
	lead   chan []*waiter[C] // the group to run, for the one who runs it
	done   chan struct{}     // closed when another one has run the call
}

// NewRendezvous returns a rendezvous without members.
func NewRendezvous[C any](rules Rules[C]) *Rendezvous[C] {
	return &Rendezvous[C]{rules: rules, coming: map[*Member[C]]struct{}{}}
}

// Member is one job's seat at a Rendezvous. It makes one call at a time.
type Member[C any] struct {
	at   *Rendezvous[C]
	age  int // grows with each member
	loop bool
}

// Join returns a new member, the youngest one.
func (r *Rendezvous[C]) Join() *Member[C] {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age++
	return &Member[C]{at: r, age: r.age}
}

// Begin says that the member will make several calls in a row, so that others wait
// a moment for its next one. End must follow.
func (m *Member[C]) Begin() {
	m.at.mu.Lock()
	defer m.at.mu.Unlock()
	m.loop = true
}

// End ends what Begin began.
func (m *Member[C]) End() {
	r := m.at
	r.mu.Lock()
	defer r.mu.Unlock()
	m.loop = false
	delete(r.coming, m)
	r.dispatch()
}

// Alone calls f while nobody else uses the engine. The error is that of a context
// which ended before.
func (m *Member[C]) Alone(ctx context.Context, f func()) error {
	r := m.at
	w := &waiter[C]{ctx: ctx, member: m, lead: make(chan []*waiter[C], 1), done: make(chan struct{})}
	r.mu.Lock()
	r.alone = append(r.alone, w)
	r.arrive(w)
	group, err := r.await(w)
	if err == nil {
		defer r.finish(group, 0)
		f()
	}
	return err
}

// Share has a call done, together with others or alone. The error is that of a
// context which ended before the call began.
func (m *Member[C]) Share(ctx context.Context, call C) error {
	r := m.at
	w := &waiter[C]{ctx: ctx, member: m, call: call, lead: make(chan []*waiter[C], 1), done: make(chan struct{})}
	r.mu.Lock()
	i := slices.IndexFunc(r.shared, func(other *waiter[C]) bool { return other.member.age > m.age })
	if i < 0 {
		i = len(r.shared)
	}
	r.shared = slices.Insert(r.shared, i, w)
	r.arrive(w)
	group, err := r.await(w)
	if group != nil {
		r.run(group)
	}
	return err
}

// arrive ends the lock that the caller has taken.
func (r *Rendezvous[C]) arrive(w *waiter[C]) {
	defer r.mu.Unlock()
	delete(r.coming, w.member)
	r.dispatch()
}

// await returns the group that w is to run, nil when another one has run it, or an
// error when its context ended before either.
func (r *Rendezvous[C]) await(w *waiter[C]) ([]*waiter[C], error) {
	select {
	case group := <-w.lead:
		return group, nil
	case <-w.done:
		return nil, nil
	case <-w.ctx.Done():
	}
	if r.withdraw(w) {
		return nil, context.Cause(w.ctx)
	}
	select { // it was chosen meanwhile, and the others count on it
	case group := <-w.lead:
		return group, nil
	case <-w.done:
		return nil, nil
	}
}

// withdraw takes a call back unless it was chosen.
func (r *Rendezvous[C]) withdraw(w *waiter[C]) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range []*[]*waiter[C]{&r.alone, &r.shared} {
		if i := slices.Index(*list, w); i >= 0 {
			*list = slices.Delete(*list, i, i+1)
			r.dispatch()
			return true
		}
	}
	return false
}

// dispatch chooses what runs next, if anything can; the lock is held.
func (r *Rendezvous[C]) dispatch() {
	switch {
	case r.busy:
	case len(r.alone) > 0:
		w := r.alone[0]
		r.alone = slices.Delete(r.alone, 0, 1)
		r.start([]*waiter[C]{w})
	case len(r.shared) == 0, r.grace != nil && len(r.coming) > 0:
	default:
		calls := make([]C, len(r.shared))
		for i, w := range r.shared {
			calls[i] = w.call
		}
		var group []*waiter[C]
		for _, i := range r.rules.Group(calls) {
			group = append(group, r.shared[i])
		}
		r.shared = slices.DeleteFunc(r.shared, func(w *waiter[C]) bool { return slices.Contains(group, w) })
		r.start(group)
	}
}

// start hands a group to the goroutine of its first member; the lock is held.
func (r *Rendezvous[C]) start(group []*waiter[C]) {
	r.busy = true
	r.endGrace()
	group[0].lead <- group
}

func (r *Rendezvous[C]) endGrace() {
	if r.grace != nil {
		r.grace.Stop()
		r.grace = nil
	}
}

// run does the calls of a group. A call that is alone ends with its own context;
// shared calls go on as long as one of their contexts has not ended.
func (r *Rendezvous[C]) run(group []*waiter[C]) {
	began := time.Now()
	defer func() { r.finish(group, time.Since(began)) }()
	ctx, stop := together(group)
	defer stop()
	calls := make([]C, len(group))
	for i, w := range group {
		calls[i] = w.call
	}
	r.rules.Run(ctx, calls)
}

// together is a context that ends when those of all calls have ended.
func together[C any](group []*waiter[C]) (ctx context.Context, stop func()) {
	if len(group) == 1 {
		return group[0].ctx, func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(group[0].ctx))
	var left atomic.Int32
	left.Store(int32(len(group)))
	stops := make([]func() bool, len(group))
	for i, w := range group {
		stops[i] = context.AfterFunc(w.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// finish frees the engine after a group that took so long; 0 for a call that says
// nothing about the time of shared ones.
func (r *Rendezvous[C]) finish(group []*waiter[C], took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = false
	if took > 0 {
		r.last = took
	}
	for i, w := range group {
		if w.member.loop {
			r.coming[w.member] = struct{}{}
		}
		if i > 0 {
			close(w.done)
		}
	}
	if len(r.coming) > 0 && r.last >= graceShare {
		var timer *time.Timer
		timer = time.AfterFunc(r.last/graceShare, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.grace == timer {
				r.grace = nil
				r.dispatch()
			}
		})
		r.grace = timer
	}
	r.dispatch()
}
