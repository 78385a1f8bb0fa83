package sdapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"sdworker/api/gate"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
)

// replyError is an error as A1111 shows it: the class of the Python exception,
// and its text in "detail" for an HTTPException and in "errors" for any other.
type replyError struct {
	status int
	class  string
	text   string
	header http.Header
	cause  error // for the log
}

func (e *replyError) Error() string { return e.class + ": " + e.text }

func (e *replyError) Unwrap() error { return e.cause }

// body is the reply with A1111's four keys.
func (e *replyError) body() *pyjson.Object {
	detail, text := "", e.text
	if e.class == httpException {
		detail, text = e.text, ""
	}
	return pyjson.NewObject("error", e.class, "detail", detail, "body", "", "errors", text)
}

const httpException = "HTTPException"

// refuse is an error that the original raises on purpose.
func refuse(status int, format string, args ...any) *replyError {
	return &replyError{status: status, class: httpException, text: fmt.Sprintf(format, args...)}
}

// crash is an error that the original runs into: status 500 and the class and
// text of its exception.
func crash(class, format string, args ...any) *replyError {
	return &replyError{status: http.StatusInternalServerError, class: class, text: fmt.Sprintf(format, args...)}
}

// plainError is FastAPI's own shape, {"detail": text}.
type plainError struct {
	status int
	text   string
	header http.Header
}

func (e *plainError) Error() string { return e.text }

// writeError is the only place that picks a status and writes an error.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var (
		invalid schema.Errors
		plain   *plainError
		syntax  *pyjson.SyntaxError
	)
	switch {
	case errors.As(err, &invalid):
		s.writeJSON(w, r, http.StatusUnprocessableEntity, pyjson.NewObject("detail", invalid.JSON()))
		return
	case errors.As(err, &syntax):
		list, _ := schema.FromSyntax(err)
		s.writeJSON(w, r, http.StatusUnprocessableEntity, pyjson.NewObject("detail", list.JSON()))
		return
	case errors.As(err, &plain):
		maps.Copy(w.Header(), plain.header)
		s.writeJSON(w, r, plain.status, pyjson.NewObject("detail", plain.text))
		return
	}
	reply := asReply(r.Context(), err)
	if reply.cause != nil && reply.status == http.StatusInternalServerError && r.Context().Err() == nil {
		zerolog.Ctx(r.Context()).Error().Err(err).Str("path", r.URL.Path).Msg("request failed")
	}
	maps.Copy(w.Header(), reply.header)
	s.writeJSON(w, r, reply.status, reply.body())
}

// asReply maps the errors of every layer below to A1111's shape.
func asReply(ctx context.Context, err error) *replyError {
	var (
		reply   *replyError
		unknown *options.UnknownKeyError
		typed   *options.TypeError
	)
	switch {
	case errors.As(err, &reply):
		return reply
	case errors.As(err, &unknown):
		return crash("KeyError", "%s", quoted(unknown.Key))
	case errors.As(err, &typed):
		return crash("TypeError", "%s", typed)
	case errors.Is(err, pyjson.ErrNotFinite):
		return crash("ValueError", "Out of range float values are not JSON compliant")
	}
	reply = &replyError{status: http.StatusInternalServerError, cause: err, text: fault.Message(err)}
	var told *fault.Error
	if errors.As(err, &told) && told.RetryAfter > 0 {
		reply.status, reply.class = http.StatusServiceUnavailable, httpException
		reply.header = http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(told.RetryAfter.Seconds())))}}
		return reply
	}
	switch fault.CodeOf(err) {
	case fault.Invalid:
		reply.status, reply.class = http.StatusUnprocessableEntity, httpException
	case fault.NotFound:
		reply.status, reply.class = http.StatusNotFound, httpException
	case fault.Busy:
		reply.status, reply.class = http.StatusTooManyRequests, httpException
		reply.header = http.Header{"Retry-After": {strconv.Itoa(retryAfter)}}
	case fault.Canceled:
		reply.status, reply.class = http.StatusServiceUnavailable, httpException
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, gate.ErrDeadline):
			reply.status, reply.text = http.StatusGatewayTimeout, gate.ErrDeadline.Error()
		case cause == context.Canceled: //nolint:errorlint // of the request itself, which net/http ends with its connection
			reply.status, reply.text = statusClientClosed, "the client closed the connection, or its half of it, before the reply; keep it open until the reply has come"
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

// quoted writes a text as Python's repr does.
func quoted(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	var b strings.Builder
	b.WriteString(quote)
	for _, r := range s {
		switch {
		case string(r) == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteString(quote)
	return b.String()
}
