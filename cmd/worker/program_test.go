package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"sdworker/internal/cli"

	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	newHome(t)
	for _, tc := range []struct {
		args   []string
		status int
		out    string // in standard output
		err    string // in standard error
	}{
		{nil, cli.StatusUsage, "", "Usage: worker COMMAND"},
		{[]string{"--help"}, cli.StatusOK, "Usage: worker COMMAND", ""},
		{[]string{"help"}, cli.StatusOK, "generate ", ""},
		{[]string{"help", "generate"}, cli.StatusOK, "--negative-prompt TEXT", ""},
		{[]string{"help", "models", "synth"}, cli.StatusOK, "Usage: worker models synth [flags] FILE", ""},
		{[]string{"help", "nothing"}, cli.StatusUsage, "", `unknown command "nothing"`},
		{[]string{"generate", "--help"}, cli.StatusOK, "[MODELS_DIR]", ""},
		{[]string{"generate", "-h"}, cli.StatusOK, "Usage: worker generate [flags]", ""},
		{[]string{"runpod", "--help"}, cli.StatusOK, "--test_input", ""},
		{[]string{"models"}, cli.StatusUsage, "", "Usage: worker models COMMAND"},
		{[]string{"models", "--help"}, cli.StatusOK, "Usage: worker models COMMAND", ""},
		{[]string{"bench", "--help"}, cli.StatusOK, "Usage: worker bench [flags]", ""},
		{[]string{"bench", "http", "--help"}, cli.StatusOK, "Usage: worker bench http [flags]", ""},
		{[]string{"nothing"}, cli.StatusUsage, "", "Try: worker help\n"},
		{[]string{"serv"}, cli.StatusUsage, "", `did you mean "serve"?`},
		{[]string{"models", "list"}, cli.StatusUsage, "", `unknown command "list"`},
		{[]string{"generate"}, cli.StatusUsage, "", "--prompt is missing\nTry: worker generate --help\n"},
		{[]string{"generate", "--promt", "x"}, cli.StatusUsage, "", `unknown flag --promt, did you mean "--prompt"?`},
		{[]string{"generate", "--prompt"}, cli.StatusUsage, "", "flag --prompt needs a value"},
		{[]string{"generate", "--prompt", "a", "cat"}, cli.StatusUsage, "", `unexpected argument "cat"`},
		{[]string{"generate", "--prompt", "a", "--steps", "many"}, cli.StatusUsage, "", `--steps "many"`},
		{[]string{"generate", "--prompt", "a", "--seed", "1.5"}, cli.StatusUsage, "", `--seed "1.5"`},
		{[]string{"generate", "--prompt", "a", "--quiet=perhaps"}, cli.StatusUsage, "", `--quiet "perhaps"`},
		{[]string{"generate", "--prompt", "a", "--format", "bmp"}, cli.StatusUsage, "", `--format "bmp" is none of png, jpeg, webp`},
		{[]string{"generate", "--prompt", "a", "--mask", "m.png"}, cli.StatusUsage, "", "--mask needs --init-image"},
		{[]string{"generate", "--prompt", "a", "--output", "absent/cat.png"}, cli.StatusUsage, "", "the folder of --output absent/cat.png does not exist"},
		{[]string{"generate", "--prompt", "a", "--output", "-", "--batch-size", "2"}, cli.StatusUsage, "", "one picture only, not 2"},
		{[]string{"generate", "--prompt", "a", "--sampler", "Eular"}, cli.StatusUsage, "", "Sampler not found"},
		{[]string{"generate", "--prompt", "a", "--width", "0"}, cli.StatusError, "", "width is 0, want a multiple of 8 from 8 to 8192"},
		{[]string{"generate", "--prompt", "a", "--width", "999999"}, cli.StatusUsage, "", "width is 999999, want a multiple of 8 from 8 to 8192"},
		{[]string{"generate", "--prompt", "a", "--clip-skip", "13"}, cli.StatusError, "", "--clip-skip is 13, want 1 to 12"},
		{[]string{"generate", "--prompt", "a", "--device", "tpu"}, cli.StatusUsage, "", `--device "tpu" is none of auto, cpu, cuda0`},
		{[]string{"serve", "--addr", "here"}, cli.StatusUsage, "", `--addr "here" is not host:port`},
		{[]string{"serve", "--tls-certfile", "c.pem"}, cli.StatusUsage, "", "belong together"},
		{[]string{"serve", "--api-auth", "nobody"}, cli.StatusUsage, "", "must be user:password"},
		{[]string{"serve", "--cors-allow-origins-regex", "("}, cli.StatusUsage, "", "CORS_ALLOW_ORIGINS_REGEX"},
		{[]string{"serve", "--engine-stall-timeout", "-1s"}, cli.StatusUsage, "", "--engine-stall-timeout is -1s"},
		{[]string{"models", "synth"}, cli.StatusUsage, "", "one file must be named, 0 are"},
		{[]string{"models", "synth", "--size", "huge", "f"}, cli.StatusUsage, "", `--size "huge"`},
		{[]string{"models", "info"}, cli.StatusUsage, "", "no file is named"},
		{[]string{"bench", "--width", "100"}, cli.StatusUsage, "", "--width is 100"},
		{[]string{"generate", "--prompt", "a", "--init-image", "absent.png"}, cli.StatusError, "", "absent.png"},
		{[]string{"generate", "--prompt", "a", "--model", "unknown"}, cli.StatusError, "", `no checkpoint or file named "unknown"`},
		{[]string{"models", "info", "absent.safetensors"}, cli.StatusError, "", "there is no file absent.safetensors"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			got := worker(t, tc.args...)
			require.Equal(t, tc.status, got.status, "%+v", got)
			require.Contains(t, got.out, tc.out)
			require.Contains(t, got.err, tc.err)
			if tc.status == cli.StatusOK {
				require.Empty(t, got.err)
			} else {
				require.Empty(t, got.out, "results and errors do not mix")
			}
		})
	}
}

