package runpodtest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Scenario is one thing that a worker must get right. The worker's handler does
// what the input says:
//
//	{"return": any}              return the value
//	{"error": "text"}            fail with the text
//	{"sleep": seconds}           work that long before returning
//	{"progress": n}              report 1..n, 0.2 s apart
//
// Sleeping ends early when the job is stopped.
type Scenario struct {
	Name    string
	Options Options
	Run     func(ctx context.Context, s *Server) error
}

// busyMachine is the Patience of scenarios that are played on a real clock.
const busyMachine = 10

// Play starts a worker with start, as Measure does, plays the scenario and returns
// what was wrong, breaches of the protocol included.
func (sc Scenario) Play(ctx context.Context, start func(ctx context.Context, environ map[string]string) error) (err error) {
	options := sc.Options
	options.Patience = max(options.Patience, busyMachine)
	s, err := Listen(options)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.bound(time.Minute))
	defer cancel()
	work, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := start(work, s.Env())
		stop()
		ended <- err
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-ended, s.Close())
		for _, v := range s.Violations() {
			err = errors.Join(err, errors.New(v))
		}
	}()
	return sc.Run(work, s)
}

type input map[string]any

// answer waits for a job's answer for a bounded time and checks it.
func answer(ctx context.Context, s *Server, id, output, failure string) error {
	ctx, cancel := context.WithTimeout(ctx, s.bound(15*time.Second))
	defer cancel()
	r, err := s.Wait(ctx, id)
	if err != nil {
		return err
	}
	if f := r.Finals[0]; string(f.Output) != output || (f.Error == "") != (failure == "") {
		return fmt.Errorf("%s was answered with output %s and error %q", id, f.Output, f.Error)
	}
	return nil
}

