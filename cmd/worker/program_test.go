package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

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
		{nil, statusUsage, "", "Usage: worker COMMAND"},
		{[]string{"--help"}, statusOK, "Usage: worker COMMAND", ""},
		{[]string{"help"}, statusOK, "generate ", ""},
		{[]string{"help", "generate"}, statusOK, "--negative-prompt TEXT", ""},
		{[]string{"help", "models", "synth"}, statusOK, "Usage: worker models synth [flags] FILE", ""},
		{[]string{"help", "nothing"}, statusUsage, "", `unknown command "nothing"`},
		{[]string{"generate", "--help"}, statusOK, "[MODELS_DIR]", ""},
		{[]string{"generate", "-h"}, statusOK, "Usage: worker generate [flags]", ""},
		{[]string{"runpod", "--help"}, statusOK, "--test_input", ""},
		{[]string{"models"}, statusUsage, "", "Usage: worker models COMMAND"},
		{[]string{"models", "--help"}, statusOK, "Usage: worker models COMMAND", ""},
		{[]string{"bench", "--help"}, statusOK, "Usage: worker bench [flags]", ""},
		{[]string{"bench", "http", "--help"}, statusOK, "Usage: worker bench http [flags]", ""},
		{[]string{"nothing"}, statusUsage, "", "Try: worker help\n"},
		{[]string{"serv"}, statusUsage, "", `did you mean "serve"?`},
		{[]string{"models", "list"}, statusUsage, "", `unknown command "list"`},
		{[]string{"generate"}, statusUsage, "", "--prompt is missing\nTry: worker generate --help\n"},
		{[]string{"generate", "--promt", "x"}, statusUsage, "", `unknown flag --promt, did you mean "--prompt"?`},
		{[]string{"generate", "--prompt"}, statusUsage, "", "flag --prompt needs a value"},
		{[]string{"generate", "--prompt", "a", "cat"}, statusUsage, "", `unexpected argument "cat"`},
		{[]string{"generate", "--prompt", "a", "--steps", "many"}, statusUsage, "", `--steps "many"`},
		{[]string{"generate", "--prompt", "a", "--seed", "1.5"}, statusUsage, "", `--seed "1.5"`},
		{[]string{"generate", "--prompt", "a", "--quiet=perhaps"}, statusUsage, "", `--quiet "perhaps"`},
		{[]string{"generate", "--prompt", "a", "--format", "bmp"}, statusUsage, "", `--format "bmp" is none of png, jpeg, webp`},
		{[]string{"generate", "--prompt", "a", "--mask", "m.png"}, statusUsage, "", "--mask needs --init-image"},
		{[]string{"generate", "--prompt", "a", "--output", "absent/cat.png"}, statusUsage, "", "the folder of --output absent/cat.png does not exist"},
		{[]string{"generate", "--prompt", "a", "--output", "-", "--batch-size", "2"}, statusUsage, "", "one picture only, not 2"},
		{[]string{"generate", "--prompt", "a", "--sampler", "Eular"}, statusUsage, "", "Sampler not found"},
		{[]string{"generate", "--prompt", "a", "--width", "0"}, statusError, "", "width and height must be 8 or more"},
		{[]string{"generate", "--prompt", "a", "--clip-skip", "13"}, statusError, "", "--clip-skip must be 1 to 12"},
		{[]string{"generate", "--prompt", "a", "--device", "tpu"}, statusUsage, "", `--device "tpu" is none of auto, cpu, cuda0`},
		{[]string{"serve", "--addr", "here"}, statusUsage, "", `--addr "here" is not host:port`},
		{[]string{"serve", "--tls-certfile", "c.pem"}, statusUsage, "", "belong together"},
		{[]string{"serve", "--api-auth", "nobody"}, statusUsage, "", "must be user:password"},
		{[]string{"serve", "--cors-allow-origins-regex", "("}, statusUsage, "", "CORS_ALLOW_ORIGINS_REGEX"},
		{[]string{"serve", "--engine-stall-timeout", "-1s"}, statusUsage, "", "--engine-stall-timeout is -1s"},
		{[]string{"models", "synth"}, statusUsage, "", "one file must be named, 0 are"},
		{[]string{"models", "synth", "--size", "huge", "f"}, statusUsage, "", `--size "huge"`},
		{[]string{"models", "info"}, statusUsage, "", "no file is named"},
		{[]string{"bench", "--width", "100"}, statusUsage, "", "--width is 100"},
		{[]string{"generate", "--prompt", "a", "--init-image", "absent.png"}, statusError, "", "absent.png"},
		{[]string{"generate", "--prompt", "a", "--model", "unknown"}, statusError, "", `no checkpoint or file named "unknown"`},
		{[]string{"models", "info", "absent.safetensors"}, statusError, "", "there is no file absent.safetensors"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			got := worker(t, tc.args...)
			require.Equal(t, tc.status, got.status, "%+v", got)
			require.Contains(t, got.out, tc.out)
			require.Contains(t, got.err, tc.err)
			if tc.status == statusOK {
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
	require.Equal(t, statusError, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "started by serve and runpod")
}

// Every flag, verb and setting that help lists must have a description, and the
// hidden verb stays hidden.
func TestHelpIsComplete(t *testing.T) {
	var visit func(v *verb, path ...string)
	visit = func(v *verb, path ...string) {
		got := worker(t, append([]string{"help"}, path...)...)
		require.Equal(t, statusOK, got.status)
		require.NotEmpty(t, v.short, path)
		for _, s := range v.allSettings() {
			require.True(t, strings.HasSuffix(s.title, ":"), "%v: title %q", path, s.title)
			for _, f := range s.fields() {
				require.NotEmpty(t, f.doc, "%v --%s", path, f.flag)
				require.Contains(t, got.out, "  --"+f.flag)
			}
		}
		for _, sub := range v.verbs {
			visit(sub, append(path, sub.name)...)
		}
	}
	visit(root)
	require.NotContains(t, worker(t, "help").out, "\n  engine ")
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		got := worker(t, args...)
		require.Equal(t, statusOK, got.status)
		require.Regexp(t, `(?m)^worker +\S.* \(go1\.\d+`, got.out)
		require.Regexp(t, `(?m)^engine +\S`, got.out)
		require.Empty(t, got.err)
	}
	var b build
	require.NoError(t, json.Unmarshal([]byte(worker(t, "version", "--json").out), &b))
	require.NotEmpty(t, b.Version)
	require.NotEmpty(t, b.Engine.Backend)
}

func TestDidYouMean(t *testing.T) {
	names := []string{"serve", "generate", "--prompt"}
	for got, want := range map[string]string{"serv": `, did you mean "serve"?`, "genrat": `, did you mean "generate"?`, "dance": "", "": ""} {
		require.Equal(t, want, didYouMean(got, names), got)
	}
}
