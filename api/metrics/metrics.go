// Package metrics counts what the worker does and shows it to Prometheus.
//
// Names begin with sdworker_ and follow Prometheus's conventions: seconds and
// bytes, _total for counters. No label holds what a client sent, so that their
// number stays small.
package metrics

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/internal/gpustat"
)

const namespace = "sdworker"

// Metrics are the metrics of one process. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	jobs     *prometheus.CounterVec   // by kind and outcome
	duration *prometheus.HistogramVec // by kind
	wait     prometheus.Histogram
	company  prometheus.Histogram
	phases   *prometheus.HistogramVec // by phase
	images   prometheus.Counter
	steps    prometheus.Counter
	step     prometheus.Histogram
	starts   prometheus.Counter
	losses   *prometheus.CounterVec   // by reason
	requests *prometheus.HistogramVec // by route and code
}

// jobSeconds are buckets from a tiny picture on a GPU to a large batch on a CPU.
var jobSeconds = []float64{0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800}

// stepSeconds are buckets from a small picture on a GPU to a large batch on a CPU.
var stepSeconds = []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60}

// New returns metrics that are all zero, those of the Go runtime and the process
// among them.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "jobs_total",
			Help: "Calls of the engine that ended, by kind (txt2img, img2img, upscale, load, unload) and outcome (ok, interrupted or the code of the error).",
		}, []string{"kind", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "job_duration_seconds", Buckets: jobSeconds,
			Help: "Time that the engine took for a job, without the wait for its turn.",
		}, []string{"kind"}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "queue_wait_seconds", Buckets: append([]float64{0.01, 0.1}, jobSeconds...),
			Help: "Time from a job's entry into the queue until the work on it began.",
		}),
		company: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "job_rows_per_call", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128},
			Help: "Rows of the UNet calls that a finished job took part in, those of other jobs included: the mean over its calls.",
		}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "phase_duration_seconds", Buckets: append([]float64{0.01, 0.1}, jobSeconds...),
			Help: "Time of finished picture jobs by phase (load, encode, sample, decode, upscale); company is the part of the others for which calls waited for those of other jobs.",
		}, []string{"phase"}),
		images: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "images_total", Help: "Pictures made.",
		}),
		steps: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "sampling_steps_total", Help: "Sampling steps done, a step of a batch counting once.",
		}),
		step: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "sampling_step_duration_seconds", Buckets: stepSeconds,
			Help: "Time of a sampling step, of a whole batch; its inverse is what A1111 shows as it/s.",
		}),
		starts: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "engine_starts_total", Help: "Starts of engine processes.",
		}),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "engine_losses_total",
			Help: "Engine processes that were lost and replaced, by reason: start, memory, abort, signal, exit, silent, stalled, cancel or protocol.",
		}, []string{"reason"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_request_duration_seconds", Buckets: append([]float64{0.001, 0.005, 0.025, 0.1}, jobSeconds...),
			Help: "Time of HTTP requests by route and status.",
		}, []string{"route", "code"}),
	}
	m.registry.MustRegister(m.jobs, m.duration, m.wait, m.company, m.phases, m.images, m.steps, m.step, m.starts, m.losses, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Watch adds the state of a queue and of the generator behind it. It may be
// called once.
func (m *Metrics) Watch(q *inference.Queue) {
	m.registry.MustRegister(newState(q))
	q.Watch(func(e inference.Event) {
		if e.Kind == inference.Started {
			m.wait.Observe(e.Job.Started.Sub(e.Job.Admitted).Seconds())
		}
	})
}

// Build tells what is running: the program's version and the engine's backend. It may
// be called once.
func (m *Metrics) Build(version, backend string) {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "backend": backend},
	})
	info.Set(1)
	m.registry.MustRegister(info)
}

// Machine adds the memory that the process may use, in bytes, and the GPUs that read
// lists each time. It may be called once.
func (m *Metrics) Machine(memoryLimit int64, read func() []gpustat.Card) {
	limit := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "host_memory_limit_bytes", Help: "Memory that all processes of the container may use together, or of the machine.",
	})
	limit.Set(float64(memoryLimit))
	m.registry.MustRegister(limit, newGPUs(read))
}

// EngineReasons names why an engine process may be lost, so that each is counted from
// zero.
func (m *Metrics) EngineReasons(reasons ...string) {
	for _, r := range reasons {
		m.losses.WithLabelValues(r)
	}
}

