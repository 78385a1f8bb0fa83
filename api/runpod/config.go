package runpod

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v10"
	"github.com/rs/zerolog"
)

// ProtocolVersion is the release of RunPod's Python SDK whose protocol this
// package speaks; heartbeats carry it as runpod_version.
const ProtocolVersion = "1.12.0"

// Config holds the platform's variables, the worker's own settings and the hooks
// of the program around it. The zero value of every setting means its default,
// except that a literal Config prefetches nothing.
type Config struct {
	// GetJob, PostOutput, PostStream and PingURL are the platform's URL
	// templates. GetJob set means that the program runs on RunPod.
	GetJob     string `env:"RUNPOD_WEBHOOK_GET_JOB" doc:"URL template of job-take; set by the platform, and its presence is what makes the worker take jobs from the queue"`
	PostOutput string `env:"RUNPOD_WEBHOOK_POST_OUTPUT" doc:"URL template of job-done; set by the platform"`
	PostStream string `env:"RUNPOD_WEBHOOK_POST_STREAM" doc:"URL template of job-stream; set by the platform"`
	PingURL    string `env:"RUNPOD_WEBHOOK_PING" doc:"URL template of the heartbeat; set by the platform"`

	PingInterval Milliseconds `env:"RUNPOD_PING_INTERVAL" envDefault:"10000" doc:"milliseconds between heartbeats; set by the platform"`
	APIKey       string       `env:"RUNPOD_AI_API_KEY,unset" secret:"true" doc:"the worker's credential; set by the platform"`
	PodID        string       `env:"RUNPOD_POD_ID" doc:"the worker's id; set by the platform"`
	EndpointID   string       `env:"RUNPOD_ENDPOINT_ID" doc:"the endpoint's id; set by the platform, and it switches the log to the JSON lines of RunPod's console"`
	Hostname     string       `env:"RUNPOD_POD_HOSTNAME" envDefault:"unknown" doc:"repeated in reports of a failed start; set by the platform"`

	LogLevel   string `env:"RUNPOD_LOG_LEVEL" doc:"NOTSET, TRACE, DEBUG, INFO, WARN, ERROR or their index 0 to 5; default INFO"`
	DebugLevel string `env:"RUNPOD_DEBUG_LEVEL" doc:"older name of RUNPOD_LOG_LEVEL, used when that is not set"`

	RealtimePort        int    `env:"RUNPOD_REALTIME_PORT" doc:"serve the HTTP API on this port of every interface instead of taking jobs from the queue"`
	RealtimeConcurrency int    `env:"RUNPOD_REALTIME_CONCURRENCY" envDefault:"1" doc:"jobs at the same time in that mode"`
	Integration         string `env:"RUNPOD_UA_INTEGRATION" doc:"name appended to the user agent"`

	StartTimeout Seconds `env:"RUNPOD_INIT_TIMEOUT" envDefault:"420" doc:"seconds that the start may take (model load and warm-up) before the worker gives up; the platform reads it too"`

	// Concurrency is the number of handlers at the same time. Prefetch is the
	// number of jobs taken beyond that while all slots are busy, so that the
	// next one is at hand when a slot becomes free; such a job cannot go to
	// another worker any more.
	Concurrency int `env:"RUNPOD_CONCURRENCY" envDefault:"1" doc:"jobs at the same time; without it BATCH_JOBS on a GPU, where jobs share steps, by default as many as its memory has room for"`
	Prefetch    int `env:"RUNPOD_PREFETCH" envDefault:"1" doc:"jobs taken in advance while all slots are busy; 0 leaves them to other workers"`

	RefreshWorker    bool          `env:"REFRESH_WORKER" doc:"replace the worker after every job"`
	ShutdownGrace    time.Duration `env:"RUNPOD_SHUTDOWN_GRACE" envDefault:"25s" doc:"time that jobs in hand have to finish after SIGTERM; what is left then is answered with an error"`
	ProgressInterval time.Duration `env:"RUNPOD_PROGRESS_INTERVAL" envDefault:"500ms" doc:"shortest time between two progress posts of a job; what comes in between is merged"`
	ResultRetry      time.Duration `env:"RUNPOD_RESULT_RETRY" envDefault:"15m" doc:"how long a result that is not accepted is posted again"`

	// Overlap starts the handler of a prefetched job at once. It is for handlers
	// that wait for their turn by themselves, as before an engine's queue: the
	// next job is decoded while the engine works on the one before.
	Overlap bool

	// Prepare, if not nil, makes the handler ready: loads, checks, warms up. No
	// job is taken before it returns, while heartbeats are sent. Its error is
	// reported to the platform and to the next job, and ends Start.
	Prepare func(ctx context.Context) error

	// Log receives what happens; the zero Logger discards it.
	Log zerolog.Logger

	// Transport, if not nil, carries all requests, heartbeats included.
	Transport http.RoundTripper
}

