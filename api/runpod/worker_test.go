package runpod_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

func TestJobIsAnsweredInEveryTemplateStyle(t *testing.T) {
	for name, style := range map[string]runpodtest.Style{"production": runpodtest.Production, "hub": runpodtest.Hub, "bare query": runpodtest.BareQuery} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, setup{server: runpodtest.Options{Style: style}}, echo, func(r *rig) {
				record := r.wait(r.Submit(map[string]string{"prompt": "füchse & <b>"}))
				require.Len(t, record.Finals, 1)
				require.JSONEq(t, `{"prompt":"füchse & <b>"}`, string(record.Finals[0].Output))
				require.Empty(t, record.Finals[0].Error)
				require.False(t, record.Finals[0].StopPod)
			})
		})
	}
}

func TestHandlerValuesBecomeOutputs(t *testing.T) {
	type pair struct {
		value any
		err   error
	}
	for _, tc := range []struct {
		name   string
		do     pair
		output string // "" for none
		err    string
		stop   bool
	}{
		{name: "object", do: pair{value: map[string]int{"a": 1}}, output: `{"a":1}`},
		{name: "list", do: pair{value: []int{1, 2}}, output: `[1,2]`},
		{name: "nil", do: pair{}, output: `null`},
		{name: "text", do: pair{value: "<&>"}, output: `"<&>"`},
		{name: "refresh", do: pair{value: runpod.Result{Output: 1, Refresh: true}}, output: `1`, stop: true},
		{name: "error", do: pair{err: errors.New("steps: too many")}, err: "steps: too many"},
		{name: "empty error", do: pair{err: errors.New("")}, err: "the job failed without a reason"},
		{name: "failure", do: pair{err: &runpod.Failure{Message: "no", Output: []int{1}, Refresh: true}}, err: "no", output: `[1]`, stop: true},
		{name: "wrapped failure", do: pair{err: fmt.Errorf("a: %w", &runpod.Failure{Message: "no"})}, err: "a: no"},
		{name: "not JSON", do: pair{value: func() {}}, err: "the output is not JSON: json: unsupported type: func()"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := func(context.Context, runpod.Job) (any, error) { return tc.do.value, tc.do.err }
			inBubble(t, setup{}, h, func(r *rig) {
				final := r.wait(r.Submit(1)).Finals[0]
				require.Equal(t, tc.err, final.Error)
				require.Equal(t, tc.stop, final.StopPod)
				require.Equal(t, tc.output, string(final.Output))
			})
		})
	}
}

func TestPanicFailsTheJobOnly(t *testing.T) {
	h := func(_ context.Context, job runpod.Job) (any, error) {
		if string(job.Input) == `"boom"` {
			panic("boom")
		}
		return "fine", nil
	}
	inBubble(t, setup{}, h, func(r *rig) {
		bad, good := r.Submit("boom"), r.Submit("ok")
		require.Equal(t, "internal error: boom", r.wait(bad).Finals[0].Error)
		require.Equal(t, `"fine"`, string(r.wait(good).Finals[0].Output))
	})
}

func TestMalformedJobs(t *testing.T) {
	inBubble(t, setup{server: runpodtest.Options{}}, echo, func(r *rig) {
		r.SubmitRaw("", `{"input":{}}`)
		r.SubmitRaw("", `{"id":7,"input":{}}`)
		r.SubmitRaw("", `{"id":null,"input":{}}`)
		r.SubmitRaw("", `{"id":"","input":{}}`)
		r.SubmitRaw("", `[]`)
		r.SubmitRaw("", `null`)
		r.SubmitRaw("", `"text"`)
		r.SubmitRaw("", `{"id":"cut`)
		r.SubmitRaw("listed", `[{"id":"listed","input":1},{"input":2},3]`)
		r.SubmitRaw("no-input", `{"id":"no-input"}`)
		r.SubmitRaw("null-input", `{"id":"null-input","input":null}`)
		r.SubmitRaw("extra", `{"id":"extra","input":[],"webhook":null,"batchId":"b","s3Config":7}`)
		require.Equal(t, "the job has no input", r.wait("no-input").Finals[0].Error)
		require.Equal(t, "null", string(r.wait("null-input").Finals[0].Output))
		require.Equal(t, "[]", string(r.wait("extra").Finals[0].Output))
		require.Equal(t, "1", string(r.wait("listed").Finals[0].Output))
	})
}