// In a process of its own, since the command takes over file descriptor 3.
func TestEngineNeedsASupervisor(t *testing.T) {
	home := newHome(t)
	cmd := exec.Command("/proc/self/exe", "engine")
	for name, value := range environ(home, openGate) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, cli.StatusError, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "started by serve and runpod")
}

// Every flag, verb and setting that help lists must have a description, and the
// hidden verb stays hidden.
func TestHelpIsComplete(t *testing.T) {
	var visit func(v *verb, path ...string)
	visit = func(v *verb, path ...string) {
		got := worker(t, append([]string{"help"}, path...)...)
		require.Equal(t, cli.StatusOK, got.status)
		require.NotEmpty(t, v.Short, path)
		for _, s := range v.Settings() {
			require.True(t, strings.HasSuffix(s.Title, ":"), "%v: title %q", path, s.Title)
			for _, f := range s.Fields() {
				require.NotEmpty(t, f.Doc, "%v --%s", path, f.Flag)
				require.Equal(t, !s.VariablesOnly, strings.Contains(got.out, "  --"+f.Flag+" ") || strings.Contains(got.out, "  --"+f.Flag+"\n"), f.Flag)
			}
		}
		for _, sub := range v.Verbs {
			visit(sub, append(path, sub.Name)...)
		}
	}
	visit(root)
	require.NotContains(t, worker(t, "help").out, "\n  engine ")
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		got := worker(t, args...)
		require.Equal(t, cli.StatusOK, got.status)
		require.Regexp(t, `(?m)^worker +\S.* \(go1\.\d+`, got.out)
		require.Regexp(t, `(?m)^engine +\S`, got.out)
		require.Empty(t, got.err)
	}
	var b build
	require.NoError(t, json.Unmarshal([]byte(worker(t, "version", "--json").out), &b))
	require.NotEmpty(t, b.Version)
	require.NotEmpty(t, b.Engine.Backend)
}
