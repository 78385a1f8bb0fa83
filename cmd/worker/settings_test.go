package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
)

// loaded parses a command line of worker serve.
func loaded(t *testing.T, environ map[string]string, args ...string) (*serveCommand, error) {
	t.Helper()
	c, err := parse(serveVerb, args)
	if err != nil {
		return nil, err
	}
	s := new(serveCommand)
	return s, c.load(environ, s.settings()...)
}

func TestFlagsComeBeforeVariablesBeforeDefaults(t *testing.T) {
	for _, tc := range []struct {
		name    string
		environ map[string]string
		args    []string
		threads int
		addr    string
		pickle  bool
		grace   time.Duration
	}{
		{"defaults", map[string]string{}, nil, 0, "127.0.0.1:7860", false, 25 * time.Second},
		{"variables", map[string]string{"THREADS": "3", "ADDR": ":1", "ALLOW_PICKLE": "true", "SHUTDOWN_GRACE": "1m"}, nil, 3, ":1", true, time.Minute},
		{"empty variables", map[string]string{"THREADS": "", "ADDR": "", "ALLOW_PICKLE": "", "SHUTDOWN_GRACE": ""}, nil, 0, "127.0.0.1:7860", false, 25 * time.Second},
		{"flags", map[string]string{}, []string{"--threads", "2", "--addr=:2", "--allow-pickle", "--shutdown-grace", "2s"}, 2, ":2", true, 2 * time.Second},
		{"one dash", map[string]string{}, []string{"-threads", "2", "-allow-pickle"}, 2, "127.0.0.1:7860", true, 25 * time.Second},
		{"both", map[string]string{"THREADS": "3", "ADDR": ":1", "ALLOW_PICKLE": "true"}, []string{"--threads=4", "--addr", ":4", "--allow-pickle=false"}, 4, ":4", false, 25 * time.Second},
		{"the last flag", map[string]string{}, []string{"--threads", "2", "--threads", "5"}, 5, "127.0.0.1:7860", false, 25 * time.Second},
		{"a flag mends a variable", map[string]string{"THREADS": "many"}, []string{"--threads", "2"}, 2, "127.0.0.1:7860", false, 25 * time.Second},
		{"a variable of another command", map[string]string{"PROMPT": "x", "OUTPUT": "y"}, nil, 0, "127.0.0.1:7860", false, 25 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := loaded(t, tc.environ, tc.args...)
			require.NoError(t, err)
			require.Equal(t, tc.threads, s.common.engine.Threads)
			require.Equal(t, tc.addr, s.serving.Addr)
			require.Equal(t, tc.pickle, s.common.models.AllowPickle)
			require.Equal(t, tc.grace, s.serving.ShutdownGrace)
		})
	}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	_, err := loaded(t, map[string]string{"THREADS": "-2", "LOG_LEVEL": "loud", "QUEUE_DEPTH": "x", "WARM_MODELS": "0"},
		"--addr", "here", "--vae-tiles", "some", "--max-body", "0", "--request-timeout", "long")
	var usage *usageError
	require.ErrorAs(t, err, &usage)
	for _, want := range []string{
		"THREADS is -2", `LOG_LEVEL "loud" is none of`, "QUEUE_DEPTH", "WARM_MODELS is 0",
		`--addr "here" is not host:port`, `--vae-tiles "some" is none of auto, always, never`, `--request-timeout "long"`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.Len(t, usage.errs, 7, "%v", err) // --max-body is not looked at: its group could not be parsed
}

func TestArgumentsAndFlagsMix(t *testing.T) {
	c, err := parse(modelsConvertVerb, []string{"from", "--quiet", "to", "--", "--prune"})
	require.NoError(t, err)
	require.Equal(t, []string{"from", "to", "--prune"}, c.args)
	require.Equal(t, map[string]string{"QUIET": "true"}, c.given)

	_, err = parse(generateVerb, []string{"--unknown", "x", "--other=1"})
	require.EqualError(t, err, "unknown flag --unknown\nunknown flag --other")
}

func TestEngineProcessGetsSettingsAndNoSecrets(t *testing.T) {
	environ := map[string]string{
		"HOME": "/h", "THREADS": "1", "LOG_FORMAT": "console", "RUNPOD_AI_API_KEY": "k", "API_AUTH": "u:p", "HF_TOKEN": "t",
		"HUGGING_FACE_HUB_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "GOOGLE_API_KEY": "k", "NVIDIA_API_KEY": "k", "PASSWORD": "p",
		"MODELS_DIR": "/m", "CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "/l", "GOMEMLIMIT": "1GiB",
	}
	s, err := loaded(t, environ, "--threads", "7", "--vae-tiles", "always", "--allow-pickle")
	require.NoError(t, err)
	got := engineCommand(environ, &s.common).Env
	require.Subset(t, got, []string{
		"HOME=/h", "THREADS=7", "DEVICE=auto", "WARM_MODELS=1", "VAE_TILES=always", "ALLOW_PICKLE=true", "LOG_LEVEL=info", "LOG_FORMAT=json",
		"MODELS_DIR=/m", "CUDA_VISIBLE_DEVICES=1", "LD_LIBRARY_PATH=/l", "GOMEMLIMIT=1GiB",
	})
	require.NotContains(t, got, "THREADS=1")
	for _, secret := range []string{"RUNPOD_AI_API_KEY", "API_AUTH", "HF_TOKEN", "HUGGING_FACE", "AWS", "API_KEY", "PASSWORD"} {
		require.NotContains(t, strings.Join(got, "\n"), secret)
	}
	require.Equal(t, inference.TileAlways, tileModes[s.common.engine.VAETiles])
}