func TestTakeSurvivesEveryAnswer(t *testing.T) {
	script := []runpodtest.Answer{
		{Status: 204},
		{Status: 400},
		{Status: 400, Body: "FlashBoot"},
		{Status: 401},
		{Status: 403},
		{Status: 404},
		{Status: 429},
		{Status: 429, RetryAfter: "7"},
		{Status: 500},
		{Status: 502},
		{Status: 503},
		{Status: 200, Body: "<html>", ContentType: "text/html"},
		{Status: 200},
		{Status: 200, Body: `{"jobs":`},
		{Drop: true},
		{Delay: 2 * time.Second, Drop: true},
		{Cut: true},
		{Slow: 3 * time.Second},
	}
	inBubble(t, setup{}, echo, func(r *rig) {
		r.Script(runpodtest.TakeRoute, script...)
		for range 3 {
			require.JSONEq(t, `"job"`, string(r.wait(r.Submit("job")).Finals[0].Output))
		}
		require.Zero(t, r.Scripted(runpodtest.TakeRoute))
	})
}

func TestContentTypesOfAJob(t *testing.T) {
	for kind, taken := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "text/plain; charset=utf-8": true, "text/html": false, "image/png": false,
	} {
		t.Run(kind, func(t *testing.T) {
			var calls atomic.Int32
			h := func(_ context.Context, job runpod.Job) (any, error) {
				calls.Add(1)
				return job.Input, nil
			}
			synctest.Test(t, func(t *testing.T) {
				server := runpodtest.New(runpodtest.Options{})
				server.Script(runpodtest.TakeRoute, runpodtest.Answer{Status: 200, Body: `{"id":"x","input":1}`, ContentType: kind})
				cfg, err := runpod.LoadConfig(server.Env())
				require.NoError(t, err)
				cfg.Transport = server.Transport()
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				require.NoError(t, runpod.Start(ctx, h, cfg))
				require.NoError(t, server.Close())
				require.Equal(t, taken, calls.Load() == 1)
			})
		})
	}
}

func TestTakeWaitsAsTold(t *testing.T) {
	inBubble(t, setup{before: func(s *runpodtest.Server) {
		s.Script(runpodtest.TakeRoute, runpodtest.Answer{Status: 429}, runpodtest.Answer{Status: 429, RetryAfter: "20"})
	}}, echo, func(r *rig) {
		time.Sleep(time.Minute)
		takes := r.Takes()
		require.Equal(t, 5*time.Second, takes[1].At.Sub(takes[0].At))
		require.Equal(t, 20*time.Second, takes[2].At.Sub(takes[1].At))
	})
}

func TestTakeBacksOff(t *testing.T) {
	for name, tc := range map[string]struct {
		answer   runpodtest.Answer
		from, to int // calls in a minute
	}{
		"empty at once": {runpodtest.Answer{Status: 204}, 80, 240},
		"frozen":        {runpodtest.Answer{Status: 400}, 80, 240},
		"server error":  {runpodtest.Answer{Status: 500}, 8, 40},
		"wrong key":     {runpodtest.Answer{Status: 401}, 8, 40},
		"dropped":       {runpodtest.Answer{Drop: true}, 8, 40},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, setup{before: func(s *runpodtest.Server) {
				for range 1000 {
					s.Script(runpodtest.TakeRoute, tc.answer)
				}
			}}, echo, func(r *rig) {
				time.Sleep(time.Minute)
				n := len(r.Takes())
				require.GreaterOrEqual(t, n, tc.from)
				require.LessOrEqual(t, n, tc.to)
			})
		})
	}
}

func TestLongPollIsNotCut(t *testing.T) {
	inBubble(t, setup{server: runpodtest.Options{Hold: time.Hour}}, echo, func(r *rig) {
		time.Sleep(80 * time.Second)
		id := r.Submit(1) // within the first poll
		r.wait(id)
		synctest.Wait()
		require.Len(t, r.Takes(), 2)
		time.Sleep(100 * time.Second) // the poll ends at the client's 90 s and is renewed
		synctest.Wait()
		require.Len(t, r.Takes(), 3)
		r.wait(r.Submit(2))
	})
}

