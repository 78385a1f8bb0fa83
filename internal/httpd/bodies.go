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

// withLastChunks lets a body in chunks end its connection. The head of its request may have
// told a length, too, which net/http drops unseen: a proxy that went by that length has taken
// what comes after the chunks for a part of the body, so that it must not count as a request.
func withLastChunks(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// withReplyDeadlines ends replies over HTTP/2 that the client does not take. There a reply
// waits for the client's permission without a write to the connection, whose deadline
// therefore never comes.
func withReplyDeadlines(h http.Handler, wait time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 {
			h.ServeHTTP(w, r)
			return
		}
		timed := &timedWriter{ResponseWriter: w, stream: http.NewResponseController(w), wait: wait}
		defer timed.expect() // the server sends the rest of the reply
		h.ServeHTTP(timed, r)
	})
}

// timedWriter sets a deadline for each piece of a reply.
type timedWriter struct {
	http.ResponseWriter
	stream *http.ResponseController
	wait   time.Duration
}

func (w *timedWriter) Write(p []byte) (n int, err error) {
	for first := true; first || n < len(p) && err == nil; first = false {
		err = w.within(func() error {
			m, err := w.ResponseWriter.Write(p[n:min(len(p), n+writePiece)])
			n += m
			return err
		})
	}
	return n, err
}

// FlushError is for http.ResponseController.
func (w *timedWriter) FlushError() error { return w.within(w.stream.Flush) }

// within sets the deadline for what f writes, and none for the time until the next piece.
func (w *timedWriter) within(f func() error) error {
	w.expect()
	defer func() { _ = w.stream.SetWriteDeadline(time.Time{}) }() // what has no deadline has no slow client
	return f()
}

func (w *timedWriter) expect() { _ = w.stream.SetWriteDeadline(time.Now().Add(w.wait)) }

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writePiece is what a client has to take in a PieceWait, in bytes.
const writePiece = 256 << 10

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
	for n < len(p) && err == nil {
		if err = c.SetWriteDeadline(time.Now().Add(c.wait)); err != nil {
			return n, err
		}
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+writePiece)])
		n += m
	}
	return n, err
}
