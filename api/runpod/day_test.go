package runpod_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
)

// day is a worker's day on a platform that is not well: 2,000 jobs, storms of errors on
// every route, a third of the replies to results lost, jobs that are handed out twice or
// stopped, an engine that hangs, dies and loads, and workers that are ended at random
// moments and started anew. Its time is virtual.
type day struct {
	*runpodtest.Server
	t      *testing.T
	rand   *rand.Rand
	engine chan struct{} // one job at a time
	lives  int
	left   int             // jobs that a worker had and could not answer in its last seconds, in a storm
	over   context.Context //nolint:containedctx // no job is left
}

const (
	dayJobs = 2000
	dayPing = 10 * time.Second // as on the platform
)

// between is a random time.
func (d *day) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.rand.Int64N(int64(most-least)))
}

// handle stands for the engine: what the input says, one job at a time.
func (d *day) handle(ctx context.Context, job runpod.Job) (any, error) {
	select {
	case d.engine <- struct{}{}:
		defer func() { <-d.engine }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	took, outcome := 8*time.Second, error(nil)
	switch text := string(job.Input); {
	case strings.Contains(text, "hangs"): // and is killed for it
		took, outcome = 3*time.Minute, errors.New("the engine process made no progress for 3m0s")
	case strings.Contains(text, "dies"):
		took, outcome = time.Second, errors.New("the engine process was ended by signal 9 (killed)")
	case strings.Contains(text, "loads"):
		took = 40 * time.Second
	}
	for range int(took / time.Second) {
		job.Progress("a step")
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return job.Input, outcome
}

// submit puts jobs into the queue over the day, and stops and repeats some.
func (d *day) submit() (ids []string) {
	pace := rand.New(rand.NewPCG(1, 1)) // of its own: this runs beside others
	for i := range dayJobs {
		kinds := []string{"hangs", "dies", "loads"}
		kind := "plain"
		if i%25 < len(kinds) {
			kind = kinds[i%25]
		}
		id := d.Submit(kind)
		ids = append(ids, id)
		switch n := pace.IntN(100); {
		case n < 5:
			time.AfterFunc(time.Duration(pace.Int64N(int64(time.Minute))), func() {
				if len(d.Job(id).Finals) == 0 {
					d.Cancel(id)
				}
			})
		case n < 10 && kind != "hangs" && kind != "dies": // those fail, and may be sent again by a client
			time.AfterFunc(time.Duration(pace.Int64N(int64(30*time.Second))), func() {
				if r := d.Job(id); len(r.HandedOut) > 0 && len(r.Finals) == 0 && r.Cancelled.IsZero() {
					d.Redeliver(id)
				}
			})
		}
		time.Sleep(time.Duration(pace.ExpFloat64() * float64(42*time.Second)))
	}
	return ids
}

// storms make the routes fail for a while, one after another.
func (d *day) storms() {
	storm := rand.New(rand.NewPCG(2, 2))
	kinds := []runpodtest.Answer{
		{Status: 401},
		{Status: 429},
		{Status: 429, RetryAfter: "7"},
		{Status: 500},
		{Status: 502},
		{Drop: true},
		{Delay: 5 * time.Second, Drop: true},
		{Cut: true},
		{Status: 200, Body: "<html>", ContentType: "text/html"},
	}
	routes := []runpodtest.Route{runpodtest.TakeRoute, runpodtest.StopRoute, runpodtest.ProgressRoute, runpodtest.PingRoute}
	for d.over.Err() == nil {
		for d.Scripted(runpodtest.DoneRoute) < 20 {
			switch n := storm.IntN(100); {
			case n < 30:
				d.Script(runpodtest.DoneRoute, runpodtest.Answer{Lose: true})
			case n < 45:
				d.Script(runpodtest.DoneRoute, kinds[storm.IntN(7)])
			default:
				d.Script(runpodtest.DoneRoute, runpodtest.Answer{})
			}
		}
		if storm.IntN(20) == 0 {
			kind, route := kinds[storm.IntN(len(kinds))], routes[storm.IntN(len(routes))]
			for range 1 + storm.IntN(10) {
				d.Script(route, kind)
			}
		}
		time.Sleep(20 * time.Second)
	}
}

// live is the life of one worker: a cold start, some hours of jobs, and SIGTERM at a
// random moment, at the latest when no job is left.
func (d *day) live() {
	d.left += d.NextWorker()
	cfg, err := runpod.LoadConfig(d.Env())
	require.NoError(d.t, err)
	cfg.Transport, cfg.Log = d.Transport(), zerolog.Nop()
	cfg.Overlap = d.lives%2 == 1
	start := d.between(time.Second, 90*time.Second)
	cfg.Prepare = func(context.Context) error { time.Sleep(start); return nil }
	ctx, stop := context.WithTimeout(d.over, d.between(2*time.Minute, 3*time.Hour))
	defer stop()
	require.NoError(d.t, runpod.Start(ctx, d.handle, cfg))
	require.LessOrEqual(d.t, d.LongestPause(), 2*dayPing, "a heartbeat was late by more than one interval")
	d.lives++
	time.Sleep(d.between(time.Second, time.Minute)) // the platform starts another one
}

func TestADayOnThePlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over, end := context.WithTimeout(t.Context(), 30*time.Hour) // a lost job must not make it longer
		defer end()
		d := &day{
			Server: runpodtest.New(runpodtest.Options{PingInterval: dayPing, Hold: 30 * time.Second}), t: t,
			rand: rand.New(rand.NewPCG(3, 3)), engine: make(chan struct{}, 1), over: over,
		}
		begun := time.Now()
		go d.storms()
		go func() {
			for _, id := range d.submit() {
				_, err := d.Until(over, id, func(r runpodtest.Record) bool { return len(r.Finals) > 0 || !r.Cancelled.IsZero() })
				if err != nil {
					return
				}
			}
			time.Sleep(time.Hour) // results whose replies were lost
			end()
		}()
		for over.Err() == nil {
			d.live()
		}
		var answered, stopped, shut, repeated int
		for i := range dayJobs {
			r := d.Job(fmt.Sprintf("job-%d-e1", i+1))
			switch {
			case len(r.Finals) > 0:
				answered++
				if len(r.Finals) > 1 {
					repeated++ // the reply to the first was lost; anything else is a violation
				}
				if r.Finals[0].Error == runpod.ErrShutdown.Error() {
					shut++
				}
			case !r.Cancelled.IsZero():
				stopped++
			default:
				t.Errorf("%s is lost: %+v", r.ID, r)
			}
		}
		t.Logf("%s: %d workers, %d jobs answered (%d again after a lost reply, %d at the end of their worker, %d by the next worker), %d stopped",
			time.Since(begun).Round(time.Minute), d.lives, answered, repeated, shut, d.left, stopped)
		require.Equal(t, dayJobs, answered+stopped)
		require.LessOrEqual(t, d.left, d.lives, "the end of a worker leaves few")
		require.Greater(t, d.lives, 10)
		require.Greater(t, stopped, dayJobs/100)
		require.Greater(t, repeated, dayJobs/5)
		require.NoError(t, d.Close())
		synctest.Wait()
		require.Empty(t, d.Violations())
	})
}
