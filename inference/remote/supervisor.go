package remote

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

// Config says how a Supervisor starts and ends its child. Zero durations take
// the defaults.
type Config struct {
	// Command returns the command of a new child, which must call Serve on
	// Conn. The supervisor adds standard output, standard error and the socket.
	Command func() *exec.Cmd
	Log     zerolog.Logger
	// Lost is told why a child was lost, each time one was; nil to not be told.
	Lost func(Reason)

	StartTimeout time.Duration // from start to greeting, 30 s
	Silence      time.Duration // from the last sign of life to kill, 30 s; the child gives one every second
	Stall        time.Duration // from the last progress of a call to kill; 0 waits for ever
	CancelGrace  time.Duration // from a cancelled context to kill, 2 min: a step of a large picture on a CPU takes long
	CloseGrace   time.Duration // from Close to kill, 5 s
	MinPause     time.Duration // before the second restart in a row, doubled each time, 500 ms; the first is at once
	MaxPause     time.Duration // 30 s
	MaxWait      time.Duration // the longest pause that a call waits for, 5 s
}

func (c *Config) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.StartTimeout, 30 * time.Second},
		{&c.Silence, 30 * time.Second},
		{&c.CancelGrace, 2 * time.Minute},
		{&c.CloseGrace, 5 * time.Second},
		{&c.MinPause, 500 * time.Millisecond},
		{&c.MaxPause, 30 * time.Second},
		{&c.MaxWait, 5 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Supervisor is an inference.Generator that runs in a child process and starts
// that again when it dies.
type Supervisor struct {
	cfg   Config
	close context.CancelFunc
	gone  chan struct{} // closed when the last child is gone

	mu        sync.Mutex
	child     *child           // nil while none runs
	changed   chan struct{}    // closed and replaced when child or failures change
	failures  int              // deaths and failed starts so far
	lastError *fault.Error     // of the latest of them
	next      time.Time        // when the next child is started, in a pause before it
	files     *inference.Files // what a new child loads again
	closed    bool
	reloading bool
	reload    context.CancelFunc // stops a reload under way
	problem   string             // why the last start or load failed
}

var _ inference.Generator = (*Supervisor)(nil)

// Start returns at once; the first child is started in the background.
func Start(cfg Config) *Supervisor {
	cfg.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Supervisor{cfg: cfg, close: cancel, gone: make(chan struct{}), changed: make(chan struct{})}
	go s.supervise(ctx)
	return s
}

// supervise keeps one child alive until ctx ends.
func (s *Supervisor) supervise(ctx context.Context) {
	runtime.LockOSThread() // see spawn
	defer close(s.gone)
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		worked := s.runChild(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case worked || time.Since(began) > 2*s.cfg.MaxPause:
			pause = 0
		case pause == 0:
			pause = s.cfg.MinPause
		default:
			pause = min(2*pause, s.cfg.MaxPause)
		}
		s.mu.Lock()
		s.next = time.Now().Add(pause)
		s.signal()
		s.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// runChild starts a child and returns when it is gone. It reports whether the
// child finished a call.
func (s *Supervisor) runChild(ctx context.Context) (worked bool) {
	cmd := s.cfg.Command()
	c, err := spawn(cmd, &output{log: s.cfg.Log})
	if err != nil {
		s.died(LostAtStart, startFailure(cmd, err))
		return false
	}
	s.cfg.Log.Debug().Int("pid", cmd.Process.Pid).Msg("engine process started")
	go c.live(&s.cfg)
	stop := context.AfterFunc(ctx, func() { s.end(c) })
	defer stop()

	var reloaded chan bool
	select {
	case <-c.greeted:
		reloaded = s.announce(ctx, c)
	case <-c.done:
	}
	<-c.done
	if reloaded != nil && !<-reloaded {
		s.mu.Lock()
		s.files = nil // they ended the child or could not be loaded: once is enough
		s.mu.Unlock()
	}
	if ctx.Err() == nil {
		s.died(c.why, c.cause)
	}
	return c.worked.Load()
}

// end lets the child finish by closing the connection, and kills it when it does
// not.
func (s *Supervisor) end(c *child) {
	c.conn.Close()
	select {
	case <-c.done:
	case <-time.After(s.cfg.CloseGrace):
		c.kill(LostCanceled, "the engine process did not end by itself")
	}
}

// announce hands the child to the callers and loads the lost files again. The
// channel, nil when there is nothing to load, tells whether that went well.
func (s *Supervisor) announce(ctx context.Context, c *child) chan bool {
	s.mu.Lock()
	s.child = c
	files := s.files
	ctx, cancel := context.WithCancel(ctx)
	if files != nil {
		s.reloading, s.reload = true, cancel
	}
	s.signal()
	s.mu.Unlock()
	if files == nil {
		cancel()
		return nil
	}
	ok := make(chan bool, 1)
	go func() {
		defer cancel()
		_, err := c.do(ctx, message{Kind: kindLoad, Files: files}, inference.Hooks{}, &s.cfg, func(message) {})
		superseded := ctx.Err() != nil
		s.mu.Lock()
		s.reloading, s.reload = false, nil
		if err != nil && !superseded {
			s.problem = err.Error()
		}
		s.mu.Unlock()
		if err != nil && !superseded {
			s.cfg.Log.Error().Err(err).Str("file", files.Checkpoint).Msg("the checkpoint cannot be loaded again")
		}
		ok <- err == nil || superseded
	}()
	return ok
}

// died records a death or a failed start and wakes the callers.
func (s *Supervisor) died(why Reason, cause *fault.Error) {
	s.mu.Lock()
	s.child = nil
	s.failures++
	s.lastError = cause
	s.problem = cause.Error()
	failures := s.failures
	s.signal()
	s.mu.Unlock()
	if s.cfg.Lost != nil {
		s.cfg.Lost(why)
	}
	s.cfg.Log.Error().Err(cause).Int("try", failures).Str("reason", string(why)).Msg("engine process lost")
}

// signal wakes all waiters; s.mu is held.
func (s *Supervisor) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// acquire returns the running child, waiting for the next start if there is
// none. When that start fails too its cause is returned.
func (s *Supervisor) acquire(ctx context.Context) (*child, error) {
	s.mu.Lock()
	failures := s.failures
	for {
		switch {
		case s.closed:
			s.mu.Unlock()
			return nil, fault.Errorf(fault.Broken, "engine", "the engine is closed")
		case s.child != nil:
			c := s.child
			s.mu.Unlock()
			return c, nil
		case s.failures > failures:
			err := s.lastError
			s.mu.Unlock()
			return nil, err
		case time.Until(s.next) > s.cfg.MaxWait:
			err := s.pausing()
			s.mu.Unlock()
			return nil, err
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fault.Stopped(ctx, "engine")
		}
		s.mu.Lock()
	}
}

// pausing is the error of a call in a long pause before the next start: many
// callers who each waited for it would wait for one pause after another. s.mu is held.
func (s *Supervisor) pausing() *fault.Error {
	left := time.Until(s.next).Round(time.Second)
	err := fault.Errorf(fault.Broken, "engine", "the engine failed %d times and is started again in %s; the last failure: %s", s.failures, left, s.lastError.Msg)
	err.RetryAfter = left
	return err
}

// maxMoves is how often a job that waits in a child which dies moves on to the next
// one: each death costs at least the job that caused it.
const maxMoves = 3

// do runs a call on the child. If the child dies before it took the call, do tries
// the next child once. A job that was only waiting there moves on as well.
func (s *Supervisor) do(ctx context.Context, m message, hooks inference.Hooks, each func(message)) (message, error) {
	for tries := 0; ; tries++ {
		c, err := s.acquire(ctx)
		if err != nil {
			return message{}, err
		}
		reply, err := c.do(ctx, m, hooks, &s.cfg, each)
		if errors.Is(err, errNotAccepted) || errors.Is(err, errNotBegun) {
			if tries == 0 || errors.Is(err, errNotBegun) && tries < maxMoves {
				s.awaitDeath(c)
				continue
			}
			return message{}, c.cause
		}
		if err == nil {
			c.worked.Store(true)
		} else if s.isClosed() {
			err = &fault.Error{Code: fault.Canceled, Op: "engine", Msg: "the worker is shutting down", Err: err}
		}
		return reply, err
	}
}

func (s *Supervisor) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// awaitDeath returns when acquire no longer gives c away.
func (s *Supervisor) awaitDeath(c *child) {
	for {
		s.mu.Lock()
		changed, same := s.changed, s.child == c && !s.closed
		s.mu.Unlock()
		if !same {
			return
		}
		<-changed
	}
}

// supersede stops a reload of files that the next call does not use.
func (s *Supervisor) supersede(files inference.Files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reload != nil && s.files != nil && s.files.Checkpoint != files.Checkpoint {
		s.reload()
	}
}

// remember notes what a new child has to load.
func (s *Supervisor) remember(files *inference.Files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = files
	s.problem = ""
}

// Generate implements inference.Generator.
func (s *Supervisor) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	s.supersede(req.Files)
	var images []inference.Image
	loaded := false
	reply, err := s.do(ctx, message{Kind: kindGenerate, Request: req}, hooks, func(m message) {
		switch {
		case m.Image != nil:
			images = append(images, *m.Image)
		case m.Progress != nil && !loaded && m.Progress.Phase != inference.PhaseLoading && m.Progress.Phase != "":
			loaded = true
			s.remember(&req.Files)
		}
	})
	if err == nil && !loaded {
		s.remember(&req.Files)
	}
	if reply.Result != nil {
		reply.Result.Images = images
	}
	return reply.Result, err
}

// Upscale implements inference.Generator.
func (s *Supervisor) Upscale(ctx context.Context, req *inference.UpscaleRequest, hooks inference.Hooks) (imageio.RGB, error) {
	reply, err := s.do(ctx, message{Kind: kindUpscale, Upscale: req}, hooks, func(message) {})
	if err != nil || reply.Picture == nil {
		return imageio.RGB{}, err
	}
	return *reply.Picture, nil
}

// Load implements inference.Generator.
func (s *Supervisor) Load(ctx context.Context, files inference.Files, hooks inference.Hooks) error {
	s.supersede(files)
	_, err := s.do(ctx, message{Kind: kindLoad, Files: &files}, hooks, func(message) {})
	if err == nil {
		s.remember(&files)
	} else if fault.CodeOf(err) != fault.Canceled {
		s.mu.Lock()
		s.problem = err.Error()
		s.mu.Unlock()
	}
	return err
}

// Unload implements inference.Generator.
func (s *Supervisor) Unload(ctx context.Context) error {
	_, err := s.do(ctx, message{Kind: kindUnload}, inference.Hooks{}, func(message) {})
	if err == nil {
		s.remember(nil)
	}
	return err
}

// Status implements inference.Generator. Ready is false while no child runs and
// while a new one loads the old files.
func (s *Supervisor) Status() inference.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var status inference.Status
	if s.child != nil {
		if p := s.child.status.Load(); p != nil {
			status = *p
		}
		status.Ready = !s.reloading
	}
	if s.problem != "" {
		status.Err = s.problem
	}
	return status
}

// PID is the child's process id, 0 while none runs.
func (s *Supervisor) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return 0
	}
	return s.child.cmd.Process.Pid
}

// Close ends the child and waits for that. A call in progress fails.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	s.closed = true
	s.signal()
	s.mu.Unlock()
	s.close()
	<-s.gone
	return nil
}
