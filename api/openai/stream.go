package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sdworker/api/a1111"
	"sdworker/inference"
)

// stream answers with server-sent events: unfinished pictures, then the
// finished ones. An error before the work begins has its usual form.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, q *request) error {
	// The end of this function ends the request to A1111, too.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	work := make(chan inference.Event, 1) // the latest one
	ctx = inference.WithObserver(ctx, func(e inference.Event) {
		select {
		case <-work:
		default:
		}
		work <- e
	})
	fields, err := json.Marshal(q.fields)
	if err != nil {
		return err
	}
	done := make(chan *a1111.Reply, 1)
	go func() { done <- s.cfg.API.Post(ctx, q.path, fields) }()

	out := &events{w: w, request: q}
	for seen := 0; ; {
		select {
		case e := <-work:
			out.begin() // A1111 has accepted the request
			// Spread over the work, as far as previews are made.
			due := float64(out.partial+1) / float64(q.partial+1)
			if e.Job.PreviewID > seen && out.partial < q.partial && e.Job.Progress.Fraction() >= due {
				seen = e.Job.PreviewID
				if picture, err := s.cfg.Preview(e.Job); err == nil && picture != "" {
					out.partialImage(picture)
				}
			}
		case reply := <-done:
			return out.finish(q, reply)
		case <-ctx.Done():
			<-done
			return nil
		}
		if out.err != nil {
			cancel()
		}
	}
}

// events writes the events of one reply.
type events struct {
	w       http.ResponseWriter
	request *request
	begun   bool
	partial int   // partial images sent
	err     error // the client went away
}

// begin sends the header, so that the client and what is between know that an
// answer comes.
func (e *events) begin() {
	if e.begun {
		return
	}
	e.begun = true
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	e.w.WriteHeader(http.StatusOK)
	e.err = http.NewResponseController(e.w).Flush()
}

func (e *events) send(event string, fields map[string]any) {
	e.begin()
	if e.err != nil {
		return
	}
	fields["type"] = event
	data, err := json.Marshal(fields)
	if err == nil {
		_, err = fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", event, data)
	}
	if err == nil {
		err = http.NewResponseController(e.w).Flush()
	}
	e.err = err
}

func (e *events) partialImage(dataURL string) {
	head, data, _ := strings.Cut(dataURL, ";base64,")
	facts := e.request.facts("") // of the picture that this becomes
	e.send(e.request.event+".partial_image", map[string]any{
		"b64_json": data, "partial_image_index": e.partial, "size": facts.Size, "quality": facts.Quality,
		"created_at": time.Now().Unix(), "output_format": strings.TrimPrefix(head, "data:image/"), "background": "opaque",
	})
	e.partial++
}

// finish sends the pictures, or the error in the form that is still possible.
func (e *events) finish(q *request, reply *a1111.Reply) error {
	if reply.Status != http.StatusOK {
		failure := fromReply(reply)
		if !e.begun {
			return failure
		}
		e.send("error", map[string]any{"error": failure})
		return nil
	}
	q.asURL = false // events have no other form
	images, err := q.images(reply.Body)
	if err != nil {
		return err
	}
	for _, m := range images {
		facts := q.facts(m.Base64)
		e.send(q.event+".completed", map[string]any{
			"b64_json": m.Base64, "created_at": time.Now().Unix(), "output_format": q.format, "background": "opaque",
			"size": facts.Size, "quality": facts.Quality, "usage": facts.Usage,
		})
	}
	return nil
}
