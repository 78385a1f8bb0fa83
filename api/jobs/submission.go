package jobs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"sdworker/api/a1111"
	"sdworker/fault"
)

// endpoint is a route of the API that a job may call.
type endpoint struct {
	path    string
	tracked bool // takes force_task_id, by which the queue knows the job
}

// endpoints are the routes that take long enough to be jobs.
var endpoints = []endpoint{
	{a1111.Txt2Img, true},
	{a1111.Img2Img, true},
	{a1111.ExtraSingleImage, false},
	{a1111.ExtraBatchImages, false},
}

// submission is the body of POST /v1/jobs.
type submission struct {
	target  endpoint
	input   map[string]json.RawMessage
	timeout time.Duration // 0: none
	webhook *webhook      // nil: none

	key  string            // of Idempotency-Key, within the client's credentials; "" for none
	hash [sha256.Size]byte // of the body, when there is a key
}

// readSubmission reads {"endpoint": "txt2img", "input": {...}}, or the same as
// {"api": {"method": "POST", "endpoint": ...}, "payload": {...}}, which RunPod
// workers for A1111 take.
func (s *Server) readSubmission(r *http.Request) (*submission, error) {
	raw, err := io.ReadAll(r.Body)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the request body is larger than %d bytes", large.Limit)
	}
	if told, ok := errors.AsType[*fault.Error](err); ok {
		status := http.StatusRequestEntityTooLarge
		if told.Code == fault.Busy {
			status = http.StatusServiceUnavailable
		}
		return nil, refuse(status, "%s", told.Msg)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the request body could not be read")
	}
	var body struct {
		Endpoint string          `json:"endpoint"`
		Input    json.RawMessage `json:"input"`
		API      *struct {
			Method   string `json:"method"`
			Endpoint string `json:"endpoint"`
		} `json:"api"`
		Payload json.RawMessage `json:"payload"`
		Timeout float64         `json:"timeout"` // seconds from now
		Webhook string          `json:"webhook"` // told when the job has ended
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		why := strings.TrimPrefix(err.Error(), "json: ")
		if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			why = fmt.Sprintf("%s must not be a JSON %s", cmp.Or(strings.TrimPrefix(typed.Field, "."), "a job"), typed.Value)
		}
		return nil, invalid(`%s; send {"endpoint": "txt2img", "input": {...}} with the fields of that route in input`, why)
	}
	sub := &submission{}
	name, input, field := body.Endpoint, body.Input, "input"
	if body.API != nil {
		if m := body.API.Method; m != "" && !strings.EqualFold(m, http.MethodPost) {
			return nil, invalid("api.method is %q; a job is a POST", m)
		}
		name, input, field = body.API.Endpoint, body.Payload, "payload"
	}
	if sub.target, err = findEndpoint(name); err != nil {
		return nil, err
	}
	if json.Unmarshal(input, &sub.input) != nil || sub.input == nil {
		return nil, invalid("%s must be an object with the fields of %s", field, sub.target.path)
	}
	const longest = 7 * 24 * time.Hour
	if body.Timeout < 0 || body.Timeout > longest.Seconds() {
		return nil, invalid("timeout is %g; give seconds from 0, for none, to %g", body.Timeout, longest.Seconds())
	}
	sub.timeout = time.Duration(body.Timeout * float64(time.Second))
	if body.Webhook != "" {
		if sub.webhook, err = s.cfg.Webhooks.newWebhook(body.Webhook); err != nil {
			return nil, err
		}
	}
	if sub.key = idempotencyKey(r); sub.key != "" {
		sub.hash = sha256.Sum256(raw)
	}
	return sub, nil
}

// idempotencyKey is that of a request within the client's credentials, "" for none.
func idempotencyKey(r *http.Request) string {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return ""
	}
	return fmt.Sprintf("%q %q", r.Header.Get("Authorization"), key)
}

func findEndpoint(name string) (endpoint, error) {
	path := "/" + strings.Trim(name, "/")
	if !strings.HasPrefix(path, a1111.Prefix) {
		path = a1111.Prefix + strings.TrimPrefix(path, "/")
	}
	var names []string
	for _, e := range endpoints {
		if e.path == path {
			return e, nil
		}
		names = append(names, strings.TrimPrefix(e.path, a1111.Prefix))
	}
	return endpoint{}, invalid("endpoint is %q; it must be one of %s", name, strings.Join(names, ", "))
}

// body is the request to the API. The id of the job is its task id.
func (s *submission) body(id string) []byte {
	if s.target.tracked {
		s.input["force_task_id"], _ = json.Marshal(id) // a string always encodes
	}
	body, _ := json.Marshal(s.input) // it was valid JSON when it was read
	s.input = nil
	return body
}
