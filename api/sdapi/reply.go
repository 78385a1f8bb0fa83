package sdapi

import (
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"sdworker/api/sdapi/pyjson"
)

// minGzip is the size from which on A1111 compresses a reply, in bytes.
const minGzip = 1000

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return w
}}

// writeJSON sends v as FastAPI would.
func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := pyjson.Marshal(v, pyjson.Compact)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	write(w, r, status, "application/json", body)
}

// write sends a complete body, compressed where the client takes it.
func write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
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
	writePlain(w, status, contentType, body)
}

// writePlain sends a body as it is. Replies with pictures take this way: base64
// of deflated data costs more time to compress than it saves.
func writePlain(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
