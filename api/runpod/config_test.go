package runpod_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
)

func TestLoadConfig(t *testing.T) {
	cfg, err := runpod.LoadConfig(nil)
	require.NoError(t, err)
	require.Equal(t, 1, cfg.Concurrency)
	require.Equal(t, 1, cfg.Prefetch)
	require.EqualValues(t, 10_000, cfg.PingInterval)
	require.EqualValues(t, 420, cfg.StartTimeout)
	require.Equal(t, 25*time.Second, cfg.ShutdownGrace)

	_, err = runpod.LoadConfig(map[string]string{
		"RUNPOD_WEBHOOK_GET_JOB": "http://x/%zz", "RUNPOD_CONCURRENCY": "-1", "RUNPOD_LOG_LEVEL": "LOUD", "RUNPOD_REALTIME_PORT": "http",
	})
	for _, want := range []string{"RUNPOD_WEBHOOK_GET_JOB is not a URL", "RUNPOD_WEBHOOK_POST_OUTPUT", "RUNPOD_CONCURRENCY is -1", `RUNPOD_LOG_LEVEL is "LOUD"`, "RealtimePort"} {
		require.ErrorContains(t, err, want, "all mistakes at once")
	}
}

func TestCredentialIsNotInherited(t *testing.T) {
	t.Setenv("RUNPOD_AI_API_KEY", "secret")
	cfg, err := runpod.LoadConfig(map[string]string{"RUNPOD_AI_API_KEY": "secret"})
	require.NoError(t, err)
	require.Equal(t, "secret", cfg.APIKey)
	require.Empty(t, os.Getenv("RUNPOD_AI_API_KEY"))
}

func TestStartNeedsAQueue(t *testing.T) {
	require.ErrorContains(t, runpod.Start(t.Context(), echo, runpod.Config{}), "--test_input")
	require.ErrorContains(t, runpod.Start(t.Context(), echo, runpod.Config{GetJob: "http://x/"}), "RUNPOD_WEBHOOK_POST_OUTPUT")
}

func TestUserAgent(t *testing.T) {
	var agent atomic.Value
	inBubble(t, setup{config: func(c *runpod.Config) {
		c.Integration = "tests"
		c.Transport = spy{c.Transport, &agent}
	}}, echo, func(r *rig) { r.wait(r.Submit(1)) })
	require.Regexp(t, `^sdworker-runpod/1 \(linux; \w+\) Language/Go [0-9.]+ Integration/tests$`, agent.Load())
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := runpod.NewLogger(&out, runpod.Config{EndpointID: "ep"})
	log.Info().Str(runpod.JobField, "j-1").Str("phase", "load").Int("a", 1).Msg("füchse <b>")
	log.Debug().Msg("hidden")
	log.Warn().Msg(strings.Repeat("é", 5000))
	lines := strings.Split(out.String(), "\n")
	require.JSONEq(t, `{"requestId":"j-1","message":"füchse <b> a=1 phase=load","level":"INFO"}`, lines[0])
	require.True(t, strings.HasPrefix(lines[1], `{"requestId":null,"message":"éé`))
	require.Contains(t, lines[1], `\n...TRUNCATED 904 CHARACTERS...\n`)
	require.Contains(t, lines[1], `"level":"WARN"`)
	require.Len(t, lines, 3)

	out.Reset()
	log = runpod.NewLogger(&out, runpod.Config{DebugLevel: "debug"})
	log.Debug().Str(runpod.JobField, "j-1").Msg("text")
	log.Error().Err(os.ErrNotExist).Msg("bad")
	require.Equal(t, "DEBUG   | j-1 | text\nERROR   | bad error=file does not exist\n", out.String())

	for level, want := range map[string]zerolog.Level{"": zerolog.InfoLevel, "error": zerolog.ErrorLevel, "2": zerolog.DebugLevel, "NOTSET": zerolog.TraceLevel, "5": zerolog.ErrorLevel} {
		require.Equal(t, want, runpod.NewLogger(&out, runpod.Config{LogLevel: level}).GetLevel(), level)
	}
}

func TestFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want runpod.Flags
	}{
		{nil, runpod.Flags{APIPort: 8000, APIHost: "localhost", Concurrency: 1}},
		{
			[]string{"--rp_serve_api", "--rp_api_port", "9000", "--rp_api_host=0.0.0.0", "--rp_api_concurrency", "4", "--rp_log_level", "DEBUG", "--rp_debugger", "--test_input", `{"input":"a=b"}`},
			runpod.Flags{ServeAPI: true, APIPort: 9000, APIHost: "0.0.0.0", Concurrency: 4, LogLevel: "DEBUG", Debugger: true, TestInput: `{"input":"a=b"}`},
		},
	} {
		var got runpod.Flags
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		got.Register(fs)
		require.NoError(t, fs.Parse(tc.args))
		require.Equal(t, tc.want, got)
	}
	require.Equal(t, "TRACE", runpod.Flags{LogLevel: "INFO", Debugger: true}.Apply(runpod.Config{}).LogLevel)
	require.Equal(t, "WARN", runpod.Flags{LogLevel: "WARN"}.Apply(runpod.Config{LogLevel: "INFO"}).LogLevel)
}
