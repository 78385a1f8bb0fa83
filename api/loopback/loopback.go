// Package loopback calls an http.Handler in the same process, the way a client
// calls it over the network, so that a second API can stand on a first one.
package loopback

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
)

// Reply is a complete reply of a handler.
type Reply struct {
	Status int // 200 when the handler set none
	Header http.Header
	Body   []byte
}

// Get requests path, which may have a query, with the given header fields.
func Get(ctx context.Context, h http.Handler, path string, header http.Header) *Reply {
	return Do(ctx, h, http.MethodGet, path, header, nil)
}

// Post sends a JSON body to path. The body must not change until Post returns.
func Post(ctx context.Context, h http.Handler, path string, header http.Header, body []byte) *Reply {
	return Do(ctx, h, http.MethodPost, path, header, body)
}

// Do is Get and Post for any method; only that of POST has a body.
func Do(ctx context.Context, h http.Handler, method, path string, header http.Header, body []byte) *Reply {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return &Reply{Status: http.StatusBadRequest, Header: http.Header{}, Body: []byte(err.Error())}
	}
	r := (&http.Request{
		Method: method, URL: u, RequestURI: path,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header.Clone(), Host: "localhost", RemoteAddr: "127.0.0.1:0", Body: http.NoBody,
	}).WithContext(ctx)
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = reader{bytes.NewReader(body)}, int64(len(body))
	}
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	return &Reply{Status: w.status, Header: w.header, Body: w.body.Bytes()}
}

// Credentials are the header fields by which the client of r is known, for a
// call in its name.
func Credentials(r *http.Request) http.Header {
	h := http.Header{}
	if v := r.Header.Values("Authorization"); len(v) > 0 {
		h["Authorization"] = v
	}
	return h
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// recorder is an http.ResponseWriter that keeps the reply.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // 1xx are not the answer
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush lets handlers that stream work unchanged.
func (w *recorder) Flush() {}
