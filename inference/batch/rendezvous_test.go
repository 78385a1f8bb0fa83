package batch_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/inference/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is a call of a scripted engine: calls of one kind go along.
type call struct {
	name, kind string
	takes      time.Duration
	answer     string
}

// engine records what it runs. A group takes as long as its longest call.
type engine struct {
	t     *testing.T
	began time.Time

	mu   sync.Mutex
	busy bool
	runs []run
}

type run struct {
	at    time.Duration
	names []string
	ctx   context.Context //nolint:containedctx // what the test asks about
}

func newEngine(t *testing.T) (*engine, *batch.Rendezvous[*call]) {
	e := &engine{t: t, began: time.Now()}
	return e, batch.NewRendezvous(batch.Rules[*call]{
		Group: func(waiting []*call) (chosen []int) {
			for i, c := range waiting {
				if c.kind == waiting[0].kind {
					chosen = append(chosen, i)
				}
			}
			return chosen
		},
		Run: e.run,
	})
}

func (e *engine) run(ctx context.Context, group []*call) {
	r := run{at: time.Since(e.began), ctx: ctx}
	var takes time.Duration
	for _, c := range group {
		r.names = append(r.names, c.name)
		takes = max(takes, c.takes)
	}
	e.enter(r)
	defer e.leave()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return
	}
	for _, c := range group {
		c.answer = "to " + c.name
	}
}

func (e *engine) enter(r run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	assert.False(e.t, e.busy, "two at once")
	e.busy = true
	e.runs = append(e.runs, r)
}

func (e *engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy = false
}

func (e *engine) names() (names [][]string) {
	for _, r := range e.runs {
		names = append(names, r.names)
	}
	return names
}

// later runs f on a goroutine of its own after a time.
func later(wg *sync.WaitGroup, after time.Duration, f func()) {
	wg.Go(func() {
		time.Sleep(after)
		f()
	})
}

const (
	ms = time.Millisecond
)

func share(t *testing.T, m *batch.Member[*call], name, kind string, takes time.Duration) {
	t.Helper()
	c := &call{name: name, kind: kind, takes: takes}
	assert.NoError(t, m.Share(t.Context(), c))
	assert.Equal(t, "to "+name, c.answer)
}

func TestTheNextGroupGathersWhileACallRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		var wg sync.WaitGroup
		for i, name := range []string{"a", "b", "c", "d"} {
			m := r.Join()
			later(&wg, time.Duration(i)*ms, func() { share(t, m, name, "x", 10*ms) })
		}
		wg.Wait()
		require.Equal(t, [][]string{{"a"}, {"b", "c", "d"}}, e.names())
		require.Equal(t, 10*ms, e.runs[1].at, "without a pause")
	})
}

func TestTheOldestMemberIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		old, middle, young := r.Join(), r.Join(), r.Join()
		var wg sync.WaitGroup
		later(&wg, 0, func() { share(t, young, "young", "x", 10*ms) })
		later(&wg, 1*ms, func() { share(t, middle, "middle", "y", 10*ms) })
		later(&wg, 2*ms, func() { share(t, old, "old", "x", 10*ms) })
		later(&wg, 11*ms, func() { share(t, young, "young again", "x", 10*ms) })
		wg.Wait()
		require.Equal(t, [][]string{{"young"}, {"old"}, {"middle"}, {"young again"}}, e.names(), "the young one came back too late to go along")
	})
}

func TestCallsOfAnotherKindDoNotGoAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		var wg sync.WaitGroup
		for i, kind := range []string{"x", "x", "y", "x", "y"} {
			m := r.Join()
			later(&wg, time.Duration(i)*ms, func() { share(t, m, kind+string(rune('0'+i)), kind, 10*ms) })
		}
		wg.Wait()
		require.Equal(t, [][]string{{"x0"}, {"x1", "x3"}, {"y2", "y4"}}, e.names())
	})
}

func TestWhoMustBeAloneGoesFirstInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		first, second, third := r.Join(), r.Join(), r.Join()
		var wg sync.WaitGroup
		alone := func(m *batch.Member[*call], name string) func() {
			return func() {
				assert.NoError(t, m.Alone(t.Context(), func() { e.run(t.Context(), []*call{{name: name, takes: 5 * ms}}) }))
			}
		}
		later(&wg, 0, func() { share(t, first, "a", "x", 10*ms) })
		later(&wg, 1*ms, func() { share(t, second, "b", "x", 10*ms) })
		later(&wg, 2*ms, alone(third, "c alone"))
		later(&wg, 3*ms, alone(r.Join(), "d alone"))
		wg.Wait()
		require.Equal(t, [][]string{{"a"}, {"c alone"}, {"d alone"}, {"b"}}, e.names())
	})
}

// steps makes n calls with a pause between them, as a sampler does.
func steps(t *testing.T, m *batch.Member[*call], name string, n int, pause time.Duration) {
	m.Begin()
	defer m.End()
	for range n {
		share(t, m, name, "x", 80*ms)
		time.Sleep(pause)
	}
}

func TestMembersInStepStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		var wg sync.WaitGroup
		for i, name := range []string{"a", "b", "c"} {
			m := r.Join()
			later(&wg, time.Duration(i)*ms, func() { steps(t, m, name, 4, time.Duration(i+1)*ms) })
		}
		wg.Wait()
		require.Equal(t, [][]string{{"a"}, {"a", "b", "c"}, {"a", "b", "c"}, {"a", "b", "c"}, {"b", "c"}}, e.names())
		require.Equal(t, 80*ms+1*ms, e.runs[1].at, "a was waited for, not longer than it took")
		require.Equal(t, 2*80*ms+1*ms+3*ms, e.runs[2].at)
	})
}

func TestASlowMemberIsWaitedForAShareOfACallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		var wg sync.WaitGroup
		slow, quick := r.Join(), r.Join()
		later(&wg, 0, func() { steps(t, slow, "slow", 2, 500*ms) })
		later(&wg, 1*ms, func() { steps(t, quick, "quick", 3, 0) })
		wg.Wait()
		require.Equal(t, []string{"quick"}, e.runs[1].names)
		require.Equal(t, 80*ms+10*ms, e.runs[1].at, "an eighth of the call before")
	})
}

func TestACallWithdrawsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		var wg sync.WaitGroup
		busy, gone, other := r.Join(), r.Join(), r.Join()
		cause := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		later(&wg, 0, func() { share(t, busy, "a", "x", 10*ms) })
		later(&wg, 1*ms, func() { assert.ErrorIs(t, gone.Share(ctx, &call{name: "b", kind: "x"}), cause) })
		later(&wg, 2*ms, func() { share(t, other, "c", "x", 10*ms) })
		later(&wg, 3*ms, func() {
			assert.ErrorIs(t, r.Join().Alone(ctx, func() { assert.Fail(t, "it ran") }), cause)
		})
		later(&wg, 5*ms, func() { cancel(cause) })
		wg.Wait()
		require.Equal(t, [][]string{{"a"}, {"c"}}, e.names())
	})
}

func TestAGroupGoesOnUntilNobodyWantsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := newEngine(t)
		var wg sync.WaitGroup
		busy := r.Join()
		later(&wg, 0, func() { share(t, busy, "a", "x", 10*ms) })
		stop := make([]context.CancelFunc, 4)
		answers := make([]string, 4)
		for i := range 4 {
			m := r.Join()
			ctx, cancel := context.WithCancel(t.Context())
			stop[i] = cancel
			kind := "y"
			if i >= 2 {
				kind = "z"
			}
			later(&wg, time.Duration(i+1)*ms, func() {
				c := &call{name: string(rune('b' + i)), kind: kind, takes: 10 * ms}
				assert.NoError(t, m.Share(ctx, c), "it was in the engine's hands")
				answers[i] = c.answer
			})
		}
		later(&wg, 15*ms, stop[0]) // b, which leads the group of b and c
		later(&wg, 25*ms, func() { stop[2](); stop[3]() })
		wg.Wait()
		stop[1]()
		require.Equal(t, [][]string{{"a"}, {"b", "c"}, {"d", "e"}}, e.names())
		require.Equal(t, []string{"to b", "to c", "", ""}, answers)
	})
}

func TestACallForItselfHasItsOwnContext(t *testing.T) {
	e, r := newEngine(t)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "own")
	require.NoError(t, r.Join().Share(ctx, &call{name: "a"}))
	require.Equal(t, ctx, e.runs[0].ctx)
}

func TestAPanicFreesTheEngine(t *testing.T) {
	_, r := newEngine(t)
	require.Panics(t, func() { _ = r.Join().Alone(t.Context(), func() { panic("no") }) })
	require.NoError(t, r.Join().Share(t.Context(), &call{name: "a"}))
}

// FuzzRendezvous lets members arrive, call, leave and be canceled at random: each call
// is answered by its own answer or withdrawn, none runs twice, and nobody waits for
// ever.
func FuzzRendezvous(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			e, r := newEngine(t)
			random := rand.New(rand.NewPCG(seed, 1))
			var wg sync.WaitGroup
			for i := range 2 + random.IntN(9) {
				m := r.Join()
				own := rand.New(rand.NewPCG(seed, uint64(i)+2))
				wg.Go(func() {
					time.Sleep(time.Duration(own.IntN(50)) * ms)
					m.Begin()
					defer m.End()
					for step := range own.IntN(8) {
						ctx, cancel := context.WithCancel(t.Context())
						if own.IntN(4) == 0 {
							time.AfterFunc(time.Duration(own.IntN(30))*ms, cancel)
						}
						name := string(rune('a'+i)) + string(rune('0'+step))
						if own.IntN(5) == 0 {
							_ = m.Alone(ctx, func() { e.run(ctx, []*call{{name: name, takes: ms}}) })
						} else {
							c := &call{name: name, kind: string(rune('x' + own.IntN(2))), takes: time.Duration(own.IntN(20)) * ms}
							if err := m.Share(ctx, c); err == nil && ctx.Err() == nil {
								assert.Equal(t, "to "+name, c.answer)
							}
						}
						cancel()
						time.Sleep(time.Duration(own.IntN(3)) * ms)
					}
				})
			}
			wg.Wait()
			var all []string
			for _, names := range e.names() {
				all = append(all, names...)
			}
			slices.Sort(all)
			require.Len(t, slices.Compact(slices.Clone(all)), len(all), "a call ran twice")
		})
	})
}
