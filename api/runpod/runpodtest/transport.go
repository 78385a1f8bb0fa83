package runpodtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// Transport reaches the server without sockets, so that tests can run under
// testing/synctest, where a blocked socket would not count as idle.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ handler http.Handler }

// errDropped is what a client sees of a connection closed by the server.
var errDropped = errors.New("connection reset by the test server")

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	server := req.Clone(ctx)
	server.RequestURI = req.URL.RequestURI()
	if server.Body == nil {
		server.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pipe: writer, ready: make(chan struct{})}
	go func() {
		defer server.Body.Close()
		defer func() {
			if p := recover(); p != nil {
				if p != any(http.ErrAbortHandler) {
					panic(p)
				}
				w.abort()
				return
			}
			w.WriteHeader(http.StatusOK)
			writer.Close()
		}()
		if ctx.Err() == nil { // else the client is gone before it has sent anything
			t.handler.ServeHTTP(w, server)
		}
	}()
	select {
	case <-w.ready:
	case <-ctx.Done():
		cancel()
		reader.CloseWithError(context.Cause(ctx))
		return nil, context.Cause(req.Context())
	}
	if w.aborted {
		cancel()
		return nil, errDropped
	}
	stop := context.AfterFunc(ctx, func() { reader.CloseWithError(ctx.Err()) })
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &pipeBody{PipeReader: reader, done: func() { stop(); cancel() }}, ContentLength: -1, Request: req,
	}, nil
}

// pipeBody ends the server's request when the client closes the body.
type pipeBody struct {
	*io.PipeReader
	done func()
}

func (b *pipeBody) Close() error {
	b.done()
	return b.PipeReader.Close()
}

// pipeWriter is a response whose body goes through a pipe.
type pipeWriter struct {
	header, sent http.Header
	pipe         *io.PipeWriter
	once         sync.Once
	ready        chan struct{} // closed when status or aborted is set
	status       int
	aborted      bool
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush is there for handlers that send piece by piece; a pipe holds nothing
// back.
func (w *pipeWriter) Flush() {}

// abort closes the connection.
func (w *pipeWriter) abort() {
	w.once.Do(func() {
		w.aborted = true
		close(w.ready)
	})
	w.pipe.CloseWithError(io.ErrUnexpectedEOF)
}
