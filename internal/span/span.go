// Package span adds a part to the trace of what is under way, where there is one.
package span

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Scope names the program in traces.
const Scope = "sdworker"

// Start begins a span below the one in ctx. end must be called. Without a trace in ctx
// both do nothing. Attributes must hold nothing that a client wrote.
func Start(ctx context.Context, name string, attributes ...attribute.KeyValue) (inner context.Context, end func()) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, func() {}
	}
	inner, s := parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithAttributes(attributes...))
	return inner, func() { s.End() }
}
