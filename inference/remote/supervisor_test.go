package remote_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/remote"
)

// requireWorks proves that the supervisor runs the next job, in a child that has
// loaded its files once.
func requireWorks(t *testing.T, gen inference.Generator) (pid int) {
	t.Helper()
	res, err := gen.Generate(deadline(t), prompt("pid"), inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, "1", res.Comments[1], "loads in the new process")
	pid, err = strconv.Atoi(res.Comments[0])
	require.NoError(t, err)
	return pid
}

// lostTo has a supervisor tell the channel why its children were lost.
func lostTo(lost chan<- remote.Reason) func(*remote.Config) {
	return func(c *remote.Config) { c.Lost = func(why remote.Reason) { lost <- why } }
}

func TestDeathDuringJob(t *testing.T) {
	for _, tc := range []struct {
		name, prompt, cause string
		reason              remote.Reason
	}{
		{"killed", "kill", "ended by signal 9", remote.LostBySignal},
		{"assertion", "assert", "GGML_ASSERT(ne == 1) failed", remote.LostByAbort},
		{"go panic", "panic", "panic: index out of range", remote.LostByAbort},
		{"protocol garbage", "garbage", "sent what is no message", remote.LostGarbled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lost := make(chan remote.Reason, 1)
			s := start(t, command("scripted"), lostTo(lost))
			require.NoError(t, s.Load(deadline(t), inference.Files{Checkpoint: "good"}, inference.Hooks{}))
			first := s.PID()
			_, err := s.Generate(deadline(t), prompt(tc.prompt), inference.Hooks{})
			require.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, tc.cause)
			require.Equal(t, tc.reason, <-lost)
			require.NotEqual(t, first, requireWorks(t, s))
			require.Eventually(t, func() bool { return s.Status().Ready }, patience, 5*time.Millisecond)
		})
	}
}

func TestDeathCostsAllJobsInHandOnce(t *testing.T) {
	s := start(t, command("pipeline"))
	var begun, ended sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		begun.Add(1)
		report := sync.OnceFunc(begun.Done)
		ended.Go(func() {
			_, errs[i] = s.Generate(deadline(t), picture(1000, 1), inference.Hooks{Progress: func(p inference.Progress) {
				if p.Step > 0 && p.Phase == inference.PhaseSampling {
					report()
				}
			}})
		})
	}
	begun.Wait()
	require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	ended.Wait()
	for _, err := range errs {
		require.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, "ended by signal 9")
	}
	_, err := s.Generate(deadline(t), picture(2, 1), inference.Hooks{})
	require.NoError(t, err)
}

func TestDeathDoesNotCostTheJobsThatWait(t *testing.T) {
	s := start(t, command("pipeline"))
	other := func(i int) *inference.Request {
		req := picture(2, 1)
		req.Files.Checkpoint = fmt.Sprint("other ", i)
		return req
	}
	began := make(chan struct{})
	report := sync.OnceFunc(func() { close(began) })
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Generate(deadline(t), picture(1000, 1), inference.Hooks{Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling {
				report()
			}
		}})
		assert.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
	})
	<-began
	for i := range 3 {
		wg.Go(func() {
			_, err := s.Generate(deadline(t), other(i), inference.Hooks{})
			assert.NoError(t, err, "it only waited for its turn")
		})
	}
	time.Sleep(50 * time.Millisecond) // most likely they wait in the child by now; if not they move on all the same
	require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	wg.Wait()
}

func TestAJobThatWaitsForOthersIsNotStalled(t *testing.T) {
	t.Parallel()
	s := start(t, command("pipeline"), func(c *remote.Config) { c.Stall = 1500 * time.Millisecond })
	var wg sync.WaitGroup
	for _, checkpoint := range []string{"good", "other"} { // the second waits for the whole of the first
		began := make(chan struct{})
		begin := sync.OnceFunc(func() { close(began) })
		req := picture(700, 1) // at least 2 s
		if checkpoint == "other" {
			req = picture(2, 1)
		}
		req.Files.Checkpoint = checkpoint
		wg.Go(func() {
			_, err := s.Generate(deadline(t), req, inference.Hooks{Progress: func(inference.Progress) { begin() }})
			assert.NoError(t, err)
		})
		if checkpoint == "good" {
			<-began
		}
	}
	wg.Wait()
}

func TestDeathWhileIdleIsNotNoticedByTheNextJob(t *testing.T) {
	s := start(t, command("scripted"))
	first := requireWorks(t, s)
	for range 5 {
		require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
		next := requireWorks(t, s) // may reach the dead process first
		require.NotEqual(t, first, next)
		first = next
	}
}

func TestHungJobIsKilledAfterCancel(t *testing.T) {
	lost := make(chan remote.Reason, 1)
	s := start(t, command("scripted"), func(c *remote.Config) { c.CancelGrace = 200 * time.Millisecond }, lostTo(lost))
	ctx, cancel := context.WithCancel(deadline(t))
	hooks := inference.Hooks{Progress: func(p inference.Progress) {
		if p.Phase == inference.PhaseSampling {
			cancel()
		}
	}}
	_, err := s.Generate(ctx, prompt("hang"), hooks)
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.ErrorContains(t, err, "did not stop within")
	require.Equal(t, remote.LostCanceled, <-lost)
	requireWorks(t, s)
}

