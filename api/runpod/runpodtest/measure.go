package runpodtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// MeasureOptions says how to measure a worker.
type MeasureOptions struct {
	Jobs  int // per phase; 200
	Input any // of every job; a small object
}

// Report is what a worker costs around the work itself, seen from the control
// plane. With a handler that returns at once, all of it is overhead.
type Report struct {
	Jobs          int       `json:"jobs"`
	FirstTake     float64   `json:"start_to_first_take_ms"`
	Idle          Quantiles `json:"overhead_idle_ms"`   // handed out to answered; the worker waited in its long poll
	Loaded        Quantiles `json:"overhead_loaded_ms"` // the same with jobs always waiting
	Gap           Quantiles `json:"idle_gap_ms"`        // answered to next handed out with jobs waiting; 0 when that came first
	JobsPerSecond float64   `json:"jobs_per_second"`    // with jobs always waiting
	LongestPause  float64   `json:"longest_heartbeat_pause_ms"`
	PingInterval  float64   `json:"ping_interval_ms"`
	Violations    []string  `json:"violations,omitempty"`
}

// Quantiles of a list of times, in milliseconds.
type Quantiles struct {
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

func quantiles(times []time.Duration) Quantiles {
	if len(times) == 0 {
		return Quantiles{}
	}
	slices.Sort(times)
	at := func(q float64) float64 { return ms(times[int(q*float64(len(times)-1))]) }
	return Quantiles{Median: at(0.5), P95: at(0.95), Max: at(1)}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Measure starts a worker with start, which gets the worker's environment and
// returns when its context has ended, and measures it against a server of its
// own on the loopback interface: first with one job at a time, then with all
// jobs waiting.
func Measure(ctx context.Context, o MeasureOptions, start func(ctx context.Context, environ map[string]string) error) (rep Report, err error) {
	if o.Jobs <= 0 {
		o.Jobs = 200
	}
	if o.Input == nil {
		o.Input = map[string]string{"prompt": "a red fox"}
	}
	s, err := Listen(Options{})
	if err != nil {
		return Report{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	begun, ended := time.Now(), make(chan error, 1)
	go func() {
		err := start(ctx, s.Env())
		stop() // a worker that ends by itself must not be waited for
		ended <- err
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-ended, s.Close())
		rep.Violations = s.Violations()
	}()

	rep = Report{Jobs: o.Jobs, PingInterval: ms(s.opt.PingInterval)}
	first := s.Submit(o.Input) // warms connections up and is not counted
	if _, err := s.Wait(ctx, first); err != nil {
		return rep, fmt.Errorf("the worker did not answer its first job: %w", err)
	}
	rep.FirstTake = ms(s.Takes()[0].At.Sub(begun))

	var idle []time.Duration
	for range o.Jobs {
		if err := s.settle(ctx); err != nil {
			return rep, err
		}
		r, err := s.Wait(ctx, s.Submit(o.Input))
		if err != nil {
			return rep, err
		}
		idle = append(idle, r.Finals[0].At.Sub(r.HandedOut[0]))
	}
	rep.Idle = quantiles(idle)

	ids := make([]string, o.Jobs)
	for i := range ids {
		ids[i] = s.Submit(o.Input)
	}
	var loaded, gaps []time.Duration
	var handed, answered []time.Time
	for _, id := range ids {
		r, err := s.Wait(ctx, id)
		if err != nil {
			return rep, err
		}
		handed, answered = append(handed, r.HandedOut[0]), append(answered, r.Finals[0].At)
		loaded = append(loaded, r.Finals[0].At.Sub(r.HandedOut[0]))
	}
	for i := 1; i < len(ids); i++ {
		gaps = append(gaps, max(handed[i].Sub(answered[i-1]), 0))
	}
	rep.Loaded, rep.Gap = quantiles(loaded), quantiles(gaps)
	last := slices.MaxFunc(answered, time.Time.Compare)
	rep.JobsPerSecond = float64(len(ids)) / last.Sub(handed[0]).Seconds()
	rep.LongestPause = ms(s.LongestPause())
	return rep, nil
}

// settle waits until the worker asks for a job again, and a little longer. A
// worker that holds a poll open while a job runs has asked already.
func (s *Server) settle(ctx context.Context) error {
	const calm = 2 * time.Millisecond
	for {
		s.mu.Lock()
		polling, changed := s.polling, s.changed
		s.mu.Unlock()
		timer := time.NewTimer(calm)
		select {
		case <-timer.C:
			if polling > 0 {
				return nil
			}
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}
