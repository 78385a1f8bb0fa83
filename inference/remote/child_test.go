package remote_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/remote"
)

// childMode in the environment turns the test binary into a child process.
const childMode = "REMOTE_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(childMain(mode))
	}
	goleak.VerifyTestMain(m)
}

// childMain is the child: a scripted generator behind Serve, or something that
// no child should be.
func childMain(mode string) int {
	switch mode {
	case "exit":
		fmt.Fprintln(os.Stderr, "no such device")
		return 3
	case "parent": // prints the id of its own child, which hangs
		s := remote.Start(remote.Config{Command: command("scripted")})
		_, _ = s.Generate(context.Background(), prompt("pid"), inference.Hooks{})
		fmt.Println(s.PID())
		_, _ = s.Generate(context.Background(), prompt("hang"), inference.Hooks{})
		return 0
	case "silent":
		time.Sleep(time.Minute)
		return 0
	}
	conn, err := remote.Conn()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer conn.Close()
	if mode == "garbage" {
		_, _ = conn.Write([]byte(strings.Repeat("this is no message", 100)))
		_, _ = io.Copy(io.Discard, conn)
		return 0
	}
	if mode == "pipeline" {
		gen := fakePipeline()
		defer gen.Close()
		return served(conn, gen)
	}
	return served(conn, &scripted{conn: conn})
}

func served(conn net.Conn, gen inference.Generator) int {
	if err := remote.Serve(context.Background(), conn, gen); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// scripted is a generator whose prompt says what to do.
type scripted struct {
	conn   net.Conn
	turn   sync.Mutex // one job at a time
	loaded string
	loads  int
}

func (s *scripted) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.load(req.Files, hooks); err != nil {
		return nil, err
	}
	hooks.Report(inference.Progress{Phase: inference.PhaseSampling, Steps: req.Steps})
	verb, arg, _ := strings.Cut(req.Prompt, " ")
	switch verb {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "assert": // as ggml does it: a line, then abort
		fmt.Fprintln(os.Stderr, "/src/ggml.c:42: GGML_ASSERT(ne == 1) failed")
		fmt.Fprintln(os.Stderr, "some stack frame")
		_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
		select {}
	case "panic":
		panic("index out of range")
	case "garbage":
		_, _ = s.conn.Write([]byte(strings.Repeat("\xff", 1000)))
		select {}
	case "flood": // more progress than anybody takes in at once
		for i := range 10000 {
			hooks.Report(inference.Progress{Phase: inference.PhaseSampling, Step: i, Steps: 10000})
		}
	case "hang":
		time.Sleep(time.Minute)
	case "stop": // the whole process, as a debugger or a frozen container does
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	case "wait": // for the end of the context, as an engine between steps
		<-ctx.Done()
		return nil, &fault.Error{Code: fault.Canceled, Op: "sample", Msg: "canceled", Err: ctx.Err()}
	case "pid":
		return &inference.Result{Comments: []string{fmt.Sprint(os.Getpid()), fmt.Sprint(s.loads)}}, nil
	case "fail":
		return nil, &fault.Error{Code: fault.Code(arg), Op: "unet", Field: "steps", Msg: "as asked", Err: io.ErrUnexpectedEOF}
	}
	return &inference.Result{Comments: []string{req.Prompt}}, nil
}

func (s *scripted) Load(_ context.Context, files inference.Files, hooks inference.Hooks) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.load(files, hooks)
}

func (s *scripted) load(files inference.Files, hooks inference.Hooks) error {
	if files.Checkpoint == s.loaded {
		return nil
	}
	hooks.Report(inference.Progress{Phase: inference.PhaseLoading})
	switch files.Checkpoint {
	case "missing":
		return fault.Errorf(fault.NotFound, "load", "no such checkpoint")
	case "deadly":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "deadly-second-time": // dies when a new process loads it again
		if _, err := os.Stat(os.Getenv("REMOTE_TEST_MARK")); err == nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		_ = os.WriteFile(os.Getenv("REMOTE_TEST_MARK"), nil, 0o600)
	}
	s.loads++
	s.loaded = files.Checkpoint
	return nil
}

func (s *scripted) Upscale(_ context.Context, req *inference.UpscaleRequest, _ inference.Hooks) (imageio.RGB, error) {
	return req.Image, nil
}

func (s *scripted) Unload(context.Context) error { s.loaded = ""; return nil }

func (s *scripted) Status() inference.Status {
	return inference.Status{Ready: true, Engine: inference.EngineInfo{Checkpoint: s.loaded}}
}

func (s *scripted) Close() error { return nil }

// command re-executes the test binary as a child of the given mode.
func command(mode string, environ ...string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childMode+"="+mode)
		cmd.Env = append(cmd.Env, environ...)
		return cmd
	}
}

// patience bounds every wait; on a slow machine that is busy all takes long.
const patience = 2 * time.Minute

// start runs a supervisor until the test ends. It pauses shortly between starts and ends a
// child that is hung soon, but has patience with one that is only slow.
func start(t *testing.T, cmd func() *exec.Cmd, change ...func(*remote.Config)) *remote.Supervisor {
	t.Helper()
	cfg := remote.Config{
		Command: cmd, Log: zerolog.New(zerolog.NewTestWriter(t)),
		StartTimeout: patience, Silence: patience, CancelGrace: patience, CloseGrace: 2 * time.Second,
		MinPause: 20 * time.Millisecond, MaxPause: 200 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	s := remote.Start(cfg)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func prompt(text string) *inference.Request {
	return &inference.Request{Prompt: text, Steps: 4, Files: inference.Files{Checkpoint: "good"}}
}
