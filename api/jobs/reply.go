package jobs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sdworker/api/a1111"
)

// replyError is an error with its status.
type replyError struct {
	status int
	text   string
}

func (e *replyError) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &replyError{status, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return refuse(http.StatusUnprocessableEntity, format, args...)
}

// writeError answers {"detail": text}, as the API does for a route that is not
// there.
func writeError(w http.ResponseWriter, err error) {
	var reply *replyError
	if !errors.As(err, &reply) {
		reply = &replyError{http.StatusInternalServerError, "internal error"}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			reply = &replyError{http.StatusServiceUnavailable, "the request ended early"}
		}
	}
	body, _ := json.Marshal(errorBody{Detail: reply.text})
	w.Header().Set("Content-Type", "application/json")
	if reply.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(reply.status)
	_, _ = w.Write(body)
}

// errorBody is the reply with an error.
type errorBody struct {
	Detail string `json:"detail"`
}

// copyReply sends a reply of the API.
func copyReply(w http.ResponseWriter, reply *a1111.Reply) {
	maps.Copy(w.Header(), reply.Header)
	w.WriteHeader(reply.Status)
	_, _ = w.Write(reply.Body)
}

// maxWait bounds the query parameter wait, in seconds.
const maxWait = 300

// wait waits for the end of j as long as the query parameter wait asks.
func wait(r *http.Request, j *job) error {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(0 <= seconds && seconds <= maxWait) {
		return invalid("wait is %q; give seconds from 0 to %d", text, maxWait)
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-j.done:
	case <-timer.C:
	case <-r.Context().Done():
	}
	return nil
}

// list handles GET /v1/jobs.
func (s *Server) list(w http.ResponseWriter, r *http.Request) error {
	const most, usual = 1000, 100
	query := r.URL.Query()
	limit := usual
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return invalid("limit is %q; give 1 to %d", text, most)
		}
		limit = n
	}
	states := []State{Queued, Running, Completed, Failed, Canceled}
	wanted := State(query.Get("status"))
	if wanted != "" && !slices.Contains(states, wanted) {
		return invalid("status is %q; it must be one of %v", wanted, states)
	}
	data, more := []*document{}, false
	for _, j := range s.store.all() {
		d := describe(j)
		if wanted != "" && d.Status != wanted {
			continue
		}
		if more = len(data) == limit; more {
			break
		}
		data = append(data, d)
	}
	body, err := json.Marshal(jobList{Object: "list", Data: data, HasMore: more})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
	return nil
}

// image handles GET /v1/jobs/{id}/images/{n}, n counting from 0.
func (s *Server) image(w http.ResponseWriter, r *http.Request) error {
	j, err := s.store.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	d := j.document()
	if d.Status != Completed {
		return refuse(http.StatusConflict, "the job is %s and has no pictures", d.Status)
	}
	var output struct {
		Images []string `json:"images"` // of all routes but extra-single-image
		Image  string   `json:"image"`
	}
	if err := json.Unmarshal(d.output, &output); err != nil {
		return err
	}
	if output.Image != "" {
		output.Images = []string{output.Image}
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 0 || n >= len(output.Images) {
		return refuse(http.StatusNotFound, "the job has %d pictures, counted from 0", len(output.Images))
	}
	file, err := base64.StdEncoding.DecodeString(output.Images[n])
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", http.DetectContentType(file))
	w.Header().Set("Content-Length", strconv.Itoa(len(file)))
	w.Header().Set("Cache-Control", "private, max-age=3600")
	_, _ = w.Write(file)
	return nil
}

// jobList is the reply of GET /v1/jobs.
type jobList struct {
	Object  string      `json:"object"` // "list"
	Data    []*document `json:"data"`
	HasMore bool        `json:"has_more"`
}
