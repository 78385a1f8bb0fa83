// Package fastapi reads bodies of requests and writes replies as FastAPI does, which
// A1111 is built on.
package fastapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
)

// ReadModel reads the request body by a model.
func ReadModel(r *http.Request, m *schema.Model) (schema.Values, error) {
	body, err := readBody(r)
	if err != nil {
		return schema.Values{}, err
	}
	return m.Read(body)
}

// ReadObject reads a request body that may be any object.
func ReadObject(r *http.Request) (*pyjson.Object, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	return schema.ReadDict(body)
}

// readBody reads the request body as FastAPI does: JSON when the content type
// says so or is missing, otherwise the raw bytes, which no model takes for an
// object.
func readBody(r *http.Request) (any, error) {
	raw, err := readAll(r)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, schema.MissingBody()
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return notJSON{}, nil
	}
	v, err := pyjson.Decode(raw)
	if errors.Is(err, pyjson.ErrUnreadable) {
		return nil, &Error{Status: http.StatusBadRequest, Text: "There was an error parsing the body"}
	}
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, schema.MissingBody()
	}
	return v, nil
}

// notJSON stands for a body that is not JSON.
type notJSON struct{}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	kind, sub, _ := strings.Cut(strings.ToLower(strings.TrimSpace(mediaType)), "/")
	return kind == "application" && (sub == "json" || strings.HasSuffix(sub, "+json"))
}

// readAll reads the body in one buffer of the announced size.
func readAll(r *http.Request) ([]byte, error) {
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 && n < 64<<20 {
		buf.Grow(int(n) + bytes.MinRead)
	}
	if r.Body == nil {
		return nil, nil
	}
	_, err := io.Copy(&buf, r.Body)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, exception.Refuse(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes", large.Limit)
	}
	if told, ok := errors.AsType[*fault.Error](err); ok {
		return nil, told
	}
	if err != nil {
		return nil, &Error{Status: http.StatusBadRequest, Text: "There was an error parsing the body"}
	}
	return buf.Bytes(), nil
}

// minGzip is the size from which on A1111 compresses a reply, in bytes.
const minGzip = 1000

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return w
}}

// Write sends a complete body, compressed where the client takes it.
func Write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	if len(body) >= minGzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		w.WriteHeader(status)
		z := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(z)
		z.Reset(w)
		_, _ = z.Write(body) // a client that went away is not our error
		_ = z.Close()
		return
	}
	WritePlain(w, status, contentType, body)
}

// WritePlain sends a body as it is. Replies with pictures take this way: base64
// of deflated data costs more time to compress than it saves.
func WritePlain(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Error is FastAPI's own shape, {"detail": text}.
type Error struct {
	Status int
	Text   string
	Header http.Header
}

func (e *Error) Error() string { return e.Text }

// Handler answers one route. It writes the reply only when it returns nil.
type Handler func(w http.ResponseWriter, r *http.Request) error
