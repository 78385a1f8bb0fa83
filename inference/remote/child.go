package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sdworker/fault"
	"sdworker/inference"
)

// ConnFD is the file descriptor of the connection in the child.
const ConnFD = 3

// Conn returns the child's end of the connection to its supervisor.
func Conn() (net.Conn, error) {
	conn, err := fileConn(ConnFD, "engine socket")
	if err != nil {
		return nil, fmt.Errorf("file descriptor %d is no connection to a supervisor (this command is started by serve and runpod): %w", ConnFD, err)
	}
	return conn, nil
}

func fileConn(fd int, name string) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, os.ErrInvalid
	}
	defer f.Close() // FileConn works on a copy
	return net.FileConn(f)
}

// child is one running child process.
type child struct {
	cmd    *exec.Cmd
	conn   net.Conn
	out    *sender
	words  *output
	status atomic.Pointer[inference.Status]
	calls  atomic.Uint64 // numbers given out
	worked atomic.Bool   // a call succeeded
	heard  atomic.Uint64 // messages received
	moved  atomic.Uint64 // of those, the ones about calls: one that waits for others makes no progress itself
	busy   atomic.Bool   // a message is being delivered: silence is ours, not the child's

	mu     sync.Mutex
	open   map[uint64]*call
	reason string // why the parent ended it
	why    Reason // the same in a word, for the parent or not; read after done

	greeted chan struct{} // closed at hello
	done    chan struct{} // closed when the process is gone and cause is set
	cause   *fault.Error  // read after done
}

// call is one open call on a child.
type call struct {
	id     uint64
	events chan message
	left   chan struct{} // closed when nobody reads events any more
}

// spawn starts the process. It must be called on a thread that lives as long as
// the child: the kernel ends the child when that thread ends (see
// PR_SET_PDEATHSIG in prctl(2)).
func spawn(cmd *exec.Cmd, words *output) (*child, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "engine socket")
	defer theirs.Close()
	conn, err := fileConn(fds[0], "supervisor socket")
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{theirs} // the first one is ConnFD
	cmd.Stdout, cmd.Stderr = words, words
	cmd.WaitDelay = 2 * time.Second // a grandchild may hold the pipes open
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C in a terminal is for the parent
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	return &child{
		cmd: cmd, conn: conn, out: newSender(conn), words: words,
		open: map[uint64]*call{}, greeted: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

// live reads from the child until it is gone, then sets cause and closes done. It
// ends a child that does not greet within cfg.StartTimeout or is silent for
// cfg.Silence later.
func (c *child) live(cfg *Config) {
	kills := oomKills()
	late := time.AfterFunc(cfg.StartTimeout, func() {
		select {
		case <-c.greeted:
		default:
			c.kill(LostAtStart, fmt.Sprintf("the engine process did not answer within %s of its start", cfg.StartTimeout))
		}
	})
	go c.listen(cfg.Silence)
	err := c.read()
	late.Stop()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, net.ErrClosed) {
		c.kill(LostGarbled, fmt.Sprintf("the engine process sent what is no message (%v)", err))
	}
	// The connection usually ends because the process died. One that still lives
	// can no longer be reached.
	lingering := time.AfterFunc(5*time.Second, func() { c.kill(LostGarbled, "the engine process closed its connection") })
	_ = c.cmd.Wait() // the state tells more than the error
	lingering.Stop()
	c.conn.Close()

	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	lastWords, oomKilled := c.words.lastWords(), oomKills() > kills
	c.cause = deathOf(c.cmd.ProcessState, reason, lastWords, oomKilled)
	if reason == "" {
		c.why = reasonOf(c.cmd.ProcessState, c.words, oomKilled)
	}
	close(c.done)
}

// read delivers messages until the connection ends.
func (c *child) read() error {
	in := newReceiver(c.conn)
	for {
		c.busy.Store(false)
		m, err := in.receive()
		if err != nil {
			return err
		}
		c.busy.Store(true)
		c.heard.Add(1)
		if m.Status != nil {
			c.status.Store(m.Status)
		}
		switch m.Kind {
		case kindHello:
			if m.Protocol != protocol {
				return fmt.Errorf("protocol %d, want %d", m.Protocol, protocol)
			}
			select {
			case <-c.greeted:
				return errors.New("second greeting")
			default:
				close(c.greeted)
			}
		case kindStatus, kindAlive:
		case kindAccepted, kindProgress, kindImage, kindDone:
			c.moved.Add(1)
			c.mu.Lock()
			to := c.open[m.Call]
			c.mu.Unlock()
			if to == nil {
				continue // its caller has gone
			}
			select {
			case to.events <- m:
			case <-to.left:
			}
		default:
			return fmt.Errorf("kind %d", m.Kind)
		}
	}
}

// silentTicks is how many times in a row listen must find nothing. Counting ticks,
// not time, keeps a pause of the whole machine from being taken for silence.
const silentTicks = 10

