// Package tracing follows requests and jobs through the worker with OpenTelemetry: one
// trace from the door to the upload, with the wait in the queue and the phases of each
// picture as spans. It is set up by OpenTelemetry's own variables (OTEL_*).
//
// No span has a prompt, a picture, a credential or the text of an error, which may repeat
// what a client wrote. Config.Prompts adds the prompts.
package tracing

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/internal/span"
)

// Config says where traces go. The variables that it does not name, such as
// OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER and OTEL_SERVICE_NAME, are read from the
// environment of the process by OpenTelemetry itself.
type Config struct {
	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"address of an OpenTelemetry collector, such as http://localhost:4318; with it requests and jobs are traced. The other standard variables (OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER ...) are heeded, too"`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" doc:"the same for traces alone, with its path"`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" doc:"the only one that is spoken"`
	Exporter       string `env:"OTEL_TRACES_EXPORTER" envDefault:"otlp" doc:"otlp, or none for no traces"`
	Disabled       bool   `env:"OTEL_SDK_DISABLED" doc:"no traces"`
	Prompts        bool   `env:"TRACE_PROMPTS" doc:"put prompts into traces"`
}

// Validate finds all settings that cannot be used.
func (c *Config) Validate() []error {
	var errs []error
	if c.Protocol != "http/protobuf" {
		errs = append(errs, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q; collectors are reached by http/protobuf only, most often on port 4318", c.Protocol))
	}
	if c.Exporter != "otlp" && c.Exporter != "none" {
		errs = append(errs, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; it must be otlp or none", c.Exporter))
	}
	return errs
}

// On tells whether anything is traced.
func (c *Config) On() bool {
	return !c.Disabled && c.Exporter == "otlp" && cmp.Or(c.Endpoint, c.TracesEndpoint) != ""
}

// Tracing makes the traces of one process. It is safe for concurrent use. A nil one makes
// none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	prompts  bool
}

var w3c = propagation.TraceContext{}

// Start returns a Tracing that sends to a collector, or nil when the configuration asks
// for none. Failures to send are logged. Close must be called.
func Start(ctx context.Context, cfg Config, version string, log zerolog.Logger) (*Tracing, error) {
	if !cfg.On() {
		return nil, nil //nolint:nilnil // a nil one is ready to use
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces cannot be sent: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn().Err(err).Msg("traces") }))
	log.Info().Str("url", withoutCredentials(cmp.Or(cfg.TracesEndpoint, cfg.Endpoint))).Msg("traces are sent")
	return New(ctx, sdktrace.NewBatchSpanProcessor(exporter), version, cfg.Prompts)
}

// New returns a Tracing that gives its spans to a processor.
func New(ctx context.Context, processor sdktrace.SpanProcessor, version string, prompts bool) (*Tracing, error) {
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", span.Scope), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && about == nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return &Tracing{sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(processor), sdktrace.WithResource(about)), prompts}, nil
}

// Close sends what has not been sent yet, until ctx ends.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Requests traces the POST requests that h answers; others ask for the state of things,
// many times a second. It belongs behind the multiplexer, since a span is named by the
// request's Pattern. A W3C traceparent of the client is continued.
func (t *Tracing) Requests(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	followed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(t.follow(r.Context())))
	})
	return otelhttp.NewHandler(followed, "",
		otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(w3c), otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.Method == http.MethodPost }),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + r.Pattern }),
	)
}

// Job begins the trace of a RunPod job. A traceparent (and tracestate) among the fields of
// its input is continued. end must be called with what became of the job.
func (t *Tracing) Job(ctx context.Context, id string, input json.RawMessage) (inner context.Context, end func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	var sent struct{ Traceparent, Tracestate string }
	_ = json.Unmarshal(input, &sent) // one that is no object has none
	ctx = w3c.Extract(ctx, propagation.MapCarrier{"traceparent": sent.Traceparent, "tracestate": sent.Tracestate})
	ctx, s := t.tracer().Start(ctx, "runpod job", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attribute.String("messaging.message.id", id)))
	return t.follow(ctx), func(err error) { finish(s, err) }
}

// follow has the jobs under ctx tell how long they waited in the queue.
func (t *Tracing) follow(ctx context.Context) context.Context {
	return inference.WithObserver(ctx, func(e inference.Event) {
		end := e.Job.Started
		switch {
		case e.Kind == inference.Started:
		case e.Kind == inference.Done && end.IsZero(): // it left without a turn
			end = time.Now()
		default:
			return
		}
		_, s := t.tracer().Start(ctx, "queue", trace.WithTimestamp(e.Job.Admitted))
		s.End(trace.WithTimestamp(end))
	})
}

func (t *Tracing) tracer() trace.Tracer { return t.provider.Tracer(span.Scope) }

// finish ends a span with the code of an error, if there is one.
func finish(s trace.Span, err error) {
	if err != nil {
		code := string(fault.CodeOf(err))
		s.SetAttributes(attribute.String("error.type", code))
		s.SetStatus(codes.Error, code)
	}
	s.End()
}

// withoutCredentials is an address that may be logged.
func withoutCredentials(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