func TestStoppedProcessIsReplaced(t *testing.T) {
	t.Parallel()
	quick := func(c *remote.Config) { c.Silence = 3 * time.Second }
	t.Run("in a job", func(t *testing.T) {
		t.Parallel()
		lost := make(chan remote.Reason, 1)
		s := start(t, command("scripted"), quick, lostTo(lost))
		_, err := s.Generate(deadline(t), prompt("stop"), inference.Hooks{})
		require.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, "gave no sign of life for 3s")
		require.Equal(t, remote.LostSilent, <-lost)
		requireWorks(t, s)
	})
	t.Run("between jobs", func(t *testing.T) {
		t.Parallel()
		s := start(t, command("scripted"), quick)
		first := requireWorks(t, s)
		require.NoError(t, syscall.Kill(first, syscall.SIGSTOP))
		require.Eventually(t, func() bool { pid := s.PID(); return pid != 0 && pid != first }, patience, 5*time.Millisecond)
		requireWorks(t, s)
	})
}

func TestCallWithoutProgressIsEnded(t *testing.T) {
	t.Parallel()
	lost := make(chan remote.Reason, 1)
	s := start(t, command("scripted"), func(c *remote.Config) { c.Stall = 2 * time.Second }, lostTo(lost))
	_, err := s.Generate(deadline(t), prompt("hang"), inference.Hooks{})
	require.Equal(t, fault.Broken, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, "made no progress for 2s")
	require.Equal(t, remote.LostStalled, <-lost)
	requireWorks(t, s)
}

func TestSlowObserverIsNotTakenForSilence(t *testing.T) {
	t.Parallel()
	s := start(t, command("scripted"), func(c *remote.Config) { c.Silence = 3 * time.Second })
	first := requireWorks(t, s)
	release := make(chan struct{})
	hooks := inference.Hooks{Progress: func(p inference.Progress) {
		if p.Phase == inference.PhaseSampling {
			<-release
		}
	}}
	timer := time.AfterFunc(6*time.Second, func() { close(release) })
	defer timer.Stop()
	_, err := s.Generate(deadline(t), prompt("flood"), hooks)
	require.NoError(t, err)
	require.Equal(t, first, s.PID())
}

func TestCancelEndsTheJobAndKeepsTheProcess(t *testing.T) {
	s := start(t, command("scripted"))
	first := requireWorks(t, s)
	ctx, cancel := context.WithCancel(deadline(t))
	hooks := inference.Hooks{Progress: func(inference.Progress) { cancel() }}
	_, err := s.Generate(ctx, prompt("wait"), hooks)
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.Equal(t, first, requireWorks(t, s))
}

func TestCanceledWhileNoProcessRuns(t *testing.T) {
	s := start(t, command("silent"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Generate(ctx, prompt("x"), inference.Hooks{})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
}

func TestFailedStart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		command func() *exec.Cmd
		cause   string
	}{
		{"no such file", func() *exec.Cmd { return exec.Command("/nonexistent/worker") }, "/nonexistent/worker"},
		{"exits at once", command("exit"), "exit code 3: no such device"},
		{"speaks another language", command("garbage"), "sent what is no message"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, tc.command)
			_, err := s.Generate(deadline(t), prompt("x"), inference.Hooks{})
			require.Equal(t, fault.Broken, fault.CodeOf(err))
			require.ErrorContains(t, err, tc.cause)
			require.False(t, s.Status().Ready)
			require.Contains(t, s.Status().Err, tc.cause)
		})
	}
}

func TestRestartsPauseLongerAndLonger(t *testing.T) {
	starts := make(chan time.Time, 100)
	exits := command("exit")
	start(t, func() *exec.Cmd {
		starts <- time.Now()
		return exits()
	})
	var at []time.Time
	for range 6 {
		at = append(at, <-starts)
	}
	// Pauses of at least 0, 20, 40, 80 and 160 ms.
	require.GreaterOrEqual(t, at[3].Sub(at[0]), 60*time.Millisecond)
	require.GreaterOrEqual(t, at[5].Sub(at[0]), 300*time.Millisecond)
}

// Callers who each waited for the next start would wait for one pause after another.
func TestLongPausesAreTold(t *testing.T) {
	exits := command("exit")
	s := start(t, exits, func(c *remote.Config) { c.MinPause, c.MaxPause, c.MaxWait = time.Hour, time.Hour, time.Minute })
	require.Eventually(t, func() bool {
		_, err := s.Generate(deadline(t), prompt("x"), inference.Hooks{})
		var got *fault.Error
		require.ErrorAs(t, err, &got)
		return got.RetryAfter > 50*time.Minute
	}, patience, 5*time.Millisecond)
	_, err := s.Generate(deadline(t), prompt("x"), inference.Hooks{})
	require.Equal(t, fault.Broken, fault.CodeOf(err))
	require.ErrorContains(t, err, "is started again in 1h0m0s")
}

