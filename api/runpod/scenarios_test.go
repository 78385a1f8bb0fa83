package runpod_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
	"sdworker/api/runpod/runpodtest"
	"sdworker/internal/clienttest"
)

// scripted is the handler that scenarios ask for.
func scripted(ctx context.Context, job runpod.Job) (any, error) {
	var in struct {
		Return   any
		Error    string
		Sleep    float64
		Progress int
	}
	if err := json.Unmarshal(job.Input, &in); err != nil {
		return nil, err
	}
	for i := range in.Progress {
		job.Progress(i + 1)
		time.Sleep(200 * time.Millisecond)
	}
	select {
	case <-time.After(time.Duration(in.Sleep * float64(time.Second))):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if in.Error != "" {
		return nil, errors.New(in.Error)
	}
	return in.Return, nil
}

func TestScenarios(t *testing.T) {
	for _, sc := range runpodtest.Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			inBubble(t, setup{server: sc.Options}, scripted, func(r *rig) {
				require.NoError(r.t, sc.Run(r.t.Context(), r.Server))
			})
		})
	}
}

// TestScenariosOverSockets plays some of them with real connections.
func TestScenariosOverSockets(t *testing.T) {
	for _, sc := range runpodtest.Scenarios() {
		switch sc.Name {
		case "job in Hub templates", "job-take: dropped and cut", "job-done: dropped", "stop of a running job", "result too large":
		default:
			continue
		}
		t.Run(sc.Name, func(t *testing.T) {
			require.NoError(t, sc.Play(t.Context(), func(ctx context.Context, environ map[string]string) error {
				cfg, err := runpod.LoadConfig(environ)
				if err != nil {
					return err
				}
				return runpod.Start(ctx, scripted, cfg)
			}))
		})
	}
}

// sdkWorker is the handler of scripted on RunPod's own SDK.
const sdkWorker = `import asyncio

import runpod
from runpod.serverless.modules.rp_progress import progress_update


async def handler(job):
    task = job["input"]
    for i in range(task.get("progress", 0)):
        progress_update(job, i + 1)
        await asyncio.sleep(0.2)
    await asyncio.sleep(task.get("sleep", 0))
    if task.get("error"):
        return {"error": task["error"]}
    return task.get("return")


runpod.serverless.start({"handler": handler})
`

// TestScenariosOfTheSDK plays some scenarios with RunPod's Python SDK: what the test
// server asks of a worker is what the SDK does. Of the others its behaviour is described
// in package runpodtest.
func TestScenariosOfTheSDK(t *testing.T) {
	python := clienttest.Need(t, "api/runpod/testdata/sdk/install.sh", "runpod", "bin", "python")
	script := filepath.Join(t.TempDir(), "worker.py")
	require.NoError(t, os.WriteFile(script, []byte(sdkWorker), 0o600))
	for _, sc := range runpodtest.Scenarios() {
		switch sc.Name {
		case "job in production templates", "job in Hub templates", "job in templates with an empty query",
			"failing job", "job-done: server errors", "heartbeat names the running job":
		default:
			continue
		}
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			require.NoError(t, sc.Play(t.Context(), func(ctx context.Context, environ map[string]string) error {
				return runSDK(ctx, python, script, t.TempDir(), environ)
			}))
		})
	}
}

// runSDK runs a worker of the SDK in a folder until ctx ends.
func runSDK(ctx context.Context, python, script, folder string, environ map[string]string) error {
	cmd := exec.Command(python, script)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true", "RUNPOD_SKIP_GPU_CHECK=true", "RUNPOD_SKIP_FITNESS_CHECKS=true"}
	for k, v := range environ {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its ping process too
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err := <-exited:
		return fmt.Errorf("the worker ended: %w: %s", err, log.Bytes())
	case <-ctx.Done():
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
		return err
	}
}
