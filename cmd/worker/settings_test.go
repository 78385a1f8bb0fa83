package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v10"
	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/internal/cli"
)

// loaded parses a command line of worker serve.
func loaded(t *testing.T, environ map[string]string, args ...string) (*serveCommand, error) {
	t.Helper()
	s := new(serveCommand)
	_, err := cli.Load(serveVerb, s, environ, args)
	return s, err
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
	var usage *cli.UsageError
	require.ErrorAs(t, err, &usage)
	for _, want := range []string{
		"THREADS is -2", `LOG_LEVEL "loud" is none of`, "QUEUE_DEPTH", "WARM_MODELS is 0",
		`--addr "here" is not host:port`, `--vae-tiles "some" is none of auto, always, never`, `--request-timeout "long"`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.Len(t, usage.Errs, 7, "%v", err) // --max-body is not looked at: its group could not be parsed
}

func TestArgumentsAndFlagsMix(t *testing.T) {
	c, err := cli.Load(modelsConvertVerb, new(convertCommand), nil, []string{"from", "--quiet", "to", "--", "--prune"})
	require.NoError(t, err)
	require.Equal(t, []string{"from", "to", "--prune"}, c.Args)
	require.Equal(t, map[string]string{"QUIET": "true"}, c.Given)

	_, err = cli.Load(generateVerb, newGenerateCommand(), nil, []string{"--unknown", "x", "--other=1"})
	require.EqualError(t, err, "unknown flag --unknown\nunknown flag --other")
}

func TestEngineProcessGetsSettings(t *testing.T) {
	environ := map[string]string{
		"HOME": "/h", "THREADS": "1", "LOG_FORMAT": "console", "MODELS_DIR": "/m", "MODEL": "https://models.example/m?token=secret", "CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "/l", "GOMEMLIMIT": "1GiB",
	}
	s, err := loaded(t, environ, "--threads", "7", "--vae-tiles", "always", "--allow-pickle", "--warm-models-bytes", "5")
	require.NoError(t, err)
	got := engineProcess(environ, &s.common).Env
	require.Subset(t, got, []string{
		"HOME=/h", "THREADS=7", "DEVICE=auto", "WARM_MODELS=1", "WARM_MODELS_BYTES=5", "VAE_TILES=always", "ALLOW_PICKLE=true", "LOG_LEVEL=info", "LOG_FORMAT=json",
		"MODELS_DIR=/m", "CUDA_VISIBLE_DEVICES=1", "LD_LIBRARY_PATH=/l", "GOMEMLIMIT=1GiB",
	})
	require.NotContains(t, got, "THREADS=1")
	require.NotContains(t, strings.Join(got, "\n"), "secret")
	require.Equal(t, inference.TileAlways, tileModes[s.common.engine.VAETiles])

	var child engineCommand // reads what it is sent
	_, err = cli.Load(engineVerb, &child, env.ToMap(got), nil)
	require.NoError(t, err)
	s.common.log.Format, s.common.engine.Model = "json", ""
	require.Equal(t, s.common, child.common)
}

// secrets gives every secret that the program knows, and some of others, a value that
// is found again.
func secrets() map[string]string {
	out := map[string]string{}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "GOOGLE_API_KEY", "NVIDIA_API_KEY", "PASSWORD", "CUDA", "GITHUB_TOKEN"} {
		out[name] = "secret-" + name
	}
	for _, s := range everySetting() {
		for _, f := range s.Fields() {
			if f.Secret {
				out[f.Variable] = "secret-" + f.Variable
			}
		}
	}
	out["API_AUTH"] = "user:secret-API_AUTH"
	out["WEBHOOK_SECRET"] = "whsec_secretsecretsecretsecretsecretsecret" // of the form that is asked for
	return out
}