// listen ends a child that is silent for the given time after its greeting: it is
// stopped or hung, and a job in it would never end.
func (c *child) listen(silence time.Duration) {
	select {
	case <-c.greeted:
	case <-c.done:
		return
	}
	tick := time.NewTicker(silence / silentTicks)
	defer tick.Stop()
	for silent, last := 0, uint64(0); silent < silentTicks; silent++ {
		select {
		case <-tick.C:
		case <-c.done:
			return
		}
		if now := c.heard.Load(); now != last || c.busy.Load() {
			silent, last = -1, now
		}
	}
	c.kill(LostSilent, fmt.Sprintf("the engine process gave no sign of life for %s", silence))
}

// kill ends the process. If it is called again, the first reason stays.
func (c *child) kill(why Reason, reason string) {
	c.mu.Lock()
	if c.reason == "" {
		c.reason, c.why = reason, why
	}
	c.mu.Unlock()
	_ = c.cmd.Process.Kill() // fails only when it is gone already
}

// Errors of calls that the child did nothing for before it died, so that another
// child may run them.
var (
	errNotAccepted = errors.New("the engine process ended before it took the job")
	errNotBegun    = errors.New("the engine process ended before it began with the job")
)

// do runs one call. Progress goes to hooks, images to each. When ctx ends the
// child is asked to stop, and killed when it has not within cfg.CancelGrace.
func (c *child) do(ctx context.Context, m message, hooks inference.Hooks, cfg *Config, each func(message)) (message, error) {
	k := &call{id: c.calls.Add(1), events: make(chan message, 64), left: make(chan struct{})}
	defer close(k.left)
	c.mu.Lock()
	c.open[k.id] = k
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.open, k.id)
		c.mu.Unlock()
	}()

	m.Call = k.id
	if err := c.out.send(m); errors.Is(err, errTooLarge) {
		return message{}, &fault.Error{Code: fault.Invalid, Msg: "the request is too large, send fewer or smaller pictures", Err: err}
	} // a lost connection shows as done
	state := &exchange{child: c, call: k, hooks: hooks, cfg: cfg, each: each, waits: m.Kind == kindGenerate}
	return state.run(ctx)
}

// exchange is the parent's side of a call under way.
type exchange struct {
	child    *child
	call     *call
	hooks    inference.Hooks
	cfg      *Config
	each     func(message)
	waits    bool // the call may wait for others in the child, and reports when it begins
	accepted bool
	begun    bool // it has reported something
}

// stallTicks is how many parts of Config.Stall are counted; see silentTicks.
const stallTicks = 10

func (x *exchange) run(ctx context.Context) (message, error) {
	var changed <-chan struct{}
	if x.hooks.Control != nil {
		changed = x.hooks.Control.Changed()
		x.sendControl() // what was asked before the call began
	}
	ended := ctx.Done()
	var overdue, stalled <-chan time.Time
	if x.cfg.Stall > 0 {
		tick := time.NewTicker(x.cfg.Stall / stallTicks)
		defer tick.Stop()
		stalled = tick.C
	}
	still, moved := 0, uint64(0) // ticks since the last progress of any call
	for {
		select {
		case m := <-x.call.events:
			still = 0
			if x.take(m) {
				return m, m.Failure.err()
			}
		case <-changed:
			x.sendControl()
		case <-ended:
			ended = nil
			_ = x.child.out.send(message{Kind: kindCancel, Call: x.call.id})
			timer := time.NewTimer(x.cfg.CancelGrace)
			defer timer.Stop()
			overdue = timer.C
		case <-overdue:
			overdue = nil
			x.child.kill(LostCanceled, fmt.Sprintf("the engine process did not stop within %s", x.cfg.CancelGrace))
		case <-stalled:
			if now := x.child.moved.Load(); now != moved {
				still, moved = 0, now
			}
			if still++; still > stallTicks {
				stalled = nil
				x.child.kill(LostStalled, fmt.Sprintf("the engine process made no progress for %s", x.cfg.Stall))
			}
		case <-x.child.done:
			return x.died(ctx)
		}
	}
}

// take handles one message and reports whether it was the last.
func (x *exchange) take(m message) (last bool) {
	x.accepted = true
	x.begun = x.begun || m.Kind != kindAccepted
	switch m.Kind {
	case kindProgress:
		if m.Progress != nil {
			x.each(m)
			x.hooks.Report(*m.Progress)
		}
	case kindImage:
		x.each(m)
	case kindDone:
		return true
	default: // of another version: nothing to do
	}
	return false
}

// died ends the call after the child's death, with the result if that came
// first.
func (x *exchange) died(ctx context.Context) (message, error) {
	for {
		select {
		case m := <-x.call.events:
			if x.take(m) {
				return m, m.Failure.err()
			}
			continue
		default:
		}
		switch {
		case ctx.Err() != nil:
			stopped := fault.Stopped(ctx, "engine")
			stopped.Err = x.child.cause // the process that died tells more than the context
			return message{}, stopped
		case !x.accepted:
			return message{}, errNotAccepted
		case !x.begun && x.waits:
			return message{}, errNotBegun
		}
		return message{}, x.child.cause
	}
}

func (x *exchange) sendControl() {
	c := control{Interrupted: x.hooks.Control.Interrupted(), Skips: x.hooks.Control.Skips()}
	if c != (control{}) {
		_ = x.child.out.send(message{Kind: kindControl, Call: x.call.id, Control: c})
	}
}
