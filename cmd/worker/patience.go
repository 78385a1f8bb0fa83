package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// pieceWait is how long a client may take for one piece of a body that it sends or
// receives, before the connection counts as dead.
const pieceWait = time.Minute

// impatient ends requests whose client stops in the middle of the body.
func impatient(h http.Handler, wait time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &timedBody{ReadCloser: r.Body, conn: http.NewResponseController(w), wait: wait}
		}
		h.ServeHTTP(w, r)
	})
}

// timedBody gives each read its time.
type timedBody struct {
	io.ReadCloser
	conn *http.ResponseController
	wait time.Duration
}

func (b *timedBody) Read(p []byte) (int, error) {
	_ = b.conn.SetReadDeadline(time.Now().Add(b.wait)) // what has no deadline has no slow client
	n, err := b.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) { // after an error the server must not wait for the rest
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// impatientListener has connections whose client must take what it is sent.
type impatientListener struct {
	net.Listener
	wait time.Duration
}

func (l impatientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: conn, wait: l.wait}, nil
}

// timedConn gives each piece of a write its time.
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
