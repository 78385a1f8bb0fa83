//go:build cgo && sdcpp

package main

import (
	"bytes"
	"cmp"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/internal/cli"
	"sdworker/models/synth"
)

// nativeEnviron are the variables of a worker with its real engine.
func nativeEnviron(home string) []string {
	return []string{"HOME=" + home, asWorker + "=1", "DEVICE=" + cmp.Or(os.Getenv("SDWORKER_TEST_DEVICE"), "cpu"), "PATH=" + os.Getenv("PATH")}
}

// native runs a command line with the real engine, in a process of its own.
func native(t *testing.T, home string, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = nativeEnviron(home)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // the status tells
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// TestNative is the way of a newcomer: write a checkpoint, look at it, make
// pictures, serve.
func TestNative(t *testing.T) {
	home := t.TempDir()
	t.Chdir(home)
	require.NoError(t, os.MkdirAll("models/Stable-diffusion", 0o755))
	const model = "models/Stable-diffusion/tiny.safetensors"
	got := native(t, home, "models", "synth", "--size", string(synth.Tiny), model)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.err, "random values")

	got = native(t, home, "models", "info", model)
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, got.out, "usable    yes")
	require.Contains(t, native(t, home, "models", "ls").out, "tiny.safetensors")

	t.Run("version", func(t *testing.T) {
		got := native(t, home, "version")
		require.Equal(t, cli.StatusOK, got.status, got.err)
		require.Regexp(t, `(?m)^engine +diffusion-rs-sys \S+ and llama-cpp-sys-2 \S+, build [0-9a-f]{16}, ggml \d`, got.out)
		require.Regexp(t, `(?m)^backend +(cpu|cuda|vulkan)$`, got.out)
		require.Regexp(t, `(?m)^cpu +\S`, got.out)
		require.Regexp(t, `(?m)^allocator +\S`, got.out)
		require.Regexp(t, `(?m)^device +\S`, got.out)
	})
	t.Run("generate", func(t *testing.T) {
		args := []string{"generate", "--prompt", "a cat", "--steps", "2", "--width", "64", "--height", "72", "--seed", "42", "--output"}
		got := native(t, home, append(args, "cat.png")...)
		require.Equal(t, cli.StatusOK, got.status, got.err)
		require.Equal(t, "cat.png\n", got.out)
		require.Contains(t, got.err, "Steps: 2, Sampler: Euler")
		first, err := os.ReadFile("cat.png")
		require.NoError(t, err)
		requirePicture(t, first, "png", 64, 72)

		got = native(t, home, append(args, "-", "--quiet")...)
		require.Equal(t, outcome{cli.StatusOK, string(first), ""}, got, "the same picture, nothing else on either stream")

		got = native(t, home, append(args, "cat.jpg", "--vae-tiles", "always", "--threads", "1")...)
		require.Equal(t, cli.StatusOK, got.status, got.err)
		require.Equal(t, parametersOf(t, "cat.png"), parametersOf(t, "cat.jpg"))
	})
	t.Run("a file cut short", func(t *testing.T) {
		whole, err := os.ReadFile(model)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("cut.safetensors", whole[:len(whole)/2], 0o600))
		got := native(t, home, "generate", "--prompt", "a cat", "--model", "cut.safetensors")
		require.Equal(t, cli.StatusError, got.status)
		require.Contains(t, got.err, "cut.safetensors is ")
		require.NotContains(t, got.err, "goroutine")
	})
	t.Run("without a VAE", func(t *testing.T) {
		renamed(t, model, "no-vae.safetensors", strings.NewReplacer("first_stage_model.", "zirst_stage_model."))
		got := native(t, home, "generate", "--prompt", "a cat", "--steps", "1", "--width", "64", "--height", "64", "--model", "no-vae.safetensors")
		require.Equal(t, cli.StatusError, got.status, got.err)
		require.Contains(t, got.err, "no-vae.safetensors has no VAE of its own: put one beside it as no-vae.vae.safetensors")
	})
	t.Run("a VAE cut short", func(t *testing.T) {
		vae := filepath.Join("models", "VAE", "cut.safetensors")
		require.NoError(t, os.MkdirAll(filepath.Dir(vae), 0o755))
		require.NoError(t, synth.Write(t.Context(), vae, synth.Options{Kind: synth.VAE, Size: synth.Tiny}))
		require.NoError(t, os.Truncate(vae, 1<<20))
		require.NoError(t, os.WriteFile("options.json", []byte(`{"sd_vae": "cut.safetensors"}`), 0o600))
		got := native(t, home, "generate", "--prompt", "a cat", "--steps", "1", "--width", "64", "--height", "64", "--output", "never.png", "--options-file", "options.json")
		require.Equal(t, cli.StatusError, got.status)
		require.Contains(t, got.err, vae+" is not a valid safetensors file: it is truncated")
		require.NotContains(t, got.err, "goroutine")
		require.NoFileExists(t, "never.png")
	})
	t.Run("a file cut short while it is in use", func(t *testing.T) {
		whole, err := os.ReadFile(model)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("cut.safetensors", whole, 0o600))
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "generate", "--prompt", "a cat", "--model", "cut.safetensors", "--steps", "150", "--width", "64", "--height", "64")
		cmd.Env = nativeEnviron(home)
		said := newTranscript()
		cmd.Stderr = said
		require.NoError(t, cmd.Start())
		said.await(t, "sampling")
		require.NoError(t, os.Truncate("cut.safetensors", 0))
		_ = cmd.Wait() // the status tells
		require.Equal(t, cli.StatusError, cmd.ProcessState.ExitCode(), said)
		require.Contains(t, said.String(), "a model file was cut short while it was in use\n")
		require.NotContains(t, said.String(), "goroutine")
	})
	t.Run("serve", func(t *testing.T) {
		variables := map[string]string{}
		for _, pair := range nativeEnviron(home) {
			name, value, _ := strings.Cut(pair, "=")
			variables[name] = value
		}
		r := begin(t, variables, "serve", "--addr", "127.0.0.1:0")
		c := &client{t: t, base: r.await("listening on "), http: &http.Client{Timeout: patience}, header: http.Header{}}
		defer c.http.CloseIdleConnections()
		c.ready()
		first := c.do(http.MethodPost, "/sdapi/v1/txt2img", small)
		require.Equal(t, 1, first.pictures(t))

		long := c.later(strings.Replace(small, `"steps": 3`, `"steps": 150`, 1))
		require.Eventually(t, func() bool { return strings.Contains(c.get("/sdapi/v1/progress").body, `"sampling_steps":150`) }, patience, 5*time.Millisecond)
		engine := engineOf(t, os.Getpid())
		require.NoError(t, syscall.Kill(engine, syscall.SIGKILL))
		lost := <-long
		require.Equal(t, http.StatusInternalServerError, lost.status)
		require.Contains(t, lost.body, "ended by signal 9")
		again := c.do(http.MethodPost, "/sdapi/v1/txt2img", small)
		require.Equal(t, first.images(t), again.images(t), "the same picture from the new process")
		r.signal(syscall.SIGTERM)
		require.Equal(t, cli.StatusOK, r.wait())
	})
}