// EngineLost counts an engine process that was lost, with the reason in a word.
func (m *Metrics) EngineLost(reason string) { m.losses.WithLabelValues(reason).Inc() }

// EngineStarted counts a start of the engine process.
func (m *Metrics) EngineStarted() { m.starts.Inc() }

// Requests counts the requests that h answers by their Pattern, so that it belongs
// behind the multiplexer. What has no route of its own has the pattern "/".
func (m *Metrics) Requests(h http.Handler) http.Handler {
	var byPattern sync.Map // of http.Handler; the multiplexer bounds their number
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted, known := byPattern.Load(r.Pattern)
		if !known {
			counted, _ = byPattern.LoadOrStore(r.Pattern,
				promhttp.InstrumentHandlerDuration(m.requests.MustCurryWith(prometheus.Labels{"route": r.Pattern}), h))
		}
		counted.(http.Handler).ServeHTTP(w, r)
	})
}

// Observe counts what gen does.
func (m *Metrics) Observe(gen inference.Generator) inference.Generator { return &instrumented{gen, m} }

// instrumented is a generator whose calls are counted.
type instrumented struct {
	inference.Generator
	m *Metrics
}

func (o *instrumented) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	hooks = o.m.countSteps(hooks)
	var res *inference.Result
	err := o.m.timed(req.Kind(), func() (err error) {
		res, err = o.Generator.Generate(ctx, req, hooks)
		return err
	}, func() bool { return res.Interrupted })
	if err != nil {
		return res, err
	}
	o.m.images.Add(float64(len(res.Images)))
	for phase, seconds := range map[string]float64{
		"load": res.Timings.Load, "encode": res.Timings.Encode, "sample": res.Timings.Sample,
		"decode": res.Timings.Decode, "upscale": res.Timings.Upscale, "company": res.Company.Wait,
	} {
		if seconds > 0 { // a job passes few of them
			o.m.phases.WithLabelValues(phase).Observe(seconds)
		}
	}
	if calls := res.Company.Calls; calls > 0 {
		o.m.company.Observe(float64(res.Company.Rows) / float64(calls))
	}
	return res, nil
}

func (o *instrumented) Upscale(ctx context.Context, req *inference.UpscaleRequest, hooks inference.Hooks) (imageio.RGB, error) {
	var out imageio.RGB
	err := o.m.timed("upscale", func() (err error) {
		out, err = o.Generator.Upscale(ctx, req, hooks)
		return err
	}, never)
	return out, err
}

func (o *instrumented) Load(ctx context.Context, files inference.Files, hooks inference.Hooks) error {
	return o.m.timed("load", func() error { return o.Generator.Load(ctx, files, hooks) }, never)
}

func (o *instrumented) Unload(ctx context.Context) error {
	return o.m.timed("unload", func() error { return o.Generator.Unload(ctx) }, never)
}

func never() bool { return false }

// timed counts a job by its outcome and duration. interrupted is asked when do
// succeeded.
func (m *Metrics) timed(kind string, do func() error, interrupted func() bool) error {
	timer := prometheus.NewTimer(m.duration.WithLabelValues(kind))
	err := do()
	timer.ObserveDuration()
	outcome := "ok"
	switch {
	case err != nil:
		outcome = string(fault.CodeOf(err))
	case interrupted():
		outcome = "interrupted"
	}
	m.jobs.WithLabelValues(kind, outcome).Inc()
	return err
}

// countSteps counts the steps that a job reports, and the time since the report before.
func (m *Metrics) countSteps(hooks inference.Hooks) inference.Hooks {
	report := hooks.Progress
	pass, step, last := 0, 0, time.Now()
	hooks.Progress = func(p inference.Progress) { // on the job's goroutine
		if p.Job != pass || p.Step < step || p.Phase != inference.PhaseSampling {
			pass, step, last = p.Job, 0, time.Now()
		}
		if n := p.Step - step; p.Phase == inference.PhaseSampling && n > 0 {
			now := time.Now()
			for range n { // of several in one report each took its part
				m.step.Observe(now.Sub(last).Seconds() / float64(n))
			}
			m.steps.Add(float64(n))
			step, last = p.Step, now
		}
		if report != nil {
			report(p)
		}
	}
	return hooks
}
