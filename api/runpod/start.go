package runpod

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Start takes jobs from RunPod's queue until ctx ends (SIGTERM) or a job asks for
// a new worker, and returns when every job in hand is answered. Heartbeats run
// from the first moment to the last. The error tells why the start failed.
func Start(ctx context.Context, h Handler, cfg Config) error {
	if cfg.GetJob == "" {
		return errors.New("RUNPOD_WEBHOOK_GET_JOB is not set, so this is not RunPod; try a job with --test_input '{\"input\": {...}}' or serve the API with --rp_serve_api")
	}
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.Validate()...); err != nil {
		return err
	}
	c, err := newClient(cfg)
	if err != nil {
		return err
	}
	w := newWorker(cfg, h, c)
	p, err := newPinger(cfg, cfg.Log, w.ids)
	if err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()

	pings, endPings := context.WithCancel(context.WithoutCancel(ctx))
	var pinging sync.WaitGroup
	pinging.Go(func() { p.run(pings) })
	pinging.Go(func() {
		watchClock(pings, time.Now, func(gap time.Duration) {
			cfg.Log.Info().Dur("gap_ms", gap).Msg("the worker was frozen for a while; connections are made anew")
			p.http.CloseIdleConnections()
			c.http.CloseIdleConnections()
			w.repoll()
		})
	})
	awaitPrepare := func() {}
	defer func() { awaitPrepare() }()
	defer pinging.Wait()
	defer endPings()

	cfg.Log.Info().Str("worker", cfg.PodID).Str("protocol", ProtocolVersion).Msg("starting serverless worker")
	awaitPrepare, err = prepare(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil // shut down before it was ready; no job was taken
		}
		cfg.Log.Error().Err(err).Msg("the start failed")
		w.reportStart(ctx, err)
		endPings()
		pinging.Wait() // no heartbeat comes after the last word
		p.unhealthy(phaseOf(err), err.Error())
		return err
	}
	return w.serve(ctx)
}

