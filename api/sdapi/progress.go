package sdapi

import (
	"net/http"
	"strconv"

	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
)

// jobState is what A1111's shared state says of the running job.
type jobState struct {
	inference.JobState
	running bool
	jobs    int // job_count: 0 when idle, -1 while the number is not known
	step    int
	steps   int // of the pass, 0 when none is being sampled
	job     string
}

func (s *Server) jobState() jobState {
	running, ok := s.cfg.Queue.Running()
	if !ok || running.Started.IsZero() {
		return jobState{JobState: inference.JobState{Started: s.cfg.Queue.Last().Started}}
	}
	return stateOf(running)
}

// stateOf is the state of a job that runs.
func stateOf(running inference.JobState) jobState {
	j := jobState{JobState: running, running: true, jobs: -1, job: jobName(running)}
	if running.Progress.Jobs > 0 {
		j.jobs = running.Progress.Jobs
	}
	if running.Progress.Phase == inference.PhaseSampling {
		j.step, j.steps = running.Progress.Step, running.Progress.Steps
	}
	return j
}

// jobName is the text of "job": the kind of job until its batches are counted.
func jobName(j inference.JobState) string {
	switch {
	case j.Progress.Jobs > 0 && (j.Name == generation.Txt2Img.Name || j.Name == generation.Img2Img.Name):
		return "Batch " + strconv.Itoa(min(j.Progress.Job+1, j.Progress.Jobs)) + " out of " + strconv.Itoa(j.Progress.Jobs)
	case j.Name == generation.Txt2Img.Name || j.Name == generation.Img2Img.Name:
		return "scripts_" + j.Name
	}
	return j.Name
}

// progress handles GET /sdapi/v1/progress.
func (s *Server) progress(r *http.Request) (any, error) {
	skipImage, err := schema.QueryBool("skip_current_image", r.URL.Query()["skip_current_image"], false)
	if err != nil {
		return nil, err
	}
	j := s.jobState()
	var fraction, eta float64
	var image, text any
	if j.running {
		fraction = min(1, 0.01+j.Progress.Fraction())
		elapsed := s.cfg.Now().Sub(j.Started).Seconds()
		eta = elapsed/fraction - elapsed
		if !skipImage && j.Preview != nil {
			file, err := picture.Encode(picture.Encodable{Pixels: *j.Preview}, s.Options.Values())
			if err != nil {
				return nil, err
			}
			image = pyjson.Base64(file)
		}
		text = textInfo(j.JobState)
	}
	return pyjson.NewObject("progress", fraction, "eta_relative", eta, "state", j.object(), "current_image", image, "textinfo", text), nil
}

// textInfo tells of phases that A1111 has words for.
func textInfo(j inference.JobState) any { return orNull(j.Progress.Phase.Text()) }

func (j jobState) object() *pyjson.Object {
	timestamp := "0"
	if !j.Started.IsZero() {
		timestamp = j.Started.Format(generation.TimestampLayout)
	}
	no := 0
	if j.running {
		no = j.Progress.Job
	}
	return pyjson.NewObject(
		"skipped", j.running && j.Skipped,
		"interrupted", j.running && j.Interrupted,
		"stopping_generation", false,
		"job", j.job,
		"job_count", j.jobs,
		"job_timestamp", timestamp,
		"job_no", no,
		"sampling_step", j.step,
		"sampling_steps", j.steps,
	)
}

var taskProgress = &schema.Model{Name: "modules__progress__ProgressRequest", Fields: []schema.Field{
	{Name: "id_task", Kind: schema.String, Nullable: true},
	{Name: "id_live_preview", Kind: schema.Integer, Default: int64(-1)},
	{Name: "live_preview", Kind: schema.Boolean, Default: true},
}}

// internalProgress handles POST /internal/progress, which knows tasks by id.
func (s *Server) internalProgress(r *http.Request) (any, error) {
	body, err := fastapi.ReadModel(r, taskProgress)
	if err != nil {
		return nil, err
	}
	in := request.Fields{Values: body}
	id := in.Text("id_task")
	state, ahead, found := s.cfg.Queue.Find(id)
	active := found && !state.Started.IsZero()
	reply := pyjson.NewObject("active", active, "queued", found && !active, "completed", s.Finished(id),
		"progress", nil, "eta", nil, "live_preview", nil, "id_live_preview", -1, "textinfo", nil)
	if !active {
		text := "Waiting..."
		if found {
			text = "In queue: " + strconv.Itoa(ahead) + "/" + strconv.Itoa(max(len(s.cfg.Queue.Waiting()), ahead))
		}
		reply.Set("textinfo", text)
		return reply, nil
	}
	// All of the very job that was found, not of the one that runs now.
	reply.Set("progress", state.Progress.Fraction())
	if left, ok := state.Remaining(s.cfg.Now()); ok {
		reply.Set("eta", left.Seconds())
	}
	reply.Set("textinfo", textInfo(state))
	seen, _ := in.Get("id_live_preview")
	reply.Set("id_live_preview", seen)
	if in.Flag("live_preview", true) && seen != int64(state.PreviewID) {
		picture, err := s.LivePreview(state)
		if err != nil {
			return nil, err
		}
		if picture != "" {
			reply.Set("live_preview", picture)
			reply.Set("id_live_preview", state.PreviewID)
		}
	}
	return reply, nil
}

// LivePreview is the latest preview of a job as a data URL, in the format of the
// options; "" where there is none or the options want none.
func (s *Server) LivePreview(j inference.JobState) (string, error) {
	o := s.Options.Values()
	if !o.Bool("live_previews_enable") || j.Preview == nil {
		return "", nil
	}
	format := o.Text("live_previews_image_format")
	file, err := picture.EncodeAs(format, picture.Encodable{Pixels: *j.Preview}, o)
	if err != nil {
		return "", err
	}
	return "data:" + picture.MediaType(format) + ";base64," + picture.Base64Text(file), nil
}

// pendingTasks handles GET /internal/pending-tasks.
func (s *Server) pendingTasks(*http.Request) (any, error) {
	ids := s.cfg.Queue.Waiting()
	return pyjson.NewObject("size", len(ids), "tasks", ids), nil
}
