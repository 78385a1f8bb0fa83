package runpod

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// JobField is the log field that holds a job's id.
const JobField = "job"

// maxUnposted bounds, beyond the slots, the finished jobs whose answers are not
// accepted yet; above it no more jobs are taken, since nobody would learn their
// results either.
const maxUnposted = 8

// earlyStop is how long a stop signal is remembered for a job that was never held,
// since the job itself may still be on its way. A signal for a job that was held
// before comes late; the platform may hand that job out again.
const earlyStop = 10 * time.Second

// worker holds jobs between their hand-out and the acceptance of their answer.
type worker struct {
	cfg     Config
	handler Handler
	plane   plane
	log     zerolog.Logger

	post context.Context //nolint:containedctx // ends when answers are not tried any more

	mu        sync.Mutex
	changed   *sync.Cond // any field below changed
	held      []*run     // in the order they were taken; a stopped one leaves at once
	slots     int
	executing int // handlers that have not returned, those of stopped jobs included
	closing   bool
	refresh   bool // the last job to be answered asks for a new worker
	last      *run // that job, once it is known

	early map[string]time.Time // stop signals that came before their job
	gone  map[string]time.Time // jobs held until then
	made  map[string]time.Time // jobs whose result was accepted then

	endPolls context.CancelFunc // ends the job-take under way, for good
	cutPoll  context.CancelFunc // ends it so that another one begins
}

// run is one job held.
type run struct {
	job    Job
	ctx    context.Context //nolint:containedctx // a job's context lives as long as the job
	cancel context.CancelCauseFunc
	state  runState
	sealed bool // its answer is ready to be posted
}

type runState int

const (
	waiting  runState = iota // taken, no free slot yet
	working                  // its handler runs
	answered                 // its handler has returned, its answer is not accepted yet
)

func newWorker(cfg Config, h Handler, p plane) *worker {
	w := &worker{cfg: cfg, handler: h, plane: p, log: cfg.Log, slots: cfg.Concurrency, early: map[string]time.Time{}, gone: map[string]time.Time{}, made: map[string]time.Time{}, endPolls: func() {}, cutPoll: func() {}}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// ids names the jobs held, oldest first.
func (w *worker) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, len(w.held))
	for i, r := range w.held {
		ids[i] = r.job.ID
	}
	return ids
}

// room waits until jobs may be taken and returns how many; 0 means never again.
func (w *worker) room() (n int, busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.closing {
			return 0, false
		}
		load, unposted := 0, 0
		for _, r := range w.held {
			if r.state == answered {
				unposted++
			} else {
				load++
			}
		}
		n = w.slots - load
		if n <= 0 && !w.cfg.RefreshWorker {
			n += w.cfg.Prefetch // only when all slots are busy: an idle worker leaves jobs to others
		}
		if n > 0 && unposted < maxUnposted+w.slots {
			return n, len(w.held) > 0
		}
		w.changed.Wait()
	}
}

// accept takes over a job that was handed out to a job-take begun at asked.
func (w *worker) accept(base context.Context, job Job, asked time.Time) {
	log := w.log.With().Str(JobField, job.ID).Logger()
	job.out = newOutbox(w.plane, job.ID, w.cfg, log)
	ctx, cancel := context.WithCancelCause(log.WithContext(base))
	why := w.hold(&run{job: job, ctx: ctx, cancel: cancel}, asked)
	if why != "" {
		cancel(nil)
		log.Warn().Msg(why)
		return
	}
	log.Debug().Int("bytes", len(job.Input)).Msg("job taken")
}

// hold adds a job, or tells why it is not to be done. Nothing is logged under the
// lock: a log that blocks must not hold up the heartbeat.
func (w *worker) hold(r *run, asked time.Time) (why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		if h.job.ID == r.job.ID {
			return "the job was handed out twice; it is done once"
		}
	}
	// One that failed may have been sent again, since RunPod lets clients repeat those.
	if at, ok := w.made[r.job.ID]; ok && !at.Before(asked) {
		return "the job was handed out once more while its result was on the way; it is done once"
	}
	if at, ok := w.early[r.job.ID]; ok {
		delete(w.early, r.job.ID)
		if time.Since(at) < earlyStop {
			return "job stopped by the platform before it arrived"
		}
	}
	w.held = append(w.held, r)
	w.startNext()
	w.changed.Broadcast()
	return ""
}

// startNext starts waiting jobs as far as slots are free. w.mu is held.
func (w *worker) startNext() {
	limit := w.slots
	if w.cfg.Overlap {
		limit += w.cfg.Prefetch
	}
	for _, r := range w.held {
		if w.executing >= limit {
			return
		}
		if r.state == waiting {
			r.state = working
			w.executing++
			go w.execute(r)
		}
	}
}

// execute does one job and answers it.
func (w *worker) execute(r *run) {
	start := time.Now()
	value, err := w.call(r)
	if w.release(r, w.cfg.RefreshWorker || wantsRefresh(value, err)) {
		w.answer(r, value, err, start)
		return
	}
	r.job.out.shut()
	zerolog.Ctx(r.ctx).Info().Dur("duration_ms", time.Since(start)).Msg("job stopped by the platform")
}