// echoes submits a job and expects its value back.
func echoes(ctx context.Context, s *Server) error {
	return answer(ctx, s, s.Submit(input{"return": 7}), "7", "")
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// afterScript is a scenario that scripts answers of a route and expects jobs to
// pass all the same.
func afterScript(name string, route Route, answers ...Answer) Scenario {
	return Scenario{Name: name, Run: func(ctx context.Context, s *Server) error {
		if err := echoes(ctx, s); err != nil { // the worker is up
			return err
		}
		s.Script(route, answers...)
		for s.Scripted(route) > 0 {
			if err := errors.Join(echoes(ctx, s), pause(ctx, 100*time.Millisecond)); err != nil {
				return err
			}
		}
		return echoes(ctx, s)
	}}
}

// Scenarios returns all scenarios.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "job in production templates", Run: echoes},
		{Name: "job in Hub templates", Options: Options{Style: Hub}, Run: echoes},
		{Name: "job in templates with an empty query", Options: Options{Style: BareQuery}, Run: echoes},
		{Name: "failing job", Run: func(ctx context.Context, s *Server) error {
			return errors.Join(answer(ctx, s, s.Submit(input{"error": "steps: no"}), "", "steps: no"), echoes(ctx, s))
		}},
		{Name: "progress before the answer", Run: func(ctx context.Context, s *Server) error {
			id := s.Submit(input{"progress": 10, "return": 1})
			if err := answer(ctx, s, id, "1", ""); err != nil {
				return err
			}
			if n := len(s.Job(id).Progress); n == 0 {
				return errors.New("no progress was posted")
			}
			return pause(ctx, 500*time.Millisecond)
		}},
		{Name: "slow progress does not overtake the answer", Run: func(ctx context.Context, s *Server) error {
			s.Script(ProgressRoute, Answer{Delay: time.Second}, Answer{Delay: time.Second})
			if err := answer(ctx, s, s.Submit(input{"progress": 1, "return": 1}), "1", ""); err != nil {
				return err
			}
			return pause(ctx, 2*time.Second)
		}},
		afterScript("job-take: 204 and 400 at once", TakeRoute, Answer{Status: 204}, Answer{Status: 400}, Answer{Status: 204}, Answer{Status: 400}),
		afterScript("job-take: server errors", TakeRoute, Answer{Status: 500}, Answer{Status: 502}, Answer{Status: 503}),
		afterScript("job-take: rate limit", TakeRoute, Answer{Status: 429}),
		afterScript("job-take: other bodies", TakeRoute, Answer{Status: 200, Body: "<html>", ContentType: "text/html"}, Answer{Status: 200}, Answer{Status: 200, Body: "null"}),
		afterScript("job-take: dropped and cut", TakeRoute, Answer{Drop: true}, Answer{Cut: true}),
		afterScript("job-take: slow body", TakeRoute, Answer{Slow: time.Second}),
		{Name: "job-take: no flood", Run: func(ctx context.Context, s *Server) error {
			for range 5000 {
				s.Script(TakeRoute, Answer{Status: 204})
			}
			for len(s.Takes()) == 0 { // the worker is still starting
				if err := pause(ctx, 50*time.Millisecond); err != nil {
					return err
				}
			}
			return pause(ctx, 3*time.Second)
		}},
		afterScript("job-done: server errors", DoneRoute, Answer{Status: 500}, Answer{Status: 502}),
		afterScript("job-done: many server errors", DoneRoute, Answer{Status: 500}, Answer{Status: 500}, Answer{Status: 500}, Answer{Status: 500}),
		afterScript("job-done: dropped", DoneRoute, Answer{Drop: true}),
		afterScript("job-done: rate limit", DoneRoute, Answer{Status: 429}),
		afterScript("ping: dropped and refused", PingRoute, Answer{Drop: true}, Answer{Status: 500}, Answer{Status: 404}),
		{Name: "result too large", Options: Options{MaxResult: 2000}, Run: func(ctx context.Context, s *Server) error {
			return answer(ctx, s, s.Submit(input{"return": string(make([]byte, 1000))}), "", "too large")
		}},
		{Name: "duplicate hand-out", Run: func(ctx context.Context, s *Server) error {
			s.SubmitRaw("twice", `{"id":"twice","input":{"sleep":1.5,"return":1}}`)
			s.SubmitRaw("twice", `{"id":"twice","input":{"sleep":1.5,"return":1}}`)
			if err := answer(ctx, s, "twice", "1", ""); err != nil {
				return err
			}
			return pause(ctx, 5*time.Second)
		}},
		{Name: "job without an id", Run: func(ctx context.Context, s *Server) error {
			s.SubmitRaw("", `{"input":{}}`)
			return echoes(ctx, s)
		}},
		{Name: "job with a numeric id", Run: func(ctx context.Context, s *Server) error {
			s.SubmitRaw("", `{"id":7,"input":{"return":1}}`)
			return echoes(ctx, s)
		}},
		{Name: "job without an input", Run: func(ctx context.Context, s *Server) error {
			s.SubmitRaw("bare", `{"id":"bare"}`)
			return errors.Join(echoes(ctx, s), answer(ctx, s, "bare", "", "no input"))
		}},
		{Name: "stop of a running job", Run: func(ctx context.Context, s *Server) error {
			id := s.Submit(input{"sleep": 30})
			if _, err := s.Until(ctx, id, func(r Record) bool { return len(r.HandedOut) > 0 }); err != nil {
				return err
			}
			if err := pause(ctx, 200*time.Millisecond); err != nil {
				return err
			}
			s.Cancel(id)
			return errors.Join(echoes(ctx, s), pause(ctx, 500*time.Millisecond))
		}},
		{Name: "heartbeat names the running job", Run: func(ctx context.Context, s *Server) error {
			if err := answer(ctx, s, s.Submit(input{"sleep": 4, "return": 1}), "1", ""); err != nil {
				return err
			}
			return steady(s, 3)
		}},
		{Name: "heartbeat under a second", Options: Options{PingInterval: 400 * time.Millisecond}, Run: func(ctx context.Context, s *Server) error {
			if err := answer(ctx, s, s.Submit(input{"sleep": 3, "return": 1}), "1", ""); err != nil {
				return err
			}
			return steady(s, 5)
		}},
		{Name: "five waiting jobs in two seconds", Run: func(ctx context.Context, s *Server) error {
			if err := echoes(ctx, s); err != nil {
				return err
			}
			begun := time.Now()
			for range 5 {
				s.Submit(input{"return": 0})
			}
			if err := echoes(ctx, s); err != nil {
				return err
			}
			if d := time.Since(begun); d > s.bound(2*time.Second) {
				return fmt.Errorf("six trivial jobs took %s", d.Round(time.Millisecond))
			}
			return nil
		}},
	}
}

// steady checks the rhythm of the heartbeats.
func steady(s *Server, least int) error {
	if n := len(s.Pings()); n < least {
		return fmt.Errorf("%d heartbeats, expected at least %d", n, least)
	}
	if p := s.LongestPause(); p > s.bound(2*s.opt.PingInterval) {
		return fmt.Errorf("%s between two heartbeats at an interval of %s", p.Round(time.Millisecond), s.opt.PingInterval)
	}
	return nil
}
