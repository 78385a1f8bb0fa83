package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// PieceWait is how long a client may take for one piece of a body that it sends or
// receives, before the connection counts as dead.
const PieceWait = time.Minute

// restWait bounds the time for the rest of a body that no handler reads; the
// server drains it from the connection before it replies. It also bounds bodies
// that are still arriving when the server stops.
const restWait = time.Second

// bodyDeadlines says how long a server waits for the bodies of requests.
type bodyDeadlines struct {
	piece, rest time.Duration
	stopping    context.Context //nolint:containedctx // ends when the server begins to stop
}

// withBodyDeadlines ends requests whose client stops in the middle of the body, or never
// begins it.
func withBodyDeadlines(h http.Handler, wait bodyDeadlines) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			h.ServeHTTP(w, r)
			return
		}
		body := &timedBody{ReadCloser: r.Body, conn: http.NewResponseController(w), wait: wait}
		defer body.giveUp() // before the server, which needs its own body in its own request
		defer context.AfterFunc(wait.stopping, body.giveUp)()
		inner := *r
		inner.Body = body
		h.ServeHTTP(&bodyWriter{ResponseWriter: w, body: body}, &inner)
	})
}

// timedBody sets a deadline for each read.
type timedBody struct {
	io.ReadCloser
	conn *http.ResponseController
	wait bodyDeadlines

	mu    sync.Mutex
	ended bool // all of it was read, or it failed
}

func (b *timedBody) Read(p []byte) (int, error) {
	wait := b.wait.piece
	if b.wait.stopping.Err() != nil {
		wait = b.wait.rest
	}
	_ = b.conn.SetReadDeadline(time.Now().Add(wait)) // what has no deadline has no slow client
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.ended = true
	}
	if err == nil || errors.Is(err, io.EOF) { // after an error the server must not wait for the rest
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// giveUp limits the time for the part of the body that was not read.
func (b *timedBody) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.conn.SetReadDeadline(time.Now().Add(b.wait.rest))
	}
}

// bodyWriter gives up the body when the reply begins.
type bodyWriter struct {
	http.ResponseWriter
	body *timedBody
}

func (w *bodyWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.body.giveUp()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	w.body.giveUp()
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *bodyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeDeadlineListener accepts connections that end when the client takes too long
// to read.
type writeDeadlineListener struct {
	net.Listener
	wait time.Duration
}

func (l writeDeadlineListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: conn, wait: l.wait}, nil
}

// timedConn sets a deadline for each piece of a write.
type timedConn struct {
	net.Conn
	wait time.Duration
}

func (c *timedConn) Write(p []byte) (n int, err error) {
	const piece = 256 << 10
	for n < len(p) && err == nil {
		if err = c.SetWriteDeadline(time.Now().Add(c.wait)); err != nil {
			return n, err
		}
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+piece)])
		n += m
	}
	return n, err
}