// prepare runs the program's hook within the start deadline. The error does not
// wait for a hook that takes its time to heed its context; await does.
func prepare(ctx context.Context, cfg Config) (await func(), err error) {
	if cfg.Prepare == nil {
		return func() {}, nil
	}
	returned := make(chan struct{})
	await = func() { awaitHook(returned, cfg) }
	limit := cfg.StartTimeout.duration()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready after %s; a larger RUNPOD_INIT_TIMEOUT gives it more time", limit))
	defer cancel()
	start := time.Now()
	done := make(chan error, 1)
	go func() {
		defer close(returned)
		done <- cfg.Prepare(ctx)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		select { // the hook's own error says more, if it comes
		case err = <-done:
		case <-time.After(time.Second):
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		cfg.Log.Info().Dur("duration_ms", time.Since(start)).Msg("ready")
		return await, nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return await, err
}

// awaitHook waits for the end of a hook whose context has ended, so that nothing it
// uses is taken away while it runs.
func awaitHook(ended <-chan struct{}, cfg Config) {
	select {
	case <-ended:
	case <-time.After(cfg.ShutdownGrace):
		cfg.Log.Error().Dur("wait_ms", cfg.ShutdownGrace).Msg("what makes the worker ready does not stop; it is left alone")
	}
}

// serve takes and answers jobs until ctx ends or the worker closes itself, then
// finishes what is in hand.
func (w *worker) serve(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	post, endPosts := context.WithCancel(base)
	defer endPosts()
	polls, endPolls := context.WithCancel(base)
	defer endPolls()
	stops, endStops := context.WithCancel(base)
	w.mu.Lock()
	w.post, w.endPolls = post, endPolls
	w.mu.Unlock()
	defer context.AfterFunc(ctx, w.close)()

	var loops sync.WaitGroup
	loops.Go(func() { w.stopLoop(stops) })
	defer loops.Wait()
	defer endStops()
	w.takeLoop(polls, base)

	idle := make(chan struct{})
	go func() {
		w.idle()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	// A part of the grace time is kept for the answers of jobs that do not finish.
	grace := w.cfg.ShutdownGrace
	if ids := w.ids(); len(ids) > 0 {
		w.log.Info().Dur("wait_ms", grace).Strs("jobs", ids).Msg("shutting down, finishing the jobs in hand")
	}
	select {
	case <-idle:
		return nil
	case <-time.After(grace - min(grace/4, 3*time.Second)):
	}
	w.abandon()
	select {
	case <-idle:
		return nil
	case <-time.After(min(grace/4, 3*time.Second)):
	}
	endPosts()
	select {
	case <-idle:
		return nil
	case <-time.After(100 * time.Millisecond):
		return fmt.Errorf("shut down with unanswered jobs %v after a grace time of %s", w.ids(), grace)
	}
}

// takeLoop takes jobs until polls ends.
func (w *worker) takeLoop(polls, base context.Context) {
	// An answer without a job may come at once, but the worker must not ask a
	// thousand times a second; after errors it waits longer.
	const held = time.Second // a long poll lasts at least this
	empty := newBackoff(20*time.Millisecond, 500*time.Millisecond)
	failed := newBackoff(100*time.Millisecond, 5*time.Second)
	failures := 0
	for {
		n, busy := w.room()
		if n == 0 {
			return
		}
		asked := time.Now()
		poll, cut := context.WithCancel(polls)
		w.mu.Lock()
		w.cutPoll = cut
		w.mu.Unlock()
		a := w.plane.take(poll, n, busy)
		cutShort := poll.Err() != nil
		cut()
		for _, job := range a.jobs {
			w.accept(base, job, asked)
		}
		if a.err == nil && a.skipped > 0 {
			a.err = fmt.Errorf("job-take answered with %d job(s) without a text id; they cannot be answered", a.skipped)
		}
		if polls.Err() != nil {
			return
		}
		switch {
		case cutShort:
		case a.err != nil:
			failures++
			wait := failed.NextBackOff()
			level := zerolog.DebugLevel
			if failures&(failures-1) == 0 { // the 1st, 2nd, 4th, 8th … in a row
				level = zerolog.WarnLevel
			}
			w.log.WithLevel(level).Err(a.err).Int("try", failures).Dur("wait_ms", wait).Msg("no job taken")
			sleep(polls, wait)
			continue
		case a.limited > 0:
			w.log.Warn().Dur("wait_ms", a.limited).Msg("the platform asks for fewer calls")
			sleep(polls, a.limited)
		case len(a.jobs) > 0 || time.Since(asked) >= held:
			empty.Reset()
		default:
			sleep(polls, empty.NextBackOff())
		}
		failed.Reset()
		failures = 0
	}
}

// stopLoop stops the jobs that the platform names until ctx ends.
func (w *worker) stopLoop(ctx context.Context) {
	for ctx.Err() == nil {
		ids, pause, ok := w.plane.stops(ctx)
		if !ok {
			return
		}
		for _, id := range ids {
			w.stop(id)
		}
		if pause > 0 {
			sleep(ctx, pause)
		}
	}
}

// Times of the report about a failed start.
const (
	reportTake = 10 * time.Second // wait for a job to tell
	reportPost = 5 * time.Second
)

// reportStart takes one job, if there is one, and answers it with the reason
// that the worker did not start, so that its caller need not wait for a timeout.
func (w *worker) reportStart(ctx context.Context, reason error) {
	takes, cancel := context.WithTimeout(ctx, reportTake)
	defer cancel()
	var a answer
	pause := newBackoff(100*time.Millisecond, time.Second)
	for len(a.jobs) == 0 && takes.Err() == nil {
		if a = w.plane.take(takes, 1, false); len(a.jobs) == 0 {
			sleep(takes, pause.NextBackOff())
		}
	}
	text, err := encodeValue(map[string]string{
		"event": "prestart_failed", "error_type": "StartError", "error_message": reason.Error(), "error_traceback": "",
		"worker_id": w.cfg.PodID, "runpod_version": ProtocolVersion, "hook": phaseOf(reason), "hostname": w.cfg.Hostname,
	})
	if err != nil {
		text = []byte(reason.Error())
	}
	posts, cancelPosts := context.WithTimeout(context.WithoutCancel(ctx), reportPost)
	defer cancelPosts()
	for _, job := range a.jobs {
		log := w.log.With().Str(JobField, job.ID).Logger()
		if err := newOutbox(w.plane, job.ID, w.cfg, log).finish(posts, final{err: string(text)}, false); err != nil {
			log.Error().Err(err).Msg("the job could not be told that the start failed")
		}
	}
}