// Milliseconds is a time span given as a number of milliseconds.
type Milliseconds int

// Seconds is a time span given as a number of seconds.
type Seconds float64

// Heartbeat bounds. A value that makes no sense must not stop the heartbeat.
const (
	defaultPing = 10 * time.Second
	minPing     = 100 * time.Millisecond
)

// UnmarshalText reads a whole number or a fraction. Anything else is 0, which
// means the default: a platform variable in a new format must not end a worker.
func (m *Milliseconds) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		f = 0
	}
	*m = Milliseconds(f)
	return nil
}

// pingEvery is the heartbeat's interval, never zero.
func (c Config) pingEvery() time.Duration {
	d := time.Duration(c.PingInterval) * time.Millisecond
	if d <= 0 {
		return defaultPing
	}
	return max(d, minPing)
}

func (s Seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// LoadConfig reads Config from environment variables and reports every mistake
// at once. The credential is removed from the process environment, so that child
// processes do not inherit it.
func LoadConfig(environ map[string]string) (Config, error) {
	var c Config
	err := env.ParseWithOptions(&c, env.Options{Environment: environ})
	return c, errors.Join(err, errors.Join(c.Validate()...))
}

// Validate finds all settings that make no sense. It is for a Config that was read
// from the environment: there zero is a value and no wish for the default.
func (c Config) Validate() []error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"RUNPOD_CONCURRENCY", c.Concurrency},
		{"RUNPOD_REALTIME_CONCURRENCY", c.RealtimeConcurrency},
	} {
		if f.value < 1 {
			errs = append(errs, fmt.Errorf("%s is %d, it must be at least 1", f.name, f.value))
		}
	}
	if c.Prefetch < 0 {
		errs = append(errs, fmt.Errorf("RUNPOD_PREFETCH is %d, it must not be negative", c.Prefetch))
	}
	if c.RealtimePort < 0 || c.RealtimePort > 65535 {
		errs = append(errs, fmt.Errorf("RUNPOD_REALTIME_PORT is %d, a port is 1 to 65535", c.RealtimePort))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"RUNPOD_INIT_TIMEOUT", c.StartTimeout.duration()},
		{"RUNPOD_SHUTDOWN_GRACE", c.ShutdownGrace},
		{"RUNPOD_PROGRESS_INTERVAL", c.ProgressInterval},
		{"RUNPOD_RESULT_RETRY", c.ResultRetry},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s is %s, it must be longer than nothing", d.name, d.value))
		}
	}
	for _, t := range []struct{ name, value string }{
		{"RUNPOD_WEBHOOK_GET_JOB", c.GetJob},
		{"RUNPOD_WEBHOOK_POST_OUTPUT", c.PostOutput},
		{"RUNPOD_WEBHOOK_POST_STREAM", c.PostStream},
		{"RUNPOD_WEBHOOK_PING", c.PingURL},
	} {
		if t.value == "" {
			continue
		}
		if _, err := expand(t.value, "worker", "job"); err != nil {
			errs = append(errs, fmt.Errorf("%s is not a URL: %w", t.name, err))
		}
	}
	if c.GetJob != "" && c.PostOutput == "" {
		errs = append(errs, errors.New("RUNPOD_WEBHOOK_GET_JOB is set but RUNPOD_WEBHOOK_POST_OUTPUT is not: results would have nowhere to go"))
	}
	if _, err := c.level(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// withDefaults fills what a literal Config leaves at zero.
func (c Config) withDefaults() Config {
	c.Concurrency = cmp.Or(c.Concurrency, 1)
	c.RealtimeConcurrency = cmp.Or(c.RealtimeConcurrency, 1)
	if c.PodID == "" {
		c.PodID = rand.Text()
	}
	if c.Hostname == "" {
		c.Hostname = "unknown"
	}
	c.StartTimeout = cmp.Or(c.StartTimeout, 420) // the platform's own limit for a cold start: 7 minutes
	c.ShutdownGrace = cmp.Or(c.ShutdownGrace, 25*time.Second)
	c.ProgressInterval = cmp.Or(c.ProgressInterval, 500*time.Millisecond)
	c.ResultRetry = cmp.Or(c.ResultRetry, 15*time.Minute)
	return c
}