func TestFailedLoadKeepsTheProcess(t *testing.T) {
	s := start(t, command("scripted"))
	first := requireWorks(t, s)
	err := s.Load(deadline(t), inference.Files{Checkpoint: "missing"}, inference.Hooks{})
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.Contains(t, s.Status().Err, "no such checkpoint")
	require.Equal(t, first, requireWorks(t, s))
	require.Empty(t, s.Status().Err)
}

func TestDeadlyCheckpointIsNotLoadedForever(t *testing.T) {
	t.Run("never loaded", func(t *testing.T) {
		s := start(t, command("scripted"))
		err := s.Load(deadline(t), inference.Files{Checkpoint: "deadly"}, inference.Hooks{})
		require.Equal(t, fault.Broken, fault.CodeOf(err))
		requireWorks(t, s)
	})
	t.Run("loaded before", func(t *testing.T) {
		var starts int
		cmd := command("scripted", "REMOTE_TEST_MARK="+filepath.Join(t.TempDir(), "mark"))
		s := start(t, func() *exec.Cmd { starts++; return cmd() })
		require.NoError(t, s.Load(deadline(t), inference.Files{Checkpoint: "deadly-second-time"}, inference.Hooks{}))
		require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL))
		require.Eventually(t, func() bool { return s.PID() != 0 && s.Status().Ready && s.Status().Engine.Checkpoint == "" },
			patience, 5*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		requireWorks(t, s)
		require.LessOrEqual(t, starts, 4) // the first, the reload, one without it
	})
}

func TestLostFilesAreLoadedAgain(t *testing.T) {
	s := start(t, command("scripted"))
	require.NoError(t, s.Load(deadline(t), inference.Files{Checkpoint: "good"}, inference.Hooks{}))
	require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	require.Eventually(t, func() bool { return s.Status().Ready && s.Status().Engine.Checkpoint == "good" && s.Status().Err != "" },
		patience, 5*time.Millisecond)
	require.NoError(t, s.Unload(deadline(t)))
	require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	require.Eventually(t, func() bool { return s.Status().Ready && s.Status().Engine.Checkpoint == "" }, patience, 5*time.Millisecond)
}

func TestErrorsKeepTheirParts(t *testing.T) {
	s := start(t, command("scripted"))
	for _, code := range []fault.Code{
		fault.Invalid, fault.NotFound, fault.Busy, fault.Canceled,
		fault.Exhausted, fault.Broken, fault.Internal,
	} {
		_, err := s.Generate(deadline(t), prompt("fail "+string(code)), inference.Hooks{})
		var got *fault.Error
		require.ErrorAs(t, err, &got)
		require.Equal(t, &fault.Error{Code: code, Op: "unet", Field: "steps", Msg: "as asked", Err: got.Err}, got)
		require.EqualError(t, err, "unet: as asked: unexpected EOF")
	}
}

func TestUpscaleCarriesLargePictures(t *testing.T) {
	s := start(t, command("scripted"))
	in := imageio.NewRGB(2048, 2048)
	for i := range in.Pix {
		in.Pix[i] = uint8(i * 7)
	}
	out, err := s.Upscale(deadline(t), &inference.UpscaleRequest{Image: in, Scale: 1}, inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, in, out)
}

func TestClose(t *testing.T) {
	t.Run("ends a job in progress", func(t *testing.T) {
		s := start(t, command("scripted"))
		failed := make(chan error, 1)
		hooks := inference.Hooks{Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling {
				go s.Close()
			}
		}}
		go func() {
			_, err := s.Generate(context.Background(), prompt("wait"), hooks)
			failed <- err
		}()
		require.Equal(t, fault.Canceled, fault.CodeOf(<-failed))
	})
	t.Run("kills a hung process", func(t *testing.T) {
		s := start(t, command("silent"))
		require.Eventually(t, func() bool { return childrenOf(os.Getpid()) > 0 }, patience, time.Millisecond)
		require.NoError(t, s.Close())
		require.Zero(t, childrenOf(os.Getpid()))
	})
	t.Run("twice, and calls after it fail", func(t *testing.T) {
		s := start(t, command("scripted"))
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		_, err := s.Generate(deadline(t), prompt("x"), inference.Hooks{})
		require.Error(t, err)
	})
}

// childrenOf counts the child processes of this process's threads.
func childrenOf(pid int) int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	n := 0
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil && len(text) > 0 {
			n++
		}
	}
	return n
}

// The child must not outlive its parent, whatever ends that.
func TestChildDiesWithItsParent(t *testing.T) {
	parent := command("parent")()
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return !alive(pid) }, patience, 5*time.Millisecond)
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	var id int
	var name, state string
	_, _ = fmt.Sscan(string(text), &id, &name, &state)
	return state != "Z"
}
