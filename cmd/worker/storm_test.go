//go:build faults

package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod/runpodtest"
)

// storm is a queue that workers in processes of their own work on, one after another, while
// nothing goes well. What TestADayOnThePlatform of package runpod does with virtual time, this
// does with the whole program and sockets.
type storm struct {
	*runpodtest.Server
	t    *testing.T
	rand *rand.Rand
	home string
	cmd  *exec.Cmd
	log  bytes.Buffer

	lives, struck, left int
	stops               []string // jobs that are to be stopped
}

const (
	stormJobs  = 2000
	stormAhead = 12 // jobs in the queue
)

// begin starts a worker.
func (s *storm) begin() {
	s.left += s.NextWorker()
	s.cmd = exec.Command("/proc/self/exe", "runpod")
	s.cmd.Dir = s.home
	variables := environ(s.home, openGate, "WARM_UP=false", "RUNPOD_CONCURRENCY=2")
	maps.Copy(variables, s.Env())
	for name, value := range variables {
		s.cmd.Env = append(s.cmd.Env, name+"="+value)
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	require.NoError(s.t, s.cmd.Start())
	s.lives++
}

// end sends SIGTERM to the worker, which ends well and leaves no process.
func (s *storm) end() {
	for _, id := range s.stops { // one that the worker has not heard of would be told to the next
		s.until(id)
	}
	s.stops = nil
	engine := childOf(s.cmd.Process.Pid)
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(s.t, s.cmd.Wait())
	if engine != 0 {
		require.ErrorIs(s.t, syscall.Kill(engine, 0), syscall.ESRCH)
	}
}

// over reports whether a job has ended.
func over(r runpodtest.Record) bool { return len(r.Finals) > 0 || !r.Cancelled.IsZero() }

// until waits for the end of a job.
func (s *storm) until(id string) {
	require.Eventually(s.t, func() bool { return over(s.Job(id)) }, patience, 5*time.Millisecond, id)
}

// weather scripts what befalls the next calls.
func (s *storm) weather() {
	kinds := []runpodtest.Answer{
		{Status: 401},
		{Status: 429},
		{Status: 429, RetryAfter: "1"},
		{Status: 500},
		{Status: 502, Body: "<html>", ContentType: "text/html"},
		{Drop: true},
		{Cut: true},
	}
	for s.Scripted(runpodtest.DoneRoute) < 10 {
		switch n := s.rand.IntN(100); {
		case n < 30:
			s.Script(runpodtest.DoneRoute, runpodtest.Answer{Lose: true})
		case n < 45:
			s.Script(runpodtest.DoneRoute, kinds[s.rand.IntN(len(kinds))])
		default:
			s.Script(runpodtest.DoneRoute, runpodtest.Answer{})
		}
	}
	if s.rand.IntN(20) == 0 {
		routes := []runpodtest.Route{runpodtest.TakeRoute, runpodtest.StopRoute, runpodtest.ProgressRoute, runpodtest.PingRoute}
		kind, route := kinds[s.rand.IntN(len(kinds))], routes[s.rand.IntN(len(routes))]
		for range 1 + s.rand.IntN(3) {
			s.Script(route, kind)
		}
	}
}

// befall does something to a job or to the engine now and then.
func (s *storm) befall(id string) {
	switch n := s.rand.IntN(100); {
	case n < 5:
		if !over(s.Job(id)) {
			s.Cancel(id)
			s.stops = append(s.stops, id)
		}
	case n < 10:
		if r := s.Job(id); len(r.HandedOut) > 0 && !over(r) {
			s.Redeliver(id)
		}
	case n < 12:
		if engine := childOf(s.cmd.Process.Pid); engine != 0 {
			_ = syscall.Kill(engine, syscall.SIGKILL)
			s.struck++
		}
	}
}

// TestRunPodStorm: of 2,000 jobs none is lost and none is answered twice, though a third of
// the replies to results is lost, routes fail, jobs are stopped and handed out twice, engines
// are killed and workers are ended at random moments.
func TestRunPodStorm(t *testing.T) {
	server, err := runpodtest.Listen(runpodtest.Options{Patience: 30})
	require.NoError(t, err)
	s := &storm{Server: server, t: t, rand: rand.New(rand.NewPCG(4, 4)), home: newHome(t)}
	s.begin()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // a failed test leaves one
		_ = server.Close()
	})
	began := time.Now()
	var ids, open []string
	life := 50
	for len(ids) < stormJobs || len(open) > 0 {
		s.weather()
		for len(ids) < stormJobs && len(open) < stormAhead {
			id := s.Submit(json.RawMessage(another(small)))
			ids, open = append(ids, id), append(open, id)
		}
		s.befall(open[s.rand.IntN(len(open))])
		require.Eventually(t, func() bool {
			before := len(open)
			open = slices.DeleteFunc(open, func(id string) bool { return over(s.Job(id)) })
			return len(open) < before
		}, patience, time.Millisecond, "no job ends: %v", open)
		if life--; life == 0 {
			s.end()
			s.begin()
			life = 20 + s.rand.IntN(200)
		}
	}
	for s.Scripted(runpodtest.DoneRoute) > 0 { // results whose replies were lost come again
		id := s.Submit(json.RawMessage(another(small)))
		ids = append(ids, id)
		s.until(id)
	}
	s.end()
	var answered, repeated, failed, stopped int
	for _, id := range ids {
		r := s.Job(id)
		switch {
		case len(r.Finals) > 0:
			answered++
			if len(r.Finals) > 1 {
				repeated++ // the reply to the one before was lost; anything else is a violation
			}
			if r.Finals[0].Error != "" {
				failed++
				require.Regexp(t, "ended by signal 9|was shut down", r.Finals[0].Error)
			}
		case !r.Cancelled.IsZero():
			stopped++
		default:
			t.Errorf("%s is lost: %+v", id, r)
		}
	}
	t.Logf("%s: %d workers, engines killed %d times, %d jobs answered (%d again after a lost reply, %d with an error, %d by the next worker), %d stopped",
		time.Since(began).Round(time.Second), s.lives, s.struck, answered, repeated, failed, s.left, stopped)
	require.Equal(t, len(ids), answered+stopped)
	require.Greater(t, repeated, stormJobs/5)
	require.Empty(t, server.Violations())
	require.NotContains(t, s.log.String(), runpodtest.Key)
}