// The engine process parses files that anybody may have made. This looks at the
// environment of a real one.
func TestEngineProcessGetsNoSecrets(t *testing.T) {
	all := secrets()
	for _, name := range []string{"API_AUTH", "API_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "CIVITAI_TOKEN", "BUCKET_SECRET_ACCESS_KEY", "BUCKET_ACCESS_KEY_ID", "RUNPOD_AI_API_KEY"} {
		require.Contains(t, all, name)
	}
	home := newHome(t)
	g := newGate(t, opOpen)
	variables := environ(home, g.environ())
	maps.Copy(variables, all)
	begin(t, variables, "serve", "--addr", "127.0.0.1:0")
	call := g.next()
	defer call.release()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", call.pid))
	require.NoError(t, err)
	require.NotEqual(t, os.Getpid(), call.pid)
	require.Contains(t, string(text), "HOME="+home)
	require.NotContains(t, string(text), "secret-")
	require.NotContains(t, string(text), "secretsecret")
	for name := range all {
		require.NotContains(t, "\x00"+string(text), "\x00"+name+"=")
	}
}

// What keeps a command from working is told before anything is opened, fetched or
// loaded.
func TestSettingsAreCheckedFirst(t *testing.T) {
	newHome(t)
	require.NoError(t, os.WriteFile("config.json", []byte("["), 0o600))
	for _, tc := range []struct {
		name    string
		environ map[string]string
		args    []string
		want    []string
	}{
		{
			"serve",
			map[string]string{"OPTIONS_FILE": "config.json", "TLS_CERTFILE": "absent.pem", "TLS_KEYFILE": "absent.pem", "SHUTDOWN_GRACE": "-1s", "REQUEST_TIMEOUT": "-1s"},
			[]string{"serve"},
			[]string{"OPTIONS_FILE cannot be used", "TLS_CERTFILE", "SHUTDOWN_GRACE is -1s", "REQUEST_TIMEOUT is -1s"},
		},
		{"generate", nil, []string{"generate", "--prompt", "x", "--options-file", "config.json"}, []string{"--options-file cannot be used"}},
		{
			"runpod",
			map[string]string{"RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:1/take", "RUNPOD_CONCURRENCY": "0", "RUNPOD_SHUTDOWN_GRACE": "0s", "RUNPOD_INIT_TIMEOUT": "-3", "RUNPOD_REALTIME_PORT": "70000"},
			[]string{"runpod"},
			[]string{"RUNPOD_WEBHOOK_POST_OUTPUT is not", "RUNPOD_CONCURRENCY is 0", "RUNPOD_SHUTDOWN_GRACE is 0s", "RUNPOD_INIT_TIMEOUT is -3s", "RUNPOD_REALTIME_PORT is 70000"},
		},
		{
			"bridge",
			map[string]string{"BUCKET_ENDPOINT_URL": "https://s3.example", "BUCKET_UPLOAD": "never", "RUNPOD_RECODE": "gif", "RUNPOD_RECODE_QUALITY": "0", "RUNPOD_MAX_DOWNLOAD_BYTES": "-1"},
			[]string{"runpod", "--test_input", `{"input": {}}`},
			[]string{"BUCKET_ACCESS_KEY_ID", "BUCKET_UPLOAD is", "RUNPOD_RECODE is", "RUNPOD_RECODE_QUALITY is 0", "RUNPOD_MAX_DOWNLOAD_BYTES is -1"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := workerWith(t, func(p *program) {
				maps.Copy(p.Environ, tc.environ)
				p.Environ["MODEL"] = "https://127.0.0.1:1/model.safetensors" // would be fetched
				p.open = func(context.Context, string, func(int, int)) (inference.Engine, error) {
					t.Error("the engine was opened")
					return nil, errors.New("no")
				}
			}, tc.args...)
			require.Equal(t, cli.StatusUsage, got.status, got.err)
			for _, want := range tc.want {
				require.Contains(t, got.err, want)
			}
			require.NotContains(t, got.err, "listening")
			require.NotContains(t, got.err, "fetch")
		})
	}
}
