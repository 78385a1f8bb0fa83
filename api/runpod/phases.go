package runpod

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
)

// Phases times and logs the steps of a start: find the model, check the device,
// load, warm up.
type Phases struct {
	log   zerolog.Logger
	begun time.Time
}

// NewPhases starts the clock of "since_start_ms". Call it first thing in main.
func NewPhases(log zerolog.Logger) *Phases { return &Phases{log: log, begun: time.Now()} }

// PhaseError is the failure of one step of the start.
type PhaseError struct {
	Phase string
	Err   error
}

func (e *PhaseError) Error() string { return e.Phase + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *PhaseError) Unwrap() error { return e.Err }

// Run does one step and logs how long it took. Its error is a *PhaseError.
func (p *Phases) Run(ctx context.Context, phase string, step func(context.Context) error) error {
	start := time.Now()
	err := step(ctx)
	level := zerolog.InfoLevel
	if err != nil {
		level = zerolog.ErrorLevel
	}
	p.log.WithLevel(level).Err(err).Str("phase", phase).Dur("duration_ms", time.Since(start)).
		Dur("since_start_ms", time.Since(p.begun)).Msg("start phase")
	if err != nil {
		return &PhaseError{Phase: phase, Err: err}
	}
	return nil
}

// phaseOf names the step that failed.
func phaseOf(err error) string {
	if e, ok := errors.AsType[*PhaseError](err); ok {
		return e.Phase
	}
	return "start"
}
