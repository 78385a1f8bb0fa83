package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caarlos0/env/v10"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/internal/cli"
	"sdworker/models/modelstest"
)

// openGate as the value of fakeEngine is a gate that holds nothing.
const openGate = "open"

// opOpen is the loading of a checkpoint, for a gate beside the calls of a Fake.
const opOpen enginetest.Op = "load"

// fakeOpener loads every checkpoint as a Fake, but for files that hold "broken".
// gate is openGate, or what barrier.environ says.
func fakeOpener(gate string) inference.OpenFunc {
	held, socket, _ := strings.Cut(gate, "@")
	before := func(ctx context.Context, c enginetest.Call) error {
		if !slices.Contains(strings.Split(held, ","), string(c.Op)) {
			return nil
		}
		return passGate(ctx, socket, c.Op)
	}
	return func(ctx context.Context, checkpoint string, progress func(done, total int)) (inference.Engine, error) {
		if err := before(ctx, enginetest.Call{Op: opOpen}); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(checkpoint)
		if err != nil || bytes.Equal(text, []byte("broken")) {
			return nil, fault.Errorf(fault.Invalid, "open", "%s is no model", checkpoint)
		}
		progress(1, 1)
		return &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint}, Before: before, Forget: true}, nil
	}
}

// passGate tells the test that op is reached and waits until it lets go.
func passGate(ctx context.Context, socket string, op enginetest.Op) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil // the test is over
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, "%d %s\n", os.Getpid(), op)
	order := make([]byte, 1)
	if n, _ := conn.Read(order); n == 1 { // else the test has closed its end
		return obey(order[0], op)
	}
	if err := ctx.Err(); err != nil {
		return &fault.Error{Code: fault.Canceled, Op: string(op), Msg: "canceled", Err: err}
	}
	return nil
}

// Orders of a test to a call that is held.
const (
	orderGarbage = 'g' // write what is no message to the supervisor
	orderPanic   = 'p'
	orderMemory  = 'm' // have no memory for it
	orderSlow    = 's'
	orderHang    = 'h' // go on for ever without progress
)

func obey(order byte, op enginetest.Op) error {
	switch order {
	case orderGarbage:
		open, _ := os.ReadDir("/proc/self/fd")
		for _, f := range open {
			if fd, err := strconv.Atoi(f.Name()); err == nil {
				_, _ = syscall.Write(fd, bytes.Repeat([]byte{0xff}, 1000)) // one of them is the socket
			}
		}
		select {}
	case orderHang:
		select {}
	case orderPanic:
		panic("index out of range")
	case orderMemory:
		return fault.Errorf(fault.Exhausted, string(op), "out of memory")
	case orderSlow:
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// barrier holds calls of fake engines in other processes.
type barrier struct {
	t        *testing.T
	ops      []enginetest.Op
	listener net.Listener
}

func newGate(t *testing.T, ops ...enginetest.Op) *barrier {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate") //nolint:usetesting // the names of t.TempDir are too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	g := &barrier{t: t, ops: ops, listener: listener}
	t.Cleanup(g.open)
	return g
}

// environ is what fakeEngine must be.
func (g *barrier) environ() string {
	var names []string
	for _, op := range g.ops {
		names = append(names, string(op))
	}
	return strings.Join(names, ",") + "@" + g.listener.Addr().String()
}

// open holds nothing any more.
func (g *barrier) open() { g.listener.Close() }

// held is a call that waits at a gate.
type held struct {
	pid  int
	op   enginetest.Op
	conn net.Conn
}

func (h *held) release() { h.conn.Close() }

// order has the call do something else than its work.
func (h *held) order(what byte) { _, _ = h.conn.Write([]byte{what}) }

// next waits for the next call.
func (g *barrier) next() *held {
	g.t.Helper()
	require.NoError(g.t, g.listener.(*net.UnixListener).SetDeadline(time.Now().Add(patience)))
	call, err := g.accept()
	require.NoError(g.t, err)
	return call
}

// accept is next without a bound. It fails once the gate is open.
func (g *barrier) accept() (*held, error) {
	conn, err := g.listener.Accept()
	if err != nil {
		return nil, err
	}
	g.t.Cleanup(func() { conn.Close() })
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return nil, err
	}
	id, op, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	pid, err := strconv.Atoi(id)
	return &held{pid, enginetest.Op(op), conn}, err
}

// checkpointName is the only model of a test's home.
const checkpointName = "tiny"

// newHome makes an empty home with one checkpoint of no content the working
// folder.
func newHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	modelstest.Write(t, filepath.Join(home, "models", "Stable-diffusion", checkpointName+".safetensors"), nil, modelstest.F16("x", 4))
	t.Chdir(home)
	return home
}

