package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"sdworker/api/tracing"
	"sdworker/internal/cli"
)

// traceSettings say where traces go.
type traceSettings struct{ tracing.Config }

func (s *traceSettings) settings() cli.Settings {
	return cli.Settings{Title: "Traces:", Target: &s.Config, Environment: true, VariablesOnly: true}
}

func (s *traceSettings) start(ctx context.Context, log zerolog.Logger) (*tracing.Tracing, error) {
	return tracing.Start(context.WithoutCancel(ctx), s.Config, version(), log)
}

// closeTraces sends the last traces, if the collector takes them soon.
func closeTraces(t *tracing.Tracing, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn().Err(err).Msg("the last traces could not be sent")
	}
}
