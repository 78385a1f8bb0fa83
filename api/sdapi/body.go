package sdapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/fault"
)

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
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes", large.Limit)
	}
	var told *fault.Error // there is no memory for it
	if errors.As(err, &told) {
		return nil, told
	}
	if err != nil {
		return nil, &plainError{status: http.StatusBadRequest, text: "There was an error parsing the body"}
	}
	return buf.Bytes(), nil
}
