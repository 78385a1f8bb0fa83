package jobs

import (
	"time"

	"sdworker/inference"
)

// progress is how far a running job is.
type progress struct {
	Fraction float64         `json:"fraction"` // 0..1 of the whole job
	ETA      *float64        `json:"eta"`      // seconds until the pictures are there; null while nothing tells
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

// unseen stands for the preview of a client that has seen none.
const unseen = -1

// look describes j as it is now. changed is closed at the next event.
func (j *job) look() (d *document, state inference.JobState, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d, state = j.documentLocked(), j.event.Job
	switch {
	case d.Status == Running:
		d.Progress = progressOf(state)
	case d.Status == Queued && j.queued:
		ahead := j.event.Ahead
		d.Position = &ahead
	}
	return d, state, j.changed
}

// describe is the document of j as it is now.
func describe(j *job) *document {
	d, _, _ := j.look()
	return d
}

func progressOf(j inference.JobState) *progress {
	p := &progress{
		Fraction: j.Progress.Fraction(), Phase: j.Progress.Phase,
		Step: j.Progress.Step, Steps: j.Progress.Steps, Pass: j.Progress.Job, Passes: j.Progress.Jobs,
	}
	if left, ok := j.Remaining(time.Now()); ok {
		seconds := left.Seconds()
		p.ETA = &seconds
	}
	if text := j.Progress.Phase.Text(); text != "" {
		p.Text = &text
	}
	return p
}

// preview is the latest one of a job, nil if the client has seen it.
func (s *Server) preview(j inference.JobState, seen int) *preview {
	if s.cfg.Preview == nil || j.PreviewID == seen {
		return nil
	}
	image, err := s.cfg.Preview(j)
	if err != nil || image == "" {
		return nil
	}
	return &preview{ID: j.PreviewID, Image: image}
}
