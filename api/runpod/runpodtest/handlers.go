package runpodtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP serves the worker's routes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, query := r.URL.Path, r.URL.Query()
	if s.opt.Style == Hub {
		// RunPod's SDK appends "&key=value" to templates without a query.
		var glued string
		path, glued, _ = strings.Cut(path, "&")
		if extra, err := url.ParseQuery(glued); err == nil {
			maps.Copy(query, extra)
		}
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 4 || parts[0] != "v2" || parts[1] != Endpoint {
		s.note("%s %s: no such route", r.Method, r.URL)
		http.NotFound(w, r)
		return
	}
	route, worker, job := parts[2], parts[3], ""
	if len(parts) == 5 {
		job = parts[4]
	}
	if !s.admit(w, r, route, worker, query) {
		return
	}
	switch r.Method + " " + route {
	case "GET job-take", "GET job-take-batch":
		s.take(w, r, query)
	case "GET job-stop":
		s.stop(w, r)
	case "POST job-done":
		s.done(w, r, job, query)
	case "POST job-stream":
		s.stream(w, r, job, query)
	case "GET ping":
		s.ping(w, r, query)
	default:
		s.note("%s %s: no such route", r.Method, r.URL)
		http.NotFound(w, r)
	}
}

func (s *Server) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violate(format, args...)
}

// admit checks what all calls have in common.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, route, worker string, query url.Values) bool {
	if got := r.Header.Get("Authorization"); got != Key {
		s.note("%s: Authorization is %q", route, got)
		http.Error(w, `{"error":"unauthorized"}`, http.StatusUnauthorized)
		return false
	}
	unreplaced := s.opt.Style == Hub && worker == "$RUNPOD_POD_ID" // the SDK leaves it in job-take
	if worker != Worker && !unreplaced {
		s.note("%s: the worker in the path is %q", route, worker)
	}
	if s.opt.Style == Production && query.Get("gpu") != gpu {
		s.note("%s: the query of the template is lost: %s", route, r.URL.RawQuery)
	}
	return true
}

// The most job-takes without a job in one second that a worker may need.
const maxEmptyTakes = 60