// release frees r's slot, before the answer is encoded and posted, and tells
// whether an answer is wanted. With refresh it is the end of taking jobs.
func (w *worker) release(r *run, refresh bool) (wanted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.executing--
	if wanted = !r.stopped(); wanted {
		r.state = answered
	}
	if refresh {
		w.refresh, w.closing = true, true
		w.endPolls()
	}
	w.startNext()
	w.changed.Broadcast()
	return wanted
}

func (r *run) stopped() bool { return errors.Is(context.Cause(r.ctx), ErrStopped) }

// answer posts what the handler returned and forgets the job.
func (w *worker) answer(r *run, value any, err error, start time.Time) {
	if err != nil && errors.Is(context.Cause(r.ctx), ErrShutdown) {
		err = ErrShutdown
	}
	f := encodeFinal(value, err)
	if most := r.job.MaxOutput(); len(f.output) > most {
		if f.err == "" {
			f.err = fmt.Sprintf("the result of %.1f MB exceeds RunPod's limit of %.0f MB; ask for less in one job, or let the worker upload it to a bucket", float64(len(f.output))/1e6, float64(most+envelope)/1e6)
		}
		f.output = nil
	}
	stopPod := w.seal(r)

	post, cancel := context.WithCancel(w.post)
	unhook := context.AfterFunc(r.ctx, func() {
		if r.stopped() {
			cancel() // nobody wants the answer any more
		}
	})
	postErr := r.job.out.finish(post, f, stopPod)
	unhook()
	cancel()
	defer w.forget(r, postErr == nil && f.err == "") // the worker may end then: the log's line comes first

	log := zerolog.Ctx(r.ctx)
	level := zerolog.InfoLevel
	switch {
	case r.stopped():
		log.Info().Msg("job stopped by the platform while its answer was on the way")
		return
	case postErr != nil:
		level = zerolog.ErrorLevel
	case f.err != "":
		level = zerolog.WarnLevel
	}
	log.WithLevel(level).AnErr("post", postErr).Func(func(e *zerolog.Event) {
		if f.err != "" {
			e.Str("error", f.err)
		}
	}).Dur("duration_ms", time.Since(start)).Int("bytes", len(f.output)).Msg("job done")
}

// call runs the handler. A panic fails the job, not the worker.
func (w *worker) call(r *run) (value any, err error) {
	if r.ctx.Err() != nil {
		return nil, context.Cause(r.ctx)
	}
	if r.job.Input == nil {
		return nil, errors.New("the job has no input")
	}
	defer func() {
		if p := recover(); p != nil {
			zerolog.Ctx(r.ctx).Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("the handler panicked")
			value, err = nil, fmt.Errorf("internal error: %v", p)
		}
	}()
	return w.handler(r.ctx, r.job)
}

// seal notes that r's answer is about to be posted. It tells whether this answer
// asks for a new worker: only the last answer does, after all others were accepted,
// because the platform stops the pod when it reads it.
func (w *worker) seal(r *run) (stopPod bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.sealed = true
	if !w.refresh || w.last != nil {
		return false
	}
	for _, h := range w.held {
		if !h.sealed {
			return false
		}
	}
	for w.last = r; len(w.held) > 1; {
		w.changed.Wait()
	}
	return true
}

// forget drops a job whose answer was accepted, or given up; made tells that it was a
// result.
func (w *worker) forget(r *run, made bool) {
	r.cancel(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, h := range w.held {
		if h == r {
			w.held = append(w.held[:i:i], w.held[i+1:]...)
			prune(w.gone, earlyStop)
			w.gone[r.job.ID] = time.Now()
			if prune(w.made, pollTimeout); made {
				w.made[r.job.ID] = time.Now()
			}
			break
		}
	}
	w.changed.Broadcast()
}

// prune drops what is too old to matter.
func prune(times map[string]time.Time, age time.Duration) {
	for id, at := range times {
		if time.Since(at) >= age {
			delete(times, id)
		}
	}
}

// stop ends a job that the platform does not want any more. It is not held from
// now on; its slot is free when its handler returns.
func (w *worker) stop(id string) {
	w.mu.Lock()
	var found *run
	for _, r := range w.held {
		if r.job.ID == id {
			found = r
		}
	}
	if at, ok := w.gone[id]; found == nil && (!ok || time.Since(at) >= earlyStop) {
		prune(w.early, earlyStop)
		w.early[id] = time.Now()
	}
	w.mu.Unlock()
	if found == nil {
		return
	}
	found.cancel(ErrStopped)
	w.forget(found, false)
}

// close ends the taking of jobs.
func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
	w.endPolls()
	w.changed.Broadcast()
}

// repoll begins a new job-take, since the connection of the present one is most
// likely dead.
func (w *worker) repoll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutPoll()
}

// abandon ends all jobs in hand; their callers are told to send them again.
func (w *worker) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.held {
		r.cancel(ErrShutdown)
		if r.state == waiting {
			r.state = working
			w.executing++
			go w.execute(r)
		}
	}
}

// idle waits until no job is held and no handler runs.
func (w *worker) idle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.held) > 0 || w.executing > 0 {
		w.changed.Wait()
	}
}
