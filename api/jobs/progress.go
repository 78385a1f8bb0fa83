package jobs

import (
	"context"
	"encoding/json"
	"net/http"

	"sdworker/api/loopback"
	"sdworker/inference"
)

// progress is how far a running job is.
type progress struct {
	Fraction *float64        `json:"fraction"` // 0..1 of the whole job
	ETA      *float64        `json:"eta"`      // seconds until the pictures are there
	Phase    inference.Phase `json:"phase"`
	Step     int             `json:"step"`  // done in this pass, or units of the phase
	Steps    int             `json:"steps"` // of this pass
	Pass     int             `json:"pass"`  // passes done: one for a batch, two with hires
	Passes   int             `json:"passes"`
	Text     *string         `json:"text"` // the API's words for it, if any
}

// preview is a picture of the unfinished job.
type preview struct {
	ID    int    `json:"id"`    // grows within a job
	Image string `json:"image"` // data URL
}

// look describes j as it is now.
func (s *Server) look(r *http.Request, j *job) *document {
	d, _ := s.watch(r.Context(), loopback.Credentials(r), j, noPreview)
	return d
}

// Values for the preview that a client has seen.
const (
	noPreview = -2 // it wants none
	unseen    = -1
)

// watch is look with the latest preview, unless the client has seen it.
func (s *Server) watch(ctx context.Context, client http.Header, j *job, seen int) (*document, *preview) {
	state, ahead, queued := s.cfg.Queue.Find(j.id)
	running := queued && ahead == 0 && !state.Started.IsZero()
	if running {
		j.run(state.Started)
	}
	d := j.document()
	switch {
	case d.Status.ended():
		return d, nil
	case running:
		p := state.Progress
		d.Progress = &progress{Phase: p.Phase, Step: p.Step, Steps: p.Steps, Pass: p.Job, Passes: p.Jobs}
		return d, s.estimate(ctx, client, j.id, d.Progress, seen)
	case queued:
		d.Position = &ahead
	}
	return d, nil
}

// estimate asks the API how far a running task is, for one notion of progress,
// remaining time and previews.
func (s *Server) estimate(ctx context.Context, client http.Header, id string, p *progress, seen int) *preview {
	body, err := json.Marshal(map[string]any{"id_task": id, "id_live_preview": seen, "live_preview": seen != noPreview})
	if err != nil {
		return nil
	}
	reply := loopback.Post(ctx, s.cfg.API, "/internal/progress", client, body)
	var task struct {
		Progress, ETA *float64
		TextInfo      *string
		LivePreview   *string `json:"live_preview"`
		PreviewID     int     `json:"id_live_preview"`
	}
	if reply.Status != http.StatusOK || json.Unmarshal(reply.Body, &task) != nil {
		return nil
	}
	p.Fraction, p.ETA, p.Text = task.Progress, task.ETA, task.TextInfo
	if task.LivePreview == nil {
		return nil
	}
	return &preview{ID: task.PreviewID, Image: *task.LivePreview}
}
