package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/api/metrics"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/remote"
	"sdworker/internal/gpustat"
)

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, 200, w.Code)
	return w.Body.String()
}

func request() *inference.Request {
	return &inference.Request{
		Prompt: "a fox", Sampler: "Euler", Steps: 3, CFGScale: 7, Width: 64, Height: 64, BatchSize: 2, BatchNum: 1,
		Files: inference.Files{Checkpoint: "/models/a.safetensors"}, Settings: inference.DefaultSettings(),
	}
}

// lines are those of a scrape that a test expects.
func requireLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		require.Contains(t, "\n"+text, "\n"+want+"\n")
	}
}

func TestJobs(t *testing.T) {
	m := metrics.New()
	fake := &sdapitest.Generator{Wait: func(context.Context, inference.Hooks, int) error { return nil }}
	gen := m.Observe(fake)
	queue := inference.NewQueue(gen, inference.QueueOptions{})
	m.Watch(queue)
	run := func(req *inference.Request) error {
		_, err := queue.Generate(t.Context(), inference.Job{ID: "a"}, req)
		return err
	}
	requireLines(t, scrape(t, m), "sdworker_model_loaded 0", "sdworker_images_total 0", "sdworker_sampling_steps_total 0")
	require.NoError(t, run(request()))
	img2img := request()
	img2img.DenoisingStrength = 0.5
	img2img.Init = &inference.Init{Images: []imageio.RGB{imageio.NewRGB(64, 64)}, NoiseMultiplier: 1}
	require.NoError(t, run(img2img))
	requireLines(t, scrape(t, m),
		`sdworker_jobs_total{kind="txt2img",outcome="ok"} 1`,
		`sdworker_jobs_total{kind="img2img",outcome="ok"} 1`,
		`sdworker_job_duration_seconds_count{kind="txt2img"} 1`,
		`sdworker_phase_duration_seconds_sum{phase="sample"} 0.5`,
		"sdworker_images_total 4",
		"sdworker_sampling_steps_total 4", // the stand-in tells of steps 0, 1 and 2
		"sdworker_sampling_step_duration_seconds_count 4",
		`sdworker_queue_jobs{state="waiting"} 0`,
		"sdworker_queue_wait_seconds_count 2",
		"sdworker_job_rows_per_call_count 0", // the stand-in has no calls
		"sdworker_engine_ready 1",
		"sdworker_model_loaded 1",
	)

	fake.Wait = func(_ context.Context, hooks inference.Hooks, _ int) error {
		text := scrape(t, m)
		requireLines(t, text, `sdworker_queue_jobs{state="running"} 1`)
		hooks.Control.Interrupt()
		return nil
	}
	require.NoError(t, run(request()))
	fake.Fail = &fault.Error{Code: fault.Exhausted, Msg: "out of memory"}
	require.Error(t, run(request()))
	fake.Fail = errors.New("unknown")
	require.Error(t, gen.Load(t.Context(), inference.Files{}, inference.Hooks{}))
	fake.Fail = nil
	require.NoError(t, gen.Unload(t.Context()))
	_, err := gen.Upscale(t.Context(), &inference.UpscaleRequest{Image: imageio.NewRGB(8, 8), Scale: 2}, inference.Hooks{})
	require.NoError(t, err)
	requireLines(t, scrape(t, m),
		`sdworker_jobs_total{kind="txt2img",outcome="interrupted"} 1`,
		`sdworker_jobs_total{kind="txt2img",outcome="exhausted"} 1`,
		`sdworker_jobs_total{kind="load",outcome="internal"} 1`,
		`sdworker_jobs_total{kind="unload",outcome="ok"} 1`,
		`sdworker_jobs_total{kind="upscale",outcome="ok"} 1`,
		"sdworker_model_loaded 0",
	)
}

// statusOnly is a generator that has nothing but a status.
type statusOnly struct {
	inference.Generator
	status inference.Status
}

func (g statusOnly) Status() inference.Status { return g.status }

