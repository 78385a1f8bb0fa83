// Package fault holds the one error type that crosses package borders on
// purpose, and the codes that say what a caller can do about it. It knows nothing
// else of the program, so that everything can use it.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code says what the caller can do about an error. Transports map it to their
// own status; nothing below a transport knows HTTP.
type Code string

// Codes, from the caller's fault to ours.
const (
	Invalid   Code = "invalid"   // the request is wrong and stays wrong
	NotFound  Code = "not_found" // no such model, sampler, LoRA or job
	Busy      Code = "busy"      // queue full; the same request may pass later
	Canceled  Code = "canceled"  // client, platform or shutdown stopped it
	Exhausted Code = "exhausted" // memory or disk; a smaller request may pass
	Broken    Code = "broken"    // the engine died or its state is unknown
	Internal  Code = "internal"  // our bug; details go to the log only
)

// Error is the one error type that crosses package borders on purpose.
type Error struct {
	Code  Code
	Op    string // where: "decode", "prompt", "unet"
	Field string // wire name of the offending field, if any
	Msg   string // one sentence, safe to show to the client
	Err   error  // cause, for the log

	// RetryAfter is when the same request may pass, 0 where that is not known.
	RetryAfter time.Duration
}

// Error returns Msg, after Op and before the cause where they are set.
func (e *Error) Error() string {
	s := e.Msg
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf builds an Error without a cause.
func Errorf(code Code, op, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Msg: fmt.Sprintf(format, args...)}
}

// FieldError builds an Invalid error about one request field.
func FieldError(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// Stopped builds the Canceled error of an operation whose context has ended; the cause
// is the context's.
func Stopped(ctx context.Context, op string) *Error {
	return &Error{Code: Canceled, Op: op, Msg: "canceled", Err: context.Cause(ctx)}
}

// CodeOf classifies any error: the first *Error in the tree wins, a bare
// context error is Canceled, everything else is Internal. It is "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Canceled
	}
	return Internal
}

// Message returns the sentence of err that may be shown to a client.
func Message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Msg
	}
	return err.Error()
}
