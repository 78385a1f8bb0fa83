package fetch_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// server serves one file the way a test wants it.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	body     []byte
	etag     string
	requests []*http.Request
	// before may answer a request itself and return true. It is called with the
	// number of the request, from 1.
	before func(n int, w http.ResponseWriter, r *http.Request) bool
}

func serve(t *testing.T, body []byte) *server {
	t.Helper()
	s := &server{body: body, etag: `"one"`}
	s.Server = httptest.NewServer(http.HandlerFunc(s.handle))
	t.Cleanup(s.Close)
	return s
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	n, body, etag, before := len(s.requests), s.body, s.etag, s.before
	s.mu.Unlock()
	if before != nil && before(n, w, r) {
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// replace puts another version of the file on the server.
func (s *server) replace(body []byte, etag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.etag = body, etag
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// isProbe tells the first request of a download from those for its parts.
func isProbe(r *http.Request) bool { return r.Header.Get("Range") == "bytes=0-0" }

// cut sends the head of an honest answer and n bytes, then drops the
// connection.
func cut(w http.ResponseWriter, r *http.Request, body []byte, n int) {
	var first, last int
	_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
	status := http.StatusPartialContent
	if err != nil {
		first, last, status = 0, len(body)-1, http.StatusOK
	}
	w.Header().Set("ETag", `"one"`)
	w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
	if status == http.StatusPartialContent {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body[first:min(last+1, first+n)])
	_ = http.NewResponseController(w).Flush()
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}

// answer sets before.
func (s *server) answer(before func(n int, w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}