func TestMemory(t *testing.T) {
	m := metrics.New()
	m.Watch(inference.NewQueue(statusOnly{status: inference.Status{
		Memory: inference.Memory{DeviceFree: 5, DeviceTotal: 10, HostUsed: 12}, Engine: inference.EngineInfo{WeightBytes: 7}, UNetCalls: 3, UNetRows: 14,
		ModelLoads: 2, Caches: []inference.CacheCount{{Name: "prompt", Hits: 5, Misses: 6}},
		Devices: []inference.DeviceStatus{{Name: "cuda0", Ready: true, Jobs: 2}, {Name: "cuda1"}},
	}}, inference.QueueOptions{Depth: 64}))
	requireLines(t, scrape(t, m), "sdworker_device_memory_free_bytes 5", "sdworker_device_memory_total_bytes 10", "sdworker_model_weight_bytes 7", "sdworker_engine_ready 0", "sdworker_unet_calls_total 3", "sdworker_unet_rows_total 14",
		"sdworker_engine_resident_memory_bytes 12", "sdworker_queue_limit_jobs 64", "sdworker_model_loads_total 2",
		`sdworker_cache_requests_total{cache="prompt",result="hit"} 5`, `sdworker_cache_requests_total{cache="prompt",result="miss"} 6`,
		`sdworker_device_ready{device="cuda0"} 1`, `sdworker_device_ready{device="cuda1"} 0`, `sdworker_device_jobs{device="cuda0"} 2`)
}

func TestRequests(t *testing.T) {
	m := metrics.New()
	h := http.NewServeMux()
	for _, pattern := range []string{"/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/sdapi/v1/txt2img", "/"} {
		h.Handle(pattern, m.Requests(http.NotFoundHandler()))
	}
	for _, path := range []string{"/v1/jobs", "/v1/jobs/abc", "/v1/jobs/def", "/v1/jobs/def/events", "/v1/jobs/def/x", "/sdapi/v1/txt2img", "/x"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	requireLines(t, scrape(t, m),
		`sdworker_http_request_duration_seconds_count{code="404",route="/v1/jobs"} 1`,
		`sdworker_http_request_duration_seconds_count{code="404",route="/v1/jobs/{id}"} 2`,
		`sdworker_http_request_duration_seconds_count{code="404",route="/v1/jobs/{id}/events"} 1`,
		`sdworker_http_request_duration_seconds_count{code="404",route="/sdapi/v1/txt2img"} 1`,
		`sdworker_http_request_duration_seconds_count{code="404",route="/"} 2`,
	)
}

// Event streams pass through.
func TestRequestsFlush(t *testing.T) {
	m := metrics.New()
	h := m.Requests(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		assert.NoError(t, http.NewResponseController(w).Flush())
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.True(t, w.Flushed)
}

func TestNamesFollowConventions(t *testing.T) {
	m := metrics.New()
	m.Watch(inference.NewQueue(m.Observe(&sdapitest.Generator{}), inference.QueueOptions{}))
	m.EngineStarted()
	for _, reason := range remote.Reasons() {
		m.EngineLost(string(reason))
	}
	m.Build("v1.2.3", "cuda")
	m.Machine(8<<30, func() []gpustat.Card {
		return []gpustat.Card{
			{Name: "L4", UUID: "GPU-1", Utilization: 0.5, Celsius: 60, Watts: 70, MemoryUsed: 1 << 30, MemoryTotal: 24 << 30},
			{Index: 1, Name: "MIG", Utilization: -1, Celsius: -1, Watts: -1, MemoryUsed: -1, MemoryTotal: -1},
		}
	})
	text := scrape(t, m)
	requireLines(t, text,
		"sdworker_engine_starts_total 1",
		`sdworker_engine_losses_total{reason="silent"} 1`,
		`sdworker_build_info{backend="cuda",version="v1.2.3"} 1`,
		"sdworker_host_memory_limit_bytes 8.589934592e+09",
		`sdworker_gpu_utilization_ratio{gpu="0",name="L4",uuid="GPU-1"} 0.5`,
		`sdworker_gpu_temperature_celsius{gpu="0",name="L4",uuid="GPU-1"} 60`,
		`sdworker_gpu_memory_used_bytes{gpu="0",name="L4",uuid="GPU-1"} 1.073741824e+09`,
	)
	require.NotContains(t, text, "MIG", "what the driver does not tell is left out")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

// alone is a generator whose jobs tell of so many calls.
type alone struct {
	sdapitest.Generator
	company inference.Company
}

func (a *alone) Generate(ctx context.Context, req *inference.Request, hooks inference.Hooks) (*inference.Result, error) {
	res, err := a.Generator.Generate(ctx, req, hooks)
	if err == nil {
		res.Company = a.company
	}
	return res, err
}

func TestCompany(t *testing.T) {
	m := metrics.New()
	gen := m.Observe(&alone{company: inference.Company{Calls: 20, Rows: 120, Wait: 1.5}})
	_, err := gen.Generate(t.Context(), request(), inference.Hooks{})
	require.NoError(t, err)
	requireLines(t, scrape(t, m),
		`sdworker_job_rows_per_call_bucket{le="4"} 0`,
		`sdworker_job_rows_per_call_bucket{le="8"} 1`,
		"sdworker_job_rows_per_call_sum 6",
		`sdworker_phase_duration_seconds_sum{phase="company"} 1.5`,
	)
}
