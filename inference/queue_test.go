package inference_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
)

// do runs fn in the queue in the background and returns its error's channel.
func do(ctx context.Context, q *inference.Queue, id string, fn func(context.Context, inference.Hooks) error) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- q.Do(ctx, inference.Job{ID: id, Name: "test"}, func(ctx context.Context, _ inference.Generator, h inference.Hooks) error {
			return fn(ctx, h)
		})
	}()
	return done
}

func TestQueueRunsOneJobAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{})
		var (
			mu    sync.Mutex
			order []string
			busy  int
		)
		release := make(chan struct{})
		var done []<-chan error
		for _, id := range []string{"a", "b", "c"} {
			done = append(done, do(t.Context(), q, id, func(context.Context, inference.Hooks) error {
				mu.Lock()
				order = append(order, id)
				busy++
				assert.Equal(t, 1, busy)
				mu.Unlock()
				<-release
				mu.Lock()
				busy--
				mu.Unlock()
				return nil
			}))
			synctest.Wait() // so that the order of arrival is known
		}
		require.Equal(t, []string{"a", "b", "c"}, q.IDs())
		_, ahead, ok := q.Find("c")
		require.True(t, ok)
		require.Equal(t, 2, ahead)
		close(release)
		for _, d := range done {
			require.NoError(t, <-d)
		}
		require.Equal(t, []string{"a", "b", "c"}, order)
		require.Empty(t, q.IDs())
		require.Equal(t, "c", q.Last().ID)
	})
}

func TestQueueRefusesWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{Depth: 1})
		release := make(chan struct{})
		first := do(t.Context(), q, "a", func(context.Context, inference.Hooks) error { <-release; return nil })
		synctest.Wait()
		second := do(t.Context(), q, "b", func(context.Context, inference.Hooks) error { return nil })
		require.Equal(t, fault.Busy, fault.CodeOf(<-second))
		close(release)
		require.NoError(t, <-first)
		require.NoError(t, <-do(t.Context(), q, "c", func(context.Context, inference.Hooks) error { return nil }))
	})
}

func TestQueueForgetsAWaitingJobWhoseClientLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{})
		release := make(chan struct{})
		first := do(t.Context(), q, "a", func(context.Context, inference.Hooks) error { <-release; return nil })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		second := do(ctx, q, "b", func(context.Context, inference.Hooks) error {
			t.Error("a job that was given up ran")
			return nil
		})
		synctest.Wait()
		cancel()
		require.Equal(t, fault.Canceled, fault.CodeOf(<-second))
		require.Equal(t, []string{"a"}, q.IDs())
		close(release)
		require.NoError(t, <-first)
	})
}

func TestQueueReachesTheRunningJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{})
		cause := errors.New("stopped by the platform")
		done := do(t.Context(), q, "a", func(ctx context.Context, h inference.Hooks) error {
			h.Report(inference.Progress{Phase: inference.PhaseSampling, Step: 3, Steps: 20})
			<-ctx.Done()
			assert.True(t, h.Control.Interrupted())
			assert.Equal(t, 2, h.Control.Skips())
			return context.Cause(ctx)
		})
		synctest.Wait()
		q.Interrupt()
		q.Skip()
		q.Skip()
		state, ok := q.Running()
		require.True(t, ok)
		require.True(t, state.Interrupted)
		require.True(t, state.Skipped)
		require.Equal(t, 3, state.Progress.Step)
		require.False(t, q.Cancel("nobody", cause))
		require.True(t, q.Cancel("a", cause))
		require.ErrorIs(t, <-done, cause)
		_, ok = q.Running()
		require.False(t, ok)
	})
}

func TestQueueFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{})
		running := do(t.Context(), q, "a", func(_ context.Context, h inference.Hooks) error {
			<-h.Control.Changed()
			assert.True(t, h.Control.Interrupted())
			return nil
		})
		synctest.Wait()
		waiting := do(t.Context(), q, "b", func(context.Context, inference.Hooks) error {
			t.Error("a job ran at the end")
			return nil
		})
		synctest.Wait()
		q.Finish(fault.Errorf(fault.Canceled, "queue", "closing time"))
		require.NoError(t, <-running)
		require.ErrorContains(t, <-waiting, "closing time")
		require.Empty(t, q.IDs())
	})
}

func nothing(context.Context, inference.Generator, inference.Hooks) error { return nil }

func TestAReservedPlaceCounts(t *testing.T) {
	q := inference.NewQueue(nil, inference.QueueOptions{Depth: 1})
	place, err := q.Reserve(t.Context())
	require.NoError(t, err)
	require.Equal(t, fault.Busy, fault.CodeOf(q.Do(t.Context(), inference.Job{}, nothing)))
	require.NoError(t, place.Do(t.Context(), inference.Job{}, func(context.Context, inference.Generator, inference.Hooks) error {
		_, err := q.Reserve(t.Context())
		require.Equal(t, fault.Busy, fault.CodeOf(err), "while the job runs")
		return nil
	}))
	place.Release()
	require.Equal(t, fault.Internal, fault.CodeOf(place.Do(t.Context(), inference.Job{}, nothing)), "a place serves one job")

	unused, err := q.Reserve(t.Context())
	require.NoError(t, err)
	unused.Release()
	unused.Release()
	handed, err := q.Reserve(t.Context())
	require.NoError(t, err, "a released place is free, once")
	ctx := inference.WithPlace(t.Context(), handed)
	require.NoError(t, q.Do(ctx, inference.Job{}, nothing), "the place of the context")
	require.NoError(t, q.Do(ctx, inference.Job{}, nothing), "a place like any other")
}

func TestSeveralJobsRunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{Jobs: 2})
		release := map[string]chan struct{}{}
		done := map[string]<-chan error{}
		for _, id := range []string{"a", "b", "c", "d"} {
			release[id] = make(chan struct{})
			done[id] = do(t.Context(), q, id, func(_ context.Context, h inference.Hooks) error {
				if id != "b" {
					h.Report(inference.Progress{})
				}
				<-release[id]
				return nil
			})
			synctest.Wait()
		}
		require.Equal(t, []string{"b", "c", "d"}, q.Waiting(), "b has told nothing yet")
		_, ahead, _ := q.Find("b")
		require.Equal(t, 1, ahead)
		_, ahead, _ = q.Find("d")
		require.Equal(t, 3, ahead)
		state, _ := q.Running()
		require.Equal(t, "a", state.ID, "the oldest")

		close(release["b"])
		require.NoError(t, <-done["b"])
		synctest.Wait()
		require.Equal(t, []string{"d"}, q.Waiting())
		require.Equal(t, []string{"a", "c", "d"}, q.IDs())
		for _, id := range []string{"a", "c", "d"} {
			close(release[id])
			require.NoError(t, <-done[id])
		}
		require.Empty(t, q.IDs())
	})
}

func TestObserversAreToldEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type told struct {
			kind  inference.EventKind
			ahead int
			step  int
			err   error
		}
		var all, own []told
		record := func(list *[]told) inference.Observer {
			return func(e inference.Event) {
				if e.Job.ID == "b" {
					*list = append(*list, told{e.Kind, e.Ahead, e.Job.Progress.Step, e.Err})
				}
			}
		}
		q := inference.NewQueue(nil, inference.QueueOptions{Observer: record(&all)})
		release := make(chan struct{})
		first := do(t.Context(), q, "a", func(context.Context, inference.Hooks) error { <-release; return nil })
		synctest.Wait()
		other := do(t.Context(), q, "x", func(context.Context, inference.Hooks) error { return nil })
		synctest.Wait()
		failure := errors.New("no")
		second := do(inference.WithObserver(t.Context(), record(&own)), q, "b", func(_ context.Context, h inference.Hooks) error {
			h.Report(inference.Progress{Step: 1})
			h.Report(inference.Progress{Step: 2})
			return failure
		})
		synctest.Wait()
		close(release)
		require.NoError(t, <-first)
		require.NoError(t, <-other)
		require.ErrorIs(t, <-second, failure)
		require.Equal(t, own, all)
		require.Equal(t, told{inference.Admitted, 2, 0, nil}, own[0])
		last := len(own) - 1
		require.Equal(t, []told{{inference.Started, 0, 0, nil}, {inference.Progressed, 0, 1, nil}, {inference.Progressed, 0, 2, nil}, {inference.Done, 0, 2, failure}}, own[last-3:])
		for _, e := range own[1 : last-3] {
			require.Equal(t, inference.Moved, e.kind)
			require.LessOrEqual(t, e.ahead, 1)
		}
	})
}

func TestAJobThatEndsWhileItWaitsIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inference.NewQueue(nil, inference.QueueOptions{})
		release := make(chan struct{})
		first := do(t.Context(), q, "a", func(context.Context, inference.Hooks) error { <-release; return nil })
		synctest.Wait()
		var kinds []inference.EventKind
		second := do(inference.WithObserver(t.Context(), func(e inference.Event) { kinds = append(kinds, e.Kind) }), q, "b", func(context.Context, inference.Hooks) error { return nil })
		synctest.Wait()
		require.True(t, q.Cancel("b", errors.New("stopped")))
		require.Equal(t, fault.Canceled, fault.CodeOf(<-second))
		require.Equal(t, []inference.EventKind{inference.Admitted, inference.Done}, kinds)
		close(release)
		require.NoError(t, <-first)
	})
}

func TestAPanicLeavesTheQueue(t *testing.T) {
	q := inference.NewQueue(nil, inference.QueueOptions{})
	var last inference.Event
	ctx := inference.WithObserver(t.Context(), func(e inference.Event) { last = e })
	require.Panics(t, func() {
		_ = q.Do(ctx, inference.Job{ID: "a"}, func(context.Context, inference.Generator, inference.Hooks) error { panic("no") })
	})
	require.Equal(t, inference.Done, last.Kind)
	require.Error(t, last.Err)
	require.Empty(t, q.IDs())
	require.NoError(t, q.Do(t.Context(), inference.Job{}, nothing))
}
