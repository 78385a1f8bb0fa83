package batch_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/inference/batch"
)

// log is the order in which jobs went in.
type log struct {
	mu     sync.Mutex
	order  []string
	inside map[string]int // by key
	alone  bool
}

// work goes in for a while.
func (l *log) work(t *testing.T, turns *batch.Turns, name string, want batch.Want, takes time.Duration) {
	turn, first, err := turns.Enter(t.Context(), want)
	if !assert.NoError(t, err) {
		return
	}
	l.mu.Lock()
	if l.inside == nil {
		l.inside = map[string]int{}
	}
	for key, n := range l.inside {
		assert.False(t, n > 0 && key != want.Key && !want.Any && key != "", "%s beside %s", name, key)
		assert.False(t, n > 0 && (want.Alone || l.alone), "%s is not alone", name)
	}
	l.order = append(l.order, name)
	l.inside[want.Key]++
	l.alone = want.Alone
	l.mu.Unlock()
	if first {
		time.Sleep(ms / 2) // loads
		turn.Open()
	}
	time.Sleep(takes)
	l.mu.Lock()
	l.inside[want.Key]--
	l.alone = false
	l.mu.Unlock()
	turn.Leave()
}

func key(k string) batch.Want { return batch.Want{Key: k} }

func TestJobsOfTheSameWeightsAreInTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := batch.NewTurns(2, 10)
		var l log
		var wg sync.WaitGroup
		began := time.Now()
		for i, name := range []string{"a1", "a2", "a3", "b1"} {
			later(&wg, time.Duration(i)*ms, func() { l.work(t, turns, name, key(name[:1]), 10*ms) })
		}
		wg.Wait()
		require.Equal(t, []string{"a1", "a2", "a3", "b1"}, l.order)
		// a1 and a2 together, a3 beside a2, b1 after a3.
		require.Equal(t, 10*ms+ms/2+10*ms+10*ms+ms/2, time.Since(began))
	})
}

func TestNobodyJoinsBeforeTheWeightsAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := batch.NewTurns(4, 10)
		first, isFirst, err := turns.Enter(t.Context(), key("a"))
		require.NoError(t, err)
		require.True(t, isFirst)
		joined := make(chan bool, 1)
		go func() {
			turn, isFirst, err := turns.Enter(t.Context(), key("a"))
			assert.NoError(t, err)
			joined <- isFirst
			turn.Leave()
		}()
		synctest.Wait()
		require.Empty(t, joined)
		first.Open()
		require.False(t, <-joined)
		first.Leave()
	})
}

func TestNoJobIsPassedByMoreThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := batch.NewTurns(2, 3)
		var l log
		var wg sync.WaitGroup
		later(&wg, 0, func() { l.work(t, turns, "a0", key("a"), 10*ms) })
		later(&wg, 1*ms, func() { l.work(t, turns, "b", key("b"), 10*ms) })
		for i := range 10 {
			later(&wg, time.Duration(i+2)*ms, func() { l.work(t, turns, "a", key("a"), 10*ms) })
		}
		wg.Wait()
		require.Equal(t, []string{"a0", "a", "a", "a", "b"}, l.order[:5], "three pass b, then it is its turn")
	})
}

func TestWhoWantsToBeAloneIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := batch.NewTurns(4, 0)
		var l log
		var wg sync.WaitGroup
		later(&wg, 0, func() { l.work(t, turns, "a", key("a"), 10*ms) })
		later(&wg, 1*ms, func() { l.work(t, turns, "alone", batch.Want{Alone: true}, 10*ms) })
		later(&wg, 2*ms, func() { l.work(t, turns, "a", key("a"), 10*ms) })
		later(&wg, 3*ms, func() { l.work(t, turns, "any", batch.Want{Any: true}, 10*ms) })
		wg.Wait()
		require.Equal(t, []string{"a", "alone", "a", "any"}, l.order)
	})
}

func TestARetiredTurnTakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := batch.NewTurns(4, 10)
		turn, _, err := turns.Enter(t.Context(), key("a"))
		require.NoError(t, err)
		turn.Open()
		turn.Retire()
		next := make(chan bool)
		go func() {
			turn, first, err := turns.Enter(t.Context(), key("a"))
			assert.NoError(t, err)
			next <- first
			turn.Leave()
		}()
		synctest.Wait()
		turn.Leave()
		require.True(t, <-next, "a new turn")
	})
}

func TestAJobThatGivesUpLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := batch.NewTurns(4, 0)
		turn, _, err := turns.Enter(t.Context(), key("a"))
		require.NoError(t, err)
		turn.Open()
		cause := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, _, err := turns.Enter(ctx, key("b"))
			gone <- err
		}()
		synctest.Wait()
		joined := make(chan *batch.Turn, 1)
		go func() {
			turn, _, err := turns.Enter(t.Context(), key("a"))
			assert.NoError(t, err)
			joined <- turn
		}()
		synctest.Wait()
		require.Empty(t, joined, "b cannot be passed")
		cancel(cause)
		require.ErrorIs(t, <-gone, cause)
		(<-joined).Leave()
		turn.Leave()
	})
}

// FuzzTurns lets jobs of several kinds come and give up at random: all who stay get
// in, never two kinds together, never more than the limit.
func FuzzTurns(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			limit := 1 + random.IntN(4)
			turns := batch.NewTurns(limit, random.IntN(4))
			var mu sync.Mutex
			inside := map[string]int{}
			entered, left := 0, 0
			var wg sync.WaitGroup
			jobs := 1 + random.IntN(30)
			for i := range jobs {
				own := rand.New(rand.NewPCG(seed, uint64(i)+2))
				want := batch.Want{Key: string(rune('a' + own.IntN(3)))}
				if own.IntN(8) == 0 {
					want = batch.Want{Key: "alone", Alone: true}
				}
				wg.Go(func() {
					time.Sleep(time.Duration(own.IntN(60)) * ms)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if own.IntN(5) == 0 {
						time.AfterFunc(time.Duration(own.IntN(30))*ms, cancel)
					}
					turn, first, err := turns.Enter(ctx, want)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						assert.ErrorIs(t, err, context.Canceled)
						left++
						return
					}
					entered++
					inside[want.Key]++
					all := 0
					for key, n := range inside {
						all += n
						assert.True(t, n == 0 || key == want.Key)
					}
					assert.LessOrEqual(t, all, limit)
					assert.True(t, all == 1 || !want.Alone)
					mu.Unlock()
					time.Sleep(time.Duration(own.IntN(10)) * ms)
					if first && own.IntN(10) > 0 {
						turn.Open()
					}
					time.Sleep(time.Duration(own.IntN(10)) * ms)
					mu.Lock()
					inside[want.Key]--
					turn.Leave()
				})
			}
			wg.Wait()
			require.Equal(t, jobs, entered+left)
		})
	})
}
