package jobs

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// document is what clients see of a job.
type document struct {
	ID       string     `json:"id"`
	Object   string     `json:"object"` // "job"
	Status   State      `json:"status"`
	Endpoint string     `json:"endpoint"`
	Created  time.Time  `json:"created_at"`
	Started  *time.Time `json:"started_at"`  // null while it waits
	Finished *time.Time `json:"finished_at"` // null until it ends
	Position *int       `json:"position,omitempty"`
	Progress *progress  `json:"progress,omitempty"`
	Error    *failure   `json:"error,omitempty"`

	// output is the API's reply of a completed job, put in last: it is large and
	// needs no second encoding.
	output []byte
}

// failure tells why a job has no output.
type failure struct {
	Status  int    `json:"status"`  // HTTP status that the API, or a timeout, stands for
	Message string `json:"message"` // one sentence
	Body    any    `json:"body"`    // of the API's reply; null when the job was stopped
}

func (d *document) withoutOutput() *document {
	d.output = nil
	return d
}

// document describes j as it is known without a look at the queue.
func (j *job) document() *document {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := &document{ID: j.id, Object: "job", Status: j.state, Endpoint: j.endpoint.path, Created: j.created.UTC()}
	d.Started, d.Finished = shown(j.started), shown(j.finished)
	switch {
	case j.state == Completed:
		d.output = j.reply.Body
	case errors.Is(j.cause, errTimeout):
		d.Error = &failure{Status: http.StatusGatewayTimeout, Message: j.cause.Error()}
	case j.cause != nil:
		d.Error = &failure{Status: http.StatusServiceUnavailable, Message: j.cause.Error()}
	case j.state == Failed:
		d.Error = newFailure(j.reply.Status, j.reply.Body)
	}
	return d
}

func shown(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// newFailure reads the two shapes of the API's errors.
func newFailure(status int, body []byte) *failure {
	f := &failure{Status: status, Message: http.StatusText(status)}
	var reply struct {
		Detail any    `json:"detail"`
		Errors string `json:"errors"`
	}
	if json.Unmarshal(body, &f.Body) != nil || json.Unmarshal(body, &reply) != nil {
		f.Body = string(body)
		return f
	}
	switch detail := reply.Detail.(type) {
	case string:
		if detail != "" {
			f.Message = detail
		} else if reply.Errors != "" {
			f.Message = reply.Errors
		}
	case []any:
		if text, err := json.Marshal(detail); err == nil {
			f.Message = string(text)
		}
	}
	return f
}

// writeDocument sends d with its output.
func writeDocument(w http.ResponseWriter, status int, d *document) error {
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if d.output == nil {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body) // a client that went away is not our error
		return nil
	}
	const key = `,"output":`
	body = append(body[:len(body)-1], key...)
	h.Set("Content-Length", strconv.Itoa(len(body)+len(d.output)+1))
	w.WriteHeader(status)
	for _, part := range [][]byte{body, d.output, {'}'}} {
		if _, err := w.Write(part); err != nil {
			return nil //nolint:nilerr // a client that went away is not our error
		}
	}
	return nil
}
