package jobs

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"sdworker/api/a1111"
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
	Webhook  *delivery  `json:"webhook,omitempty"`

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
	return j.documentLocked()
}

// documentLocked is document for a caller that holds the job's lock.
func (j *job) documentLocked() *document {
	d := &document{ID: j.id, Object: "job", Status: j.state, Endpoint: j.endpoint.path, Created: j.created.UTC()}
	d.Webhook = j.webhook.look()
	d.Started, d.Finished = shown(j.started), shown(j.finished)
	switch {
	case j.state == Completed:
		d.output = j.reply.Body
	case errors.Is(j.cause, errTimeout):
		d.Error = &failure{Status: http.StatusGatewayTimeout, Message: j.cause.Error()}
	case j.cause != nil:
		d.Error = &failure{Status: http.StatusServiceUnavailable, Message: j.cause.Error()}
	case j.state == Failed:
		d.Error = newFailure(j.reply)
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

// newFailure is what a reply of the API says about an error.
func newFailure(reply *a1111.Reply) *failure {
	f := &failure{Status: reply.Status, Message: reply.Fault().Error()}
	if json.Unmarshal(reply.Body, &f.Body) != nil {
		f.Body = string(reply.Body)
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
