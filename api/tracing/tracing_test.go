package tracing_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"sdworker/api/sdapi/sdapitest"
	"sdworker/api/tracing"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record returns a Tracing and what it has made.
func record(t *testing.T) (*tracing.Tracing, *tracetest.InMemoryExporter) {
	t.Helper()
	made := tracetest.NewInMemoryExporter()
	tr, err := tracing.New(t.Context(), sdktrace.NewSimpleSpanProcessor(made), "v1", false)
	require.NoError(t, err)
	return tr, made
}

func names(made *tracetest.InMemoryExporter) (list []string) {
	for _, s := range made.GetSpans() {
		list = append(list, s.Name)
	}
	return list
}

func TestErrorsAreTracedByTheirCode(t *testing.T) {
	tr, made := record(t)
	gen := tr.Observe(&sdapitest.Generator{Fail: fault.Errorf(fault.Exhausted, "unet", "no memory for %q", "a hidden fox")})
	ctx, end := tr.Job(t.Context(), "job-1", []byte(`[]`))
	_, err := inference.NewQueue(gen, inference.QueueOptions{}).Generate(ctx, inference.Job{}, &inference.Request{
		Prompt: "a hidden fox", Sampler: "Euler", Steps: 3, CFGScale: 7, Width: 64, Height: 64, BatchSize: 1, BatchNum: 1,
		Files: inference.Files{Checkpoint: "/models/a.safetensors"}, Settings: inference.DefaultSettings(),
	})
	require.Error(t, err)
	end(err)
	spans := made.GetSpans()
	require.Equal(t, []string{"queue", "txt2img", "runpod job"}, names(made))
	for _, s := range spans {
		require.Equal(t, spans[2].SpanContext.TraceID(), s.SpanContext.TraceID())
		require.Empty(t, s.Events)
		for _, a := range s.Attributes {
			require.NotContains(t, a.Value.String(), "hidden", a.Key)
		}
	}
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: "exhausted"}, spans[1].Status)
	require.Equal(t, trace.SpanKindConsumer, spans[2].SpanKind)
}

func TestAJobThatLeavesTheQueueIsTraced(t *testing.T) {
	tr, made := record(t)
	queue := inference.NewQueue(&sdapitest.Generator{}, inference.QueueOptions{})
	ctx, end := tr.Job(t.Context(), "job-1", nil)
	ctx, cancel := context.WithCancel(ctx)
	var left error
	require.NoError(t, queue.Do(t.Context(), inference.Job{}, func(context.Context, inference.Generator, inference.Hooks) error {
		cancel()
		_, left = queue.Generate(ctx, inference.Job{}, &inference.Request{}) // the turn is another's
		return nil
	}))
	require.Equal(t, fault.Canceled, fault.CodeOf(left))
	end(left)
	require.Equal(t, []string{"queue", "runpod job"}, names(made))
}

func TestUpscalesAndLoadsAreTraced(t *testing.T) {
	tr, made := record(t)
	gen := tr.Observe(&sdapitest.Generator{})
	_, err := gen.Upscale(t.Context(), &inference.UpscaleRequest{Image: imageio.NewRGB(8, 8), Scale: 2}, inference.Hooks{})
	require.NoError(t, err)
	require.NoError(t, gen.Load(t.Context(), inference.Files{Checkpoint: "/models/a.safetensors"}, inference.Hooks{}))
	require.Equal(t, []string{"upscale", "load"}, names(made))
}

// Without traces everything works as without this package.
func TestNone(t *testing.T) {
	var tr *tracing.Tracing
	gen := &sdapitest.Generator{}
	require.Same(t, inference.Generator(gen), tr.Observe(gen))
	ctx, end := tr.Job(t.Context(), "job-1", nil)
	require.Equal(t, t.Context(), ctx)
	end(nil)
	w := httptest.NewRecorder()
	tr.Requests(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	require.Equal(t, 404, w.Code)
	require.NoError(t, tr.Close(t.Context()))
	for _, cfg := range []tracing.Config{
		{Exporter: "otlp"}, {Exporter: "none", Endpoint: "http://127.0.0.1:1"}, {Exporter: "otlp", Endpoint: "http://127.0.0.1:1", Disabled: true},
	} {
		require.False(t, cfg.On(), "%+v", cfg)
	}
}