func TestDuplicateIsDoneOnceWhileHeld(t *testing.T) {
	var calls atomic.Int32
	h := func(context.Context, runpod.Job) (any, error) {
		calls.Add(1)
		time.Sleep(3 * time.Second)
		return 1, nil
	}
	inBubble(t, setup{config: func(c *runpod.Config) { c.Concurrency = 3 }}, h, func(r *rig) {
		id := r.Submit(1)
		r.until(id, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		r.SubmitRaw(id, fmt.Sprintf(`{"id":%q,"input":1}`, id))
		r.until(id, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 2 })
		r.wait(id)
		time.Sleep(time.Minute)
		require.Len(t, r.Job(id).Finals, 1)
		require.EqualValues(t, 1, calls.Load())
	})
}

func TestConcurrencyAndPrefetch(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		slots, prefetch       int
		overlap               bool
		wantRunning, wantHeld int32
		wantBatch             int // of the first take
	}{
		{"one slot", 1, 0, false, 1, 1, 0},
		{"one slot, one ahead", 1, 1, false, 1, 2, 0},
		{"the one ahead is started", 1, 1, true, 2, 2, 0},
		{"batch", 3, 2, false, 3, 5, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var running, most atomic.Int32
			h := func(context.Context, runpod.Job) (any, error) {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(5 * time.Second)
				running.Add(-1)
				return 1, nil
			}
			inBubble(t, setup{
				config: func(c *runpod.Config) { c.Concurrency, c.Prefetch, c.Overlap = tc.slots, tc.prefetch, tc.overlap },
			}, h, func(r *rig) {
				var ids []string
				for i := range 12 {
					ids = append(ids, r.Submit(i))
				}
				time.Sleep(time.Second)
				synctest.Wait()
				held := int32(0)
				for _, id := range ids {
					held += int32(len(r.Job(id).HandedOut))
				}
				require.Equal(t, tc.wantHeld, held)
				for _, id := range ids {
					require.Len(t, r.wait(id).HandedOut, 1)
				}
				require.Equal(t, tc.wantRunning, most.Load())
				require.Equal(t, tc.wantBatch, r.Takes()[0].Batch)
			})
		})
	}
}

func TestRefreshWorkerSetting(t *testing.T) {
	inBubble(t, setup{config: func(c *runpod.Config) { c.RefreshWorker = true }}, echo, func(r *rig) {
		first, second := r.Submit(1), r.Submit(2)
		require.True(t, r.wait(first).Finals[0].StopPod)
		time.Sleep(time.Minute)
		require.Empty(t, r.Job(second).HandedOut, "a worker that is replaced takes no more jobs")
		select {
		case err := <-r.done:
			r.done <- err
		default:
			t.Fatal("the worker should have ended by itself")
		}
	})
}

func TestRefreshIsAskedForByTheLastAnswer(t *testing.T) {
	h := func(_ context.Context, job runpod.Job) (any, error) {
		if string(job.Input) == "0" {
			time.Sleep(time.Second)
			return runpod.Result{Output: 0, Refresh: true}, nil
		}
		time.Sleep(5 * time.Second)
		return 1, nil
	}
	inBubble(t, setup{config: func(c *runpod.Config) { c.Concurrency = 2 }}, h, func(r *rig) {
		first, second := r.Submit(0), r.Submit(1)
		require.False(t, r.wait(first).Finals[0].StopPod, "the platform would stop the pod with a job in hand")
		require.True(t, r.wait(second).Finals[0].StopPod)
	})
}

