package batch

import (
	"context"
	"slices"
	"sync"
)

// Turns lets jobs in that work with the same weights, a few at a time, and after
// them those with other weights. A turn begins with the job that has waited
// longest; others that need the same weights join as long as the turn lasts. No job
// waits for more than a fixed number of jobs that came after it. It is safe for
// concurrent use.
type Turns struct {
	limit     int // jobs inside at once
	overtakes int // jobs that may pass one that waits

	mu      sync.Mutex
	current *Turn // nil when nobody is inside
	waiting []*entrant
}

// NewTurns returns turns in which at most limit jobs are inside at once, and no
// job is passed by more than overtakes that came later.
func NewTurns(limit, overtakes int) *Turns {
	return &Turns{limit: max(limit, 1), overtakes: max(overtakes, 0)}
}

// Want is what a job needs of a turn.
type Want struct {
	Key   string // equal for jobs that can be inside together
	Alone bool   // nobody else may be inside
	Any   bool   // whatever turn there is will do
}

// Turn is the time between two changes of weights.
type Turn struct {
	turns  *Turns
	want   Want
	inside int
	open   bool // others may join
	over   bool // nobody may join any more
}

// entrant is a job that waits.
type entrant struct {
	want   Want
	passed int // jobs that came later and went in
	enter  chan *Turn
	first  bool // it begins the turn; set before enter is served
}

// Enter waits until a job may begin. The first job of a turn makes things ready and
// lets the others in with Open; each calls Leave at its end. The error is that of a
// context which ended before.
func (t *Turns) Enter(ctx context.Context, want Want) (turn *Turn, first bool, err error) {
	e := &entrant{want: want, enter: make(chan *Turn, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, e)
	t.admit()
	t.mu.Unlock()
	select {
	case turn := <-e.enter:
		return turn, e.first, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, e); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.admit() // it may have been the one that nobody could pass
		return nil, false, context.Cause(ctx)
	}
	return <-e.enter, e.first, nil
}

// Open lets others join the turn.
func (u *Turn) Open() {
	u.turns.mu.Lock()
	defer u.turns.mu.Unlock()
	u.open = true
	u.turns.admit()
}

// Retire lets nobody join any more: the next job begins a new turn.
func (u *Turn) Retire() {
	u.turns.mu.Lock()
	defer u.turns.mu.Unlock()
	u.over = true
}

// Leave ends a job's part in the turn.
func (u *Turn) Leave() {
	t := u.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.inside--; u.inside == 0 {
		t.current = nil
	}
	t.admit()
}

// admit lets in whoever may enter; the lock is held.
func (t *Turns) admit() {
	if t.current == nil && len(t.waiting) > 0 {
		first := t.waiting[0]
		t.waiting = slices.Delete(t.waiting, 0, 1)
		t.current = &Turn{turns: t, want: first.want, inside: 1}
		first.first = true
		first.enter <- t.current
	}
	for i := 0; t.current != nil && i < len(t.waiting); {
		e := t.waiting[i]
		switch u := t.current; {
		case u.inside >= t.limit, !u.open, u.over, u.want.Alone:
			return
		case !e.want.Alone && (e.want.Any || e.want.Key == u.want.Key && !u.want.Any):
			t.waiting = slices.Delete(t.waiting, i, i+1)
			for _, passed := range t.waiting[:i] {
				passed.passed++
			}
			u.inside++
			e.enter <- u
		case e.passed >= t.overtakes:
			return
		default:
			i++
		}
	}
}