// environ are the variables of a worker in home, and of its engine process.
func environ(home, gate string, more ...string) map[string]string {
	return env.ToMap(append([]string{"HOME=" + home, "DEVICE=cpu", asWorker + "=1", fakeEngine + "=" + gate}, more...))
}

// outcome is what a finished run left.
type outcome struct {
	status   int
	out, err string
}

// worker runs a command line to its end in this process, on a Fake.
func worker(t *testing.T, args ...string) outcome {
	t.Helper()
	return workerWith(t, nil, args...)
}

func workerWith(t *testing.T, change func(*program), args ...string) outcome {
	t.Helper()
	home, err := os.Getwd()
	require.NoError(t, err)
	out, errOut := newTranscript(), newTranscript() // several goroutines write, as they do to files
	p := &program{Terminal: cli.Terminal{In: strings.NewReader(""), Out: out, Err: errOut, Environ: environ(home, openGate)}, open: fakeOpener(openGate)}
	if change != nil {
		change(p)
	}
	status := p.run(t.Context(), args)
	return outcome{status, out.String(), errOut.String()}
}

// run is a command under way in this process.
type run struct {
	t      *testing.T
	out    *transcript // standard output
	err    *transcript // standard error
	cancel context.CancelCauseFunc
	done   chan struct{}
	status int // after done
}

// begin starts a command line that does not end by itself.
func begin(t *testing.T, environ map[string]string, args ...string) *run {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	r := &run{t: t, out: newTranscript(), err: newTranscript(), cancel: cancel, done: make(chan struct{})}
	p := &program{Terminal: cli.Terminal{In: strings.NewReader(""), Out: r.out, Err: r.err, Environ: environ}, open: fakeOpener(openGate)}
	go func() {
		defer close(r.done)
		r.status = p.run(ctx, args)
	}()
	t.Cleanup(func() {
		cancel(errors.New("the test is over"))
		<-r.done
		if t.Failed() {
			t.Logf("standard error:\n%s", r.err)
		}
	})
	return r
}

// signal does what a signal does to a process.
func (r *run) signal(s syscall.Signal) { r.cancel(cli.SignalError{Signal: s}) }

// wait returns the exit status.
func (r *run) wait() int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		require.Fail(r.t, "the command does not end", "%s", r.err)
	}
	return r.status
}

// transcript is an io.Writer that others may wait on.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.more)
	w.more = make(chan struct{})
	return w.text.Write(p)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits for a text.
func (w *transcript) await(t *testing.T, mark string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		text, more := w.text.String(), w.more
		w.mu.Unlock()
		if strings.Contains(text, mark) {
			return
		}
		select {
		case <-more:
		case <-deadline:
			require.Fail(t, "not written", "%q in:\n%s", mark, text)
		}
	}
}

// await returns the rest of the line after mark.
func (r *run) await(mark string) string {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.err.mu.Lock()
		text, more := r.err.text.String(), r.err.more
		r.err.mu.Unlock()
		if _, rest, ok := strings.Cut(text, mark); ok {
			if line, _, ok := strings.Cut(rest, "\n"); ok {
				return line
			}
		}
		select {
		case <-more:
		case <-r.done:
			require.Fail(r.t, "the command ended", "without %q on standard error:\n%s", mark, r.err)
		case <-deadline:
			require.Fail(r.t, "no such line", "%q on standard error:\n%s", mark, r.err)
		}
	}
}
