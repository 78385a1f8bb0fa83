// Package a1111 is a client of the A1111 API in the same process: requests reach its
// http.Handler the way they would over the network, so that a second API can stand
// on the first one. It knows the routes and the shapes of errors; who may call is
// decided before, by package gate.
package a1111

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// Routes of the API.
const (
	Prefix           = "/sdapi/v1/"
	Txt2Img          = Prefix + "txt2img"
	Img2Img          = Prefix + "img2img"
	ExtraSingleImage = Prefix + "extra-single-image"
	ExtraBatchImages = Prefix + "extra-batch-images"
	SDModels         = Prefix + "sd-models"
	ReloadCheckpoint = Prefix + "reload-checkpoint"
)

// Client calls the API.
type Client struct{ Handler http.Handler }

// Reply is a complete reply.
type Reply struct {
	Status int // 200 when the handler set none
	Header http.Header
	Body   []byte
}

// Get requests path, which may have a query.
func (c Client) Get(ctx context.Context, path string) *Reply {
	return c.Do(ctx, http.MethodGet, path, nil)
}

// Post sends a JSON body to path. The body must not change until Post returns.
func (c Client) Post(ctx context.Context, path string, body []byte) *Reply {
	return c.Do(ctx, http.MethodPost, path, body)
}

// Call posts in as JSON and decodes the reply into out. An error of the API is a
// *Fault; when ctx has ended the error is its cause.
func (c Client) Call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	reply := c.Post(ctx, path, body)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return reply.Fault()
	}
	return json.Unmarshal(reply.Body, out)
}

// Do is Get and Post for any method; only that of POST has a body.
func (c Client) Do(ctx context.Context, method, path string, body []byte) *Reply {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return &Reply{Status: http.StatusBadRequest, Header: http.Header{}, Body: []byte(err.Error())}
	}
	r := (&http.Request{
		Method: method, URL: u, RequestURI: path,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Accept": {"application/json"}}, Host: "localhost", RemoteAddr: "127.0.0.1:0", Body: http.NoBody,
	}).WithContext(ctx)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = reader{bytes.NewReader(body)}, int64(len(body))
	}
	w := &recorder{header: http.Header{}}
	c.Handler.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	return &Reply{Status: w.status, Header: w.header, Body: w.body.Bytes()}
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
