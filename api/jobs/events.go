package jobs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// lastID is the id of the event that ends a stream.
const lastID = "done"

// status is the data of the event of that name.
type status struct {
	Status   State `json:"status"`
	Position *int  `json:"position,omitempty"` // jobs ahead
}

// events handles GET /v1/jobs/{id}/events. Every event tells the whole state,
// so a client that comes back misses nothing that matters; Last-Event-ID only
// saves the preview that it has, and ends the reconnecting after the end.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	j, err := s.store.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	last := r.Header.Get("Last-Event-ID")
	if last == lastID {
		w.WriteHeader(http.StatusNoContent) // which an EventSource takes for good
		return nil
	}
	seen, err := strconv.Atoi(last)
	if err != nil {
		seen = unseen
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	e := &stream{w: w, out: http.NewResponseController(w)}

	quiet := time.NewTicker(s.cfg.Heartbeat)
	defer quiet.Stop()
	for {
		d, state, changed := j.look()
		e.changed("status", status{d.Status, d.Position}, &e.status)
		if d.Progress != nil {
			e.changed("progress", d.Progress, &e.progress)
		}
		if p := s.preview(state, seen); p != nil && d.Status == Running {
			seen = p.ID
			e.send("preview", strconv.Itoa(p.ID), marshal(p))
		}
		if d.Status.ended() {
			e.send("done", lastID, marshal(d))
			return nil
		}
		if e.sent {
			quiet.Reset(s.cfg.Heartbeat)
		}
		e.sent = false
		select {
		case <-changed:
		case <-j.done:
		case <-quiet.C:
			e.comment("waiting")
		case <-r.Context().Done():
			return nil
		}
		if e.err != nil {
			return nil
		}
	}
}

// stream writes events.
type stream struct {
	w                http.ResponseWriter
	out              *http.ResponseController
	status, progress string // data of the last event of that name
	sent             bool
	err              error // the client went away
}

// changed sends v as an event unless it is what the last one of its kind said.
func (e *stream) changed(event string, v any, last *string) {
	data := marshal(v)
	if data == *last {
		return
	}
	*last = data
	e.send(event, "", data)
}

func (e *stream) send(event, id, data string) {
	if id != "" {
		id = "id: " + id + "\n"
	}
	e.sent = true
	e.write("event: %s\n%sdata: %s\n\n", event, id, data)
}

func (e *stream) comment(text string) { e.write(": %s\n\n", text) }

// slowest is how long a client may take to accept one event.
const slowest = 30 * time.Second

func (e *stream) write(format string, args ...any) {
	if e.err != nil {
		return
	}
	_ = e.out.SetWriteDeadline(time.Now().Add(slowest)) // not every writer has one
	if _, e.err = fmt.Fprintf(e.w, format, args...); e.err == nil {
		e.err = e.out.Flush()
	}
}

// marshal encodes a value that always encodes.
func marshal(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}
