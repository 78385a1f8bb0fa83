// Package gate decides which requests reach the handlers of the API, for all of
// its doors alike: who may call (HTTP Basic or a bearer token), from which web
// pages and by which host names, how large a body may be and how long a request
// may take. Each rule is a middleware of its own; Policy and Mux put them
// together in front of the routes.
package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"
)

// Middleware is a handler around another one.
type Middleware = func(http.Handler) http.Handler

// Refuse answers a request that does not pass, in the shape that the clients of
// a door expect. It may find header fields set that belong to the answer.
type Refuse func(w http.ResponseWriter, r *http.Request, status int, text string)

// chain puts h behind middlewares, the first of which sees a request first.
func chain(h http.Handler, around ...Middleware) http.Handler {
	for _, a := range slices.Backward(around) {
		h = a(h)
	}
	return h
}

// MaxBody bounds the body of a request in bytes. A handler that reads more gets
// *http.MaxBytesError, and gets it at once when the client announced more, so
// that nothing of such a body is waited for.
func MaxBody(limit int64) Middleware {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner := *r
			switch {
			case r.Body == nil || r.Body == http.NoBody:
			case r.ContentLength > limit:
				inner.Body = tooLarge{r.Body, limit}
			default:
				inner.Body = http.MaxBytesReader(w, r.Body, limit)
			}
			h.ServeHTTP(w, &inner)
		})
	}
}

// tooLarge is a body that is not read.
type tooLarge struct {
	io.Closer
	limit int64
}

func (b tooLarge) Read([]byte) (int, error) { return 0, &http.MaxBytesError{Limit: b.limit} }

// ErrDeadline is the cause of a request's context that Deadline ended.
var ErrDeadline = errors.New("the request took longer than the server allows")

// Deadline ends the context of a request after d; 0 means never.
func Deadline(d time.Duration) Middleware {
	return func(h http.Handler) http.Handler {
		if d == 0 {
			return h
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeoutCause(r.Context(), d, ErrDeadline)
			defer cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}
