package runpod

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// plane is the control plane as a worker sees it: RunPod's over HTTP, or the one
// in memory behind the local API.
type plane interface {
	// take waits for up to n jobs. busy says that the worker holds jobs already.
	// The end of ctx ends only the wait: jobs that were handed out are returned.
	take(ctx context.Context, n int, busy bool) answer

	// stops waits for ids of jobs to stop. ok is false when the plane has no
	// such channel.
	stops(ctx context.Context) (ids []string, pause time.Duration, ok bool)

	// streams tells whether parts of an output can be sent before the end.
	streams() bool

	// post delivers one message about a job. A *postError tells why it was not
	// accepted.
	post(ctx context.Context, kind postKind, job string, body []byte) error
}

// answer is the outcome of one job-take.
type answer struct {
	jobs    []Job
	skipped int           // jobs that had no usable id
	limited time.Duration // the plane asked to wait this long
	err     error         // not an answer: back off
}

// postKind says which of the posts about a job a body is.
type postKind int

const (
	postProgress postKind = iota
	postFinal
	postStreamPart
	postStreamEnd
)

// postError is a post that was not accepted.
type postError struct {
	status     int           // HTTP status, 0 when there was no answer
	retryAfter time.Duration // asked for by the answer, or 0
	err        error
}

func (e *postError) Error() string {
	if e.status != 0 {
		return fmt.Sprintf("HTTP %d", e.status)
	}
	return e.err.Error()
}

func (e *postError) Unwrap() error { return e.err }

// verdict is what to do about a refused post.
type verdict int

const (
	again   verdict = iota // the plane or the way to it is at fault
	tooBig                 // the body is at fault: send a small one
	refused                // the plane does not want this post
)

func judge(err error) (verdict, time.Duration) {
	e, ok := errors.AsType[*postError](err)
	if !ok {
		return again, 0
	}
	switch {
	case e.status == http.StatusBadRequest, e.status == http.StatusRequestEntityTooLarge, e.status == http.StatusUnprocessableEntity:
		return tooBig, 0
	case e.status == http.StatusTooManyRequests:
		return again, max(e.retryAfter, rateLimitPause)
	case e.status >= 400 && e.status < 500 && e.status != http.StatusUnauthorized && e.status != http.StatusForbidden && e.status != http.StatusRequestTimeout:
		return refused, 0
	default:
		return again, e.retryAfter
	}
}
