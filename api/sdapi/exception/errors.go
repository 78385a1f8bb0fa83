// Package exception writes errors as A1111 does, with the class of the Python exception
// that it would end with.
package exception

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"sdworker/api/gate"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
)

// Error is an error as A1111 shows it: the class of the Python exception,
// and its text in "detail" for an HTTPException and in "errors" for any other.
type Error struct {
	Status int
	class  string
	text   string
	Header http.Header
	Cause  error // for the log
}

func (e *Error) Error() string { return e.class + ": " + e.text }

func (e *Error) Unwrap() error { return e.Cause }

// Body is the reply with A1111's four keys.
func (e *Error) Body() *pyjson.Object {
	detail, text := "", e.text
	if e.class == httpException {
		detail, text = e.text, ""
	}
	return pyjson.NewObject("error", e.class, "detail", detail, "body", "", "errors", text)
}

const httpException = "HTTPException"

// Refuse is an error that the original raises on purpose.
func Refuse(status int, format string, args ...any) *Error {
	return &Error{Status: status, class: httpException, text: fmt.Sprintf(format, args...)}
}

// Crash is an error that the original runs into: status 500 and the class and
// text of its exception.
func Crash(class, format string, args ...any) *Error {
	return &Error{Status: http.StatusInternalServerError, class: class, text: fmt.Sprintf(format, args...)}
}

// AsReply maps the errors of every layer below to A1111's shape.
func AsReply(ctx context.Context, err error) *Error {
	var (
		reply   *Error
		unknown *options.UnknownKeyError
		typed   *options.TypeError
	)
	switch {
	case errors.As(err, &reply):
		return reply
	case errors.As(err, &unknown):
		return Crash("KeyError", "%s", pyjson.Quoted(unknown.Key))
	case errors.As(err, &typed):
		return Crash("TypeError", "%s", typed)
	case errors.Is(err, pyjson.ErrNotFinite):
		return Crash("ValueError", "Out of range float values are not JSON compliant")
	}
	reply = &Error{Status: http.StatusInternalServerError, Cause: err, text: fault.Message(err)}
	var told *fault.Error
	if errors.As(err, &told) && told.RetryAfter > 0 {
		reply.Status, reply.class = http.StatusServiceUnavailable, httpException
		reply.Header = http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(told.RetryAfter.Seconds())))}}
		return reply
	}
	switch fault.CodeOf(err) {
	case fault.Invalid:
		reply.Status, reply.class = http.StatusUnprocessableEntity, httpException
	case fault.NotFound:
		reply.Status, reply.class = http.StatusNotFound, httpException
	case fault.Busy:
		reply.Status, reply.class = http.StatusTooManyRequests, httpException
		reply.Header = http.Header{"Retry-After": {strconv.Itoa(retryAfter)}}
	case fault.Canceled:
		reply.Status, reply.class = http.StatusServiceUnavailable, httpException
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, gate.ErrDeadline):
			reply.Status, reply.text = http.StatusGatewayTimeout, gate.ErrDeadline.Error()
		case cause == context.Canceled: //nolint:errorlint // of the request itself, which net/http ends with its connection
			reply.Status, reply.text = statusClientClosed, "the client closed the connection, or its half of it, before the reply; keep it open until the reply has come"
		}
	case fault.Exhausted:
		reply.class = "OutOfMemoryError"
	case fault.Broken:
		reply.class = "RuntimeError"
	default:
		reply.class = "RuntimeError"
		if told == nil { // whose text is for clients
			reply.text = "internal error, see the log of the server"
		}
	}
	return reply
}

// statusClientClosed is the answer to a client that has closed its half of the
// connection, which looks like one that has gone: nginx's number, since HTTP has none.
const statusClientClosed = 499

// retryAfter is what a client whose request found the queue full is told to
// wait, in seconds.
const retryAfter = 5
