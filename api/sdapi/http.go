package sdapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"sdworker/api/gate"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
)

// handler answers one route. It writes the reply only when it returns nil.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one method of one path.
type route struct {
	method, path string
	handle       handler
	access       gate.Access
	body         *schema.Model // of the OpenAPI document; nil for none
	query        []schema.Field
	summary      string
	also         string // a status other than 200 whose reply has the same shape
	hidden       bool   // left out of the OpenAPI document
}

// Door is the API for a gate.Mux, which checks who calls it.
func (s *Server) Door() gate.Door {
	d := gate.Door{Below: []string{"/"}, NotFound: s.handler(s.elsewhere), Refuse: s.Refuse}
	for i := range s.routes {
		rt := &s.routes[i]
		path := rt.path
		if strings.HasSuffix(path, "/") {
			path += "{$}"
		}
		d.Routes = append(d.Routes, gate.Route{Method: rt.method, Path: path, Access: rt.access, Handler: s.handler(rt.handle)})
	}
	return d
}

// Refuse answers what does not reach a handler as A1111 does.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.handler(func(w http.ResponseWriter, _ *http.Request) error {
		if status != http.StatusMethodNotAllowed {
			return refuse(status, "%s", text)
		}
		first, _, _ := strings.Cut(w.Header().Get("Allow"), ",") // A1111's router looks no further
		w.Header().Set("Allow", first)
		return &plainError{status: status, text: text}
	}).ServeHTTP(w, r)
}

// handler runs h with what all routes have: the time of the reply, a logger in the
// context, A1111's answer to errors, and to a panic its answer to an unexpected
// exception.
func (s *Server) handler(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &timedWriter{ResponseWriter: w, started: time.Now()}
		r = r.WithContext(s.cfg.Log.WithContext(r.Context()))
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.cfg.Log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("path", r.URL.Path).Msg("a handler panicked")
				s.writeError(w, r, fmt.Errorf("panic: %v", p))
			}
		}()
		if err := h(w, r); err != nil {
			s.writeError(w, r, err)
		}
	})
}

// elsewhere redirects a path with one slash too many or too few.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) error {
	path, slash := strings.CutSuffix(r.URL.Path, "/")
	if !slash {
		path += "/"
	}
	if path != "" && s.knows(path) {
		target := *r.URL
		target.Path, target.RawPath = path, ""
		if r.Host != "" && !strings.HasPrefix(path, "//") {
			target.Scheme, target.Host = "http", r.Host
			if r.TLS != nil {
				target.Scheme = "https"
			}
		}
		w.Header().Set("Location", target.String())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	}
	return &plainError{status: http.StatusNotFound, text: "Not Found"}
}

// knows tells whether there is a route at a path.
func (s *Server) knows(path string) bool {
	return slices.ContainsFunc(s.routes, func(rt route) bool { return rt.path == path })
}

// answer is a handler that always sends the same value.
func (s *Server) answer(v any) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.writeJSON(w, r, http.StatusOK, v)
		return nil
	}
}

// value is a handler that sends what f returns.
func (s *Server) value(f func(r *http.Request) (any, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := f(r)
		if err != nil {
			return err
		}
		s.writeJSON(w, r, http.StatusOK, v)
		return nil
	}
}

// empty is the reply {}.
var empty = pyjson.NewObject()

// readModel reads the request body by a model.
func (s *Server) readModel(r *http.Request, m *schema.Model) (schema.Values, error) {
	body, err := s.readBody(r)
	if err != nil {
		return schema.Values{}, err
	}
	return m.Read(body)
}

// readObject reads a request body that may be any object.
func (s *Server) readObject(r *http.Request) (*pyjson.Object, error) {
	body, err := s.readBody(r)
	if err != nil {
		return nil, err
	}
	return schema.ReadDict(body)
}

// readBody reads the request body as FastAPI does: JSON when the content type
// says so or is missing, otherwise the raw bytes, which no model takes for an
// object.
func (s *Server) readBody(r *http.Request) (any, error) {
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
		return nil, &plainError{status: http.StatusBadRequest, text: "There was an error parsing the body"}
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
		return nil, refuse(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes", large.Limit)
	}
	if told, ok := errors.AsType[*fault.Error](err); ok {
		return nil, told
	}
	if err != nil {
		return nil, &plainError{status: http.StatusBadRequest, text: "There was an error parsing the body"}
	}
	return buf.Bytes(), nil
}

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

// text is a handler for a fixed text.
func text(contentType, body string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		write(w, r, http.StatusOK, contentType, []byte(body))
		return nil
	}
}
