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
		q := inference.NewQueue(nil, 0)
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
		q := inference.NewQueue(nil, 1)
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
		q := inference.NewQueue(nil, 0)
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
		q := inference.NewQueue(nil, 0)
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
		q := inference.NewQueue(nil, 0)
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

func TestRoomAndExpectations(t *testing.T) {
	q := inference.NewQueue(nil, 1)
	require.NoError(t, q.Room())
	admitted, stop := q.Expect("a")
	defer stop()
	other, stopOther := q.Expect("b")
	defer stopOther()
	err := q.Do(t.Context(), inference.Job{ID: "a"}, func(context.Context, inference.Generator, inference.Hooks) error {
		require.Equal(t, fault.Busy, fault.CodeOf(q.Room()))
		return nil
	})
	require.NoError(t, err)
	<-admitted // though the job has ended by now
	select {
	case <-other:
		require.Fail(t, "another job was admitted")
	default:
	}
	require.NoError(t, q.Room())
}
