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

// lastWait is how long a client may take for one piece of a reply when the server stops,
// so that those who do not read do not use up the time that jobs have to finish.
const lastWait = 10 * time.Second

// bodyDeadlines says how long a server waits for the bodies of requests, or of replies.
type bodyDeadlines struct {
	piece, rest time.Duration   // rest: from the moment that the server begins to stop
	stopping    context.Context //nolint:containedctx // ends then
}

// begin sets the deadline of a piece. Who sets another one when the server begins to stop
// may do so before or afterwards.
func (d bodyDeadlines) begin(set func(time.Time) error) error {
	err := set(time.Now().Add(d.piece))
	if d.stopping.Err() != nil {
		err = set(time.Now().Add(d.rest))
	}
	return err
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
	_ = b.wait.begin(b.conn.SetReadDeadline) // what has no deadline has no slow client
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
func withReplyDeadlines(h http.Handler, wait bodyDeadlines) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 {
			h.ServeHTTP(w, r)
			return
		}
		timed := &timedWriter{ResponseWriter: w, stream: http.NewResponseController(w), wait: wait}
		defer timed.expect(true) // the server sends the rest of the reply
		defer context.AfterFunc(wait.stopping, timed.hurry)()
		h.ServeHTTP(timed, r)
	})
}

// timedWriter sets a deadline for each piece of a reply.
type timedWriter struct {
	http.ResponseWriter
	stream *http.ResponseController
	wait   bodyDeadlines

	mu      sync.Mutex
	writing bool
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
	w.expect(true)
	defer w.expect(false)
	return f()
}

// expect sets the deadline of a piece, or none.
func (w *timedWriter) expect(piece bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = piece
	if piece {
		_ = w.wait.begin(w.stream.SetWriteDeadline) // what has no deadline has no slow client
	} else {
		_ = w.stream.SetWriteDeadline(time.Time{})
	}
}

// hurry limits the time for a piece that is on its way when the server begins to stop.
func (w *timedWriter) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing {
		_ = w.stream.SetWriteDeadline(time.Now().Add(w.wait.rest))
	}
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writePiece is what a client has to take in a PieceWait, in bytes.
const writePiece = 256 << 10

// writeDeadlineListener accepts connections that end when the client takes too long
// to read.
type writeDeadlineListener struct {
	net.Listener
	wait bodyDeadlines
}

func (l writeDeadlineListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &timedConn{Conn: conn, wait: l.wait}
	c.forget = context.AfterFunc(l.wait.stopping, func() { _ = conn.SetWriteDeadline(time.Now().Add(l.wait.rest)) })
	return c, nil
}

// timedConn sets a deadline for each piece of a write.
type timedConn struct {
	net.Conn
	wait   bodyDeadlines
	forget func() bool // that the server will stop
}

func (c *timedConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err = c.wait.begin(c.SetWriteDeadline); err != nil {
			return n, err
		}
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+writePiece)])
		n += m
	}
	return n, err
}

func (c *timedConn) Close() error {
	c.forget()
	return c.Conn.Close()
}