func TestRefreshWithAJobThatArrivesLate(t *testing.T) {
	h := func(_ context.Context, job runpod.Job) (any, error) {
		switch string(job.Input) {
		case `"refresh"`:
			time.Sleep(500 * time.Millisecond)
			return runpod.Result{Refresh: true}, nil
		case `"stuck"`:
			time.Sleep(200 * time.Millisecond)
		}
		return 1, nil
	}
	inBubble(t, setup{config: func(c *runpod.Config) { c.Concurrency = 3 }, before: func(s *runpodtest.Server) {
		s.Script(runpodtest.TakeRoute, runpodtest.Answer{}, runpodtest.Answer{Slow: time.Second})
		s.Script(runpodtest.DoneRoute, runpodtest.Answer{Delay: 3 * time.Second})
	}}, h, func(r *rig) {
		stuck, refresh := r.Submit("stuck"), r.Submit("refresh")
		r.until(refresh, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		late := r.Submit("late")
		require.False(t, r.wait(stuck).Finals[0].StopPod)
		require.False(t, r.wait(late).Finals[0].StopPod)
		require.True(t, r.wait(refresh).Finals[0].StopPod)
	})
}

func TestStopEndsARunningJob(t *testing.T) {
	ended := make(chan error, 1)
	h := func(ctx context.Context, job runpod.Job) (any, error) {
		if string(job.Input) == "1" {
			return 1, nil
		}
		job.Progress("half")
		<-ctx.Done()
		ended <- context.Cause(ctx)
		job.Progress("late")
		return nil, ctx.Err()
	}
	inBubble(t, setup{}, h, func(r *rig) {
		id := r.Submit(0)
		r.until(id, func(rec runpodtest.Record) bool { return len(rec.Progress) == 1 })
		stopped := time.Now()
		r.Cancel(id)
		require.ErrorIs(t, <-ended, runpod.ErrStopped)
		r.wait(r.Submit(1))
		require.Less(t, time.Since(stopped), time.Second)
		time.Sleep(time.Minute)
		require.Empty(t, r.Job(id).Finals)
		require.Len(t, r.Job(id).Progress, 1)
	})
}

func TestStopDropsAJobThatHasNotStarted(t *testing.T) {
	var started atomic.Int32
	h := func(context.Context, runpod.Job) (any, error) {
		started.Add(1)
		time.Sleep(10 * time.Second)
		return 1, nil
	}
	inBubble(t, setup{}, h, func(r *rig) {
		first, ahead := r.Submit(0), r.Submit(1)
		r.until(ahead, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		r.Cancel(ahead)
		r.wait(first)
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, started.Load())
		require.Empty(t, r.Job(ahead).Finals)
	})
}

func TestAJobHandedOutAgainAfterItsStopIsDone(t *testing.T) {
	again := false
	h := func(ctx context.Context, _ runpod.Job) (any, error) {
		if again {
			return "done", nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	inBubble(t, setup{}, h, func(r *rig) {
		id := r.Submit(0)
		r.until(id, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		time.Sleep(time.Second)
		body := runpodtest.Answer{Status: 200, Body: `{"jobsToStop":["` + id + `"]}`}
		r.Script(runpodtest.StopRoute, body, body) // the second one comes when the job is gone
		r.Cancel(id)
		time.Sleep(7 * time.Second)
		require.Zero(t, r.Scripted(runpodtest.StopRoute))
		again = true
		r.Forget(id)
		r.SubmitRaw(id, `{"id":"`+id+`","input":1}`)
		require.Equal(t, `"done"`, string(r.wait(id).Finals[0].Output))
	})
}

func TestStopChannelSurvivesEveryAnswer(t *testing.T) {
	h := func(ctx context.Context, _ runpod.Job) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	inBubble(t, setup{before: func(s *runpodtest.Server) {
		s.Script(runpodtest.StopRoute,
			runpodtest.Answer{Status: 500}, runpodtest.Answer{Status: 429}, runpodtest.Answer{Drop: true}, runpodtest.Answer{Status: 200, Body: "[]"},
			runpodtest.Answer{Status: 200, Body: `{"jobsToStop":[1,null,{}]}`}, runpodtest.Answer{Status: 200, Body: "<html>", ContentType: "text/html"},
			runpodtest.Answer{Status: 200, Body: `{"jobsToStop":["unknown"]}`}, runpodtest.Answer{Status: 204})
	}}, h, func(r *rig) {
		id := r.Submit(0)
		r.until(id, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		r.Cancel(id)
		r.until(id, func(rec runpodtest.Record) bool { return !rec.Cancelled.IsZero() })
		require.Zero(t, r.Scripted(runpodtest.StopRoute))
	})
}

func TestShutdownFinishesTheJobInHand(t *testing.T) {
	h := func(context.Context, runpod.Job) (any, error) {
		time.Sleep(10 * time.Second)
		return "done", nil
	}
	inBubble(t, setup{config: func(c *runpod.Config) { c.ShutdownGrace = 25 * time.Second }}, h, func(r *rig) {
		id, ahead := r.Submit(1), r.Submit(2)
		r.until(ahead, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		r.stop()
		never := r.Submit(3)
		require.Equal(t, `"done"`, string(r.wait(id).Finals[0].Output))
		require.Equal(t, `"done"`, string(r.wait(ahead).Finals[0].Output))
		time.Sleep(time.Minute)
		require.Empty(t, r.Job(never).HandedOut)
	})
}

func TestShutdownAnswersWhatItCannotFinish(t *testing.T) {
	h := func(ctx context.Context, _ runpod.Job) (any, error) {
		select {
		case <-time.After(time.Hour):
			return "done", nil
		case <-ctx.Done():
			return nil, errors.New("interrupted")
		}
	}
	inBubble(t, setup{config: func(c *runpod.Config) { c.ShutdownGrace = 10 * time.Second }}, h, func(r *rig) {
		id, ahead := r.Submit(1), r.Submit(2)
		r.until(ahead, func(rec runpodtest.Record) bool { return len(rec.HandedOut) == 1 })
		r.stop()
		stopped := time.Now()
		for _, id := range []string{id, ahead} {
			require.Equal(t, runpod.ErrShutdown.Error(), r.wait(id).Finals[0].Error)
		}
		require.LessOrEqual(t, time.Since(stopped), 10*time.Second)
	})
}

func TestShutdownDoesNotWaitForASlowBody(t *testing.T) {
	inBubble(t, setup{before: func(s *runpodtest.Server) {
		s.Script(runpodtest.TakeRoute, runpodtest.Answer{Status: 200, Body: `{"id":"never"}`, Slow: time.Hour})
	}}, echo, func(r *rig) {
		time.Sleep(time.Second)
		start := time.Now()
		r.stop()
		err := <-r.done
		r.done <- err
		require.LessOrEqual(t, time.Since(start), 6*time.Second)
		time.Sleep(time.Hour) // until the server's handler is done, too
	})
}

func TestShutdownReturnsAtOnceWhenIdle(t *testing.T) {
	inBubble(t, setup{server: runpodtest.Options{Hold: time.Hour}}, echo, func(r *rig) {
		time.Sleep(time.Minute)
		start := time.Now()
		r.stop()
		err := <-r.done
		r.done <- err
		require.Zero(t, time.Since(start))
	})
}

func TestLogNamesTheJobAndNotItsPrompt(t *testing.T) {
	inBubble(t, setup{}, echo, func(r *rig) {
		id := r.Submit(map[string]string{"prompt": "secret"})
		r.wait(id)
		time.Sleep(time.Second)
		require.Contains(t, r.log.String(), `"job":"`+id+`"`)
		require.NotContains(t, r.log.String(), "secret")
	})
}

func TestEngineNeverWaitsForTheNetwork(t *testing.T) {
	var engine chan struct{} // made in the bubble, and no mutex: waiting for it must count as idle
	var begun time.Time
	var idle, last time.Duration
	h := func(context.Context, runpod.Job) (any, error) {
		time.Sleep(50 * time.Millisecond) // decode
		engine <- struct{}{}
		if last > 0 {
			idle += time.Since(begun) - last
		}
		time.Sleep(time.Second) // sampling
		last = time.Since(begun)
		<-engine
		time.Sleep(300 * time.Millisecond) // encode
		return strings.Repeat("x", 1000), nil
	}
	slow := runpodtest.Answer{Delay: 200 * time.Millisecond}
	inBubble(t, setup{
		config: func(c *runpod.Config) {
			c.Overlap = true
			engine, begun = make(chan struct{}, 1), time.Now()
		},
		before: func(s *runpodtest.Server) {
			for range 40 {
				s.Script(runpodtest.TakeRoute, slow)
				s.Script(runpodtest.DoneRoute, slow)
			}
		},
	}, h, func(r *rig) {
		var ids []string
		for i := range 20 {
			ids = append(ids, r.Submit(i))
		}
		for _, id := range ids {
			r.wait(id)
		}
		require.Zero(t, idle)
	})
}