func (s *Server) take(w http.ResponseWriter, r *http.Request, query url.Values) {
	batch := 0
	if strings.Contains(r.URL.Path, "/job-take-batch/") {
		n, err := strconv.Atoi(query.Get("batch_size"))
		if err != nil || n < 1 {
			s.note("job-take-batch: batch_size is %q", query.Get("batch_size"))
			n = 1
		}
		batch = n
	}
	busy := query.Get("job_in_progress")
	s.mu.Lock()
	s.takes = append(s.takes, Take{At: time.Now(), Batch: batch, Busy: busy == "1"})
	if busy != "0" && busy != "1" {
		s.violate("job-take: job_in_progress is %q", busy)
	}
	if busy == "0" {
		for _, j := range s.jobs {
			if j.held() {
				s.violate("job-take: job_in_progress=0 while the worker has %s", j.ID)
			}
		}
	}
	s.notify()
	s.mu.Unlock()

	answer, _ := s.next(TakeRoute)
	if answer.play(w, r) {
		if answer.Status != http.StatusOK {
			s.empty()
		}
		return
	}
	records := s.await(r, max(batch, 1))
	if len(records) == 0 {
		s.empty()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	raws := make([]string, len(records))
	for i, j := range records {
		raws[i] = j.raw
	}
	body := raws[0]
	if batch > 0 {
		body = "[" + strings.Join(raws, ",") + "]"
	}
	if answer.Cut || answer.Lose {
		// A job whose answer was cut goes back to the queue.
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.queue = append(slices.Clone(records), s.queue...)
			s.notify()
		}()
	} else {
		s.mu.Lock()
		for _, j := range records {
			j.HandedOut = append(j.HandedOut, time.Now())
		}
		s.notify()
		s.mu.Unlock()
	}
	answer.send(w, http.StatusOK, "application/json", []byte(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range records {
		j.sent = time.Now()
	}
}

// empty notes a job-take without a job, and a flood of them.
func (s *Server) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.empties = append(slices.DeleteFunc(s.empties, func(t time.Time) bool { return now.Sub(t) > time.Second }), now)
	if len(s.empties) == maxEmptyTakes+1 {
		s.violate("job-take: more than %d calls without a job in one second", maxEmptyTakes)
	}
}

// await waits for up to n jobs. A poll whose client has gone takes none.
func (s *Server) await(r *http.Request, n int) []*Record {
	hold := time.NewTimer(s.opt.Hold)
	defer hold.Stop()
	s.mu.Lock()
	s.polling++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.polling--
	}()
	for {
		s.mu.Lock()
		s.queue = slices.DeleteFunc(s.queue, func(j *Record) bool { return j.again && (len(j.Finals) > 0 || !j.Cancelled.IsZero()) })
		if r.Context().Err() == nil && len(s.queue) > 0 {
			n = min(n, len(s.queue))
			records := slices.Clone(s.queue[:n])
			s.queue = s.queue[n:]
			s.mu.Unlock()
			return records
		}
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if closed {
			return nil
		}
		select {
		case <-changed:
		case <-hold.C:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	answer, _ := s.next(StopRoute)
	if answer.play(w, r) {
		return
	}
	hold := time.NewTimer(s.opt.Hold)
	defer hold.Stop()
	for {
		s.mu.Lock()
		ids, changed, closed := s.stops, s.changed, s.closed
		if len(ids) > 0 && r.Context().Err() == nil {
			if !answer.Cut && !answer.Lose { // else the worker does not hear of it
				s.stops = nil
				for _, id := range ids {
					s.jobs[id].Cancelled = time.Now()
				}
				s.notify()
			}
			s.mu.Unlock()
			body, _ := json.Marshal(map[string]any{"jobsToStop": ids}) // strings always encode
			answer.send(w, http.StatusOK, "application/json", body)
			return
		}
		s.mu.Unlock()
		if closed {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		select {
		case <-changed:
		case <-hold.C:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// Limits of the platform, in bytes.
const (
	runLimit    = 10_000_000
	syncLimit   = 20_000_000
	streamLimit = 1_000_000
)

func (s *Server) limit(id string) int {
	switch {
	case s.opt.MaxResult > 0:
		return s.opt.MaxResult
	case strings.HasPrefix(id, "sync-"):
		return syncLimit
	default:
		return runLimit
	}
}

// stopGrace is how long after a stop signal an answer may still be on its way.
const stopGrace = 100 * time.Millisecond

func (s *Server) done(w http.ResponseWriter, r *http.Request, id string, query url.Values) {
	body, err := io.ReadAll(r.Body)
	at := time.Now()
	if err != nil {
		return // the worker has hung up
	}
	s.checkPost("job-done", r, id, query)
	var post struct {
		Status  string          `json:"status"`
		Output  json.RawMessage `json:"output"`
		Error   any             `json:"error"`
		StopPod bool            `json:"stopPod"`
	}
	if err := json.Unmarshal(body, &post); err != nil {
		s.note("job-done: %s: the body is no JSON object: %v", id, err)
		http.Error(w, "bad body", http.StatusBadRequest)
		return
	}
	progress := post.Status == "IN_PROGRESS"
	route := DoneRoute
	if progress {
		route = ProgressRoute
	}
	answer, _ := s.next(route)
	if !progress && (answer.Status != 0 || answer.Drop) {
		s.mu.Lock()
		if j := s.jobs[id]; j != nil {
			j.Refused++
		}
		s.notify()
		s.mu.Unlock()
	}
	if answer.play(w, r) {
		return
	}

	s.mu.Lock()
	j := s.jobs[id]
	status := http.StatusOK
	switch {
	case j == nil || len(j.HandedOut) == 0:
		s.violate("job-done: %s was never handed out", id)
		status = http.StatusNotFound
	case progress && len(j.Finals) > 0:
		s.violate("job-done: progress after the final answer reopens %s", id)
	case progress:
		j.Progress = append(j.Progress, post.Output)
	case len(body) > s.limit(id):
		j.Refused++
		status = http.StatusBadRequest
	default:
		if len(j.Finals) > 0 && !j.lost {
			s.violate("job-done: %s was answered twice", id)
		}
		if !j.Cancelled.IsZero() && at.Sub(j.Cancelled) > s.bound(stopGrace) {
			s.violate("job-done: %s was answered although it was stopped", id)
		}
		j.lost = answer.Lose
		final := Final{At: at, Output: post.Output, StopPod: post.StopPod, IsStream: query.Get("isStream") == "true", Bytes: len(body)}
		if post.Error != nil {
			final.Error = fmt.Sprint(post.Error)
		}
		if post.Output == nil && post.Error == nil {
			s.violate("job-done: %s has neither output nor error", id)
		}
		if len(j.Parts) > 0 && !final.IsStream {
			s.violate("job-done: the stream of %s was not closed with isStream=true", id)
		}
		j.Finals = append(j.Finals, final)
	}
	s.notify()
	s.mu.Unlock()
	answer.send(w, status, "application/json", []byte("{}"))
}

// checkPost checks what result and stream posts have in common.
func (s *Server) checkPost(route string, r *http.Request, id string, query url.Values) {
	if got := r.Header.Get("X-Request-ID"); got != id {
		s.note("%s: %s: X-Request-ID is %q", route, id, got)
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
		s.note("%s: %s: Content-Type is %q", route, id, got)
	}
	if got := r.Header.Get("charset"); got != "utf-8" {
		s.note("%s: %s: the charset header is %q", route, id, got)
	}
	if got := query.Get("isStream"); got != "true" && got != "false" {
		s.note("%s: %s: isStream is %q", route, id, got)
	}
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, id string, query url.Values) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.checkPost("job-stream", r, id, query)
	answer, _ := s.next(StreamRoute)
	if answer.play(w, r) {
		return
	}
	var post struct {
		Output json.RawMessage `json:"output"`
	}
	s.mu.Lock()
	j := s.jobs[id]
	switch err := json.Unmarshal(body, &post); {
	case err != nil || post.Output == nil:
		s.violate("job-stream: %s: the body is %q", id, body)
	case j == nil || len(j.HandedOut) == 0:
		s.violate("job-stream: %s was never handed out", id)
	case len(j.Finals) > 0:
		s.violate("job-stream: a part of %s after its final answer", id)
	case len(body) > streamLimit:
		s.violate("job-stream: a part of %s has %d bytes", id, len(body))
	default:
		j.Parts = append(j.Parts, post.Output)
	}
	s.notify()
	s.mu.Unlock()
	answer.send(w, http.StatusOK, "application/json", []byte("{}"))
}

func (s *Server) ping(w http.ResponseWriter, r *http.Request, query url.Values) {
	now := time.Now()
	p := Ping{At: now, Version: query.Get("runpod_version"), Unhealthy: query.Get("status") == "unhealthy", Check: query.Get("check"), Reason: query.Get("reason")}
	if list, ok := query["job_id"]; ok {
		p.Jobs = strings.Split(list[0], ",")
	}
	s.mu.Lock()
	if p.Version == "" {
		s.violate("ping: no runpod_version")
	}
	if slices.Contains(p.Jobs, "") {
		s.violate("ping: job_id names an empty id")
	}
	if n := len(s.pings); n > 0 && !p.Unhealthy {
		if gap := now.Sub(s.pings[n-1].At); gap > s.bound(3*s.opt.PingInterval) {
			s.violate("ping: none for %s at an interval of %s", gap.Round(time.Millisecond), s.opt.PingInterval)
		}
	}
	// A heartbeat may have been on its way while a job changed hands.
	slack := s.bound(min(s.opt.PingInterval, time.Second))
	for _, j := range s.jobs {
		named := slices.Contains(p.Jobs, j.ID)
		if j.held() && !named && !p.Unhealthy && !j.sent.IsZero() && now.Sub(j.sent) > slack {
			s.violate("ping: %s is not named, the platform would give it up", j.ID)
		}
		if named && len(j.Finals) > 0 && !j.lost && now.Sub(j.Finals[0].At) > slack {
			s.violate("ping: %s is named although it is answered", j.ID)
		}
	}
	s.pings = append(s.pings, p)
	s.notify()
	s.mu.Unlock()
	answer, _ := s.next(PingRoute)
	if answer.play(w, r) {
		return
	}
	answer.send(w, http.StatusOK, "application/json", []byte("{}"))
}
