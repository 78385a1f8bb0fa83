package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/gate"
	"sdworker/api/jobs"
	"sdworker/fault"
	"sdworker/inference"
)

func TestJobLife(t *testing.T) {
	f := start(t, setup{hold: true})
	made := f.send("POST", "/v1/jobs", txt2img(nil))
	j := made.job(t, 202)
	require.Equal(t, "/v1/jobs/"+j.ID, made.header.Get("Location"))
	require.Equal(t, "job", j.Object)
	require.Equal(t, "/sdapi/v1/txt2img", j.Endpoint)
	require.Len(t, j.ID, len("job-")+26, "ids cannot be guessed")
	require.WithinDuration(t, time.Now(), j.Created, time.Minute)

	<-f.at
	second := f.submit(nil)
	require.Equal(t, jobs.Queued, second.Status)
	require.Equal(t, 1, *second.Position)
	require.Nil(t, second.Started)

	f.next <- struct{}{}
	require.Equal(t, 1, <-f.at)
	j = f.get(j.ID)
	require.Equal(t, jobs.Running, j.Status)
	require.NotNil(t, j.Started)
	require.Equal(t, "sampling", j.Progress.Phase)
	require.Equal(t, 1, j.Progress.Step)
	require.Equal(t, 3, j.Progress.Steps)
	require.InDelta(t, 1.0/3, *j.Progress.Fraction, 1e-6)
	require.Positive(t, *j.Progress.ETA)

	f.next <- struct{}{}
	<-f.at
	f.next <- struct{}{}
	j = f.wait(j.ID)
	require.Equal(t, jobs.Completed, j.Status)
	require.Len(t, j.Output.Images, 1)
	require.EqualValues(t, 7, j.Output.Parameters["seed"])
	require.Equal(t, j.ID, j.Output.Parameters["force_task_id"])
	require.Contains(t, j.Output.Info, "a fox")
	require.Nil(t, j.Error)
	require.False(t, j.Finished.Before(*j.Started))

	<-f.at
	require.Equal(t, jobs.Running, f.get(second.ID).Status)
}

func TestShapesOfSubmissions(t *testing.T) {
	f := start(t, setup{})
	input := map[string]any{"prompt": "a fox", "steps": 1, "width": 64, "height": 64}
	for name, body := range map[string]any{
		"name":   map[string]any{"endpoint": "txt2img", "input": input},
		"path":   map[string]any{"endpoint": "/sdapi/v1/txt2img", "input": input, "timeout": 10.5},
		"runpod": map[string]any{"api": map[string]any{"method": "POST", "endpoint": "/sdapi/v1/txt2img"}, "payload": input},
		"bare":   map[string]any{"api": map[string]any{"endpoint": "txt2img"}, "payload": input},
	} {
		t.Run(name, func(t *testing.T) {
			j := f.send("POST", "/v1/jobs?wait=10", body).job(t, 202)
			require.Equal(t, jobs.Completed, j.Status)
			require.Len(t, j.Output.Images, 1)
		})
	}
}

func TestSubmissionsRefused(t *testing.T) {
	f := start(t, setup{})
	for name, tc := range map[string]struct {
		body any
		want string
	}{
		"no JSON":     {"{", "unexpected EOF"},
		"a list":      {"[]", "a job must not be a JSON array"},
		"flat":        {`{"prompt": "a fox"}`, "with the fields of that route in input"},
		"types":       {`{"endpoint": 5, "input": {}}`, "endpoint must not be a JSON number"},
		"no object":   {`{"api": false, "input": {}}`, "api must not be a JSON bool"},
		"no endpoint": {`{"input": {}}`, "it must be one of txt2img, img2img, extra-single-image, extra-batch-images"},
		"endpoint":    {`{"endpoint": "/sdapi/v1/options", "input": {}}`, `endpoint is "/sdapi/v1/options"`},
		"traversal":   {`{"endpoint": "../txt2img", "input": {}}`, "it must be one of"},
		"no input":    {`{"endpoint": "txt2img"}`, "input must be an object"},
		"null":        {`{"endpoint": "txt2img", "input": null}`, "input must be an object"},
		"payload":     {`{"api": {"endpoint": "txt2img"}}`, "payload must be an object"},
		"GET":         {`{"api": {"method": "GET", "endpoint": "txt2img"}, "payload": {}}`, "a job is a POST"},
		"timeout":     {`{"endpoint": "txt2img", "input": {}, "timeout": -1}`, "timeout is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, f.send("POST", "/v1/jobs", tc.body).detail(t, 422), tc.want)
		})
	}
	require.Contains(t, f.send("POST", "/v1/jobs?wait=long", txt2img(nil)).detail(t, 422), "wait is")
}

// What the API refuses, the submission is refused with, in the API's words.
func TestRefusedByTheAPI(t *testing.T) {
	f := start(t, setup{})
	got := f.send("POST", "/v1/jobs", txt2img(map[string]any{"steps": "many"}))
	require.Equal(t, 422, got.status)
	require.JSONEq(t, `{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]}`, string(got.body))
	got = f.send("POST", "/v1/jobs", txt2img(map[string]any{"sampler_name": "none such"}))
	require.Equal(t, 404, got.status)
	require.Contains(t, string(got.body), "Sampler not found")
	require.JSONEq(t, `{"data":[],"has_more":false,"object":"list"}`, string(f.send("GET", "/v1/jobs", nil).body), "no job is left behind")
}

func TestQueueFull(t *testing.T) {
	f := start(t, setup{hold: true, depth: 1})
	f.submit(nil)
	<-f.at
	got := f.send("POST", "/v1/jobs", txt2img(nil))
	require.Equal(t, 429, got.status)
	require.NotEmpty(t, got.header.Get("Retry-After"))
}

// The API behind the gate is called without the client's credentials.
func TestCredentials(t *testing.T) {
	f := start(t, setup{})
	server := httptest.NewServer(gate.NewMux(gate.Policy{Credentials: gate.Credentials{Token: "secret"}}, nil, f.jobs.Door()))
	defer server.Close()
	f.http.URL = server.URL
	require.Equal(t, 401, f.send("POST", "/v1/jobs", txt2img(nil)).status)
	j := f.send("POST", "/v1/jobs?wait=10", txt2img(nil), "Authorization", "Bearer secret").job(t, 202)
	require.Equal(t, jobs.Completed, j.Status)
}

func TestFailure(t *testing.T) {
	f := start(t, setup{hold: true})
	f.gen.Wait = func(context.Context, inference.Hooks, int) error {
		f.at <- 0
		return &fault.Error{Code: fault.Exhausted, Msg: "out of memory; try a smaller picture"}
	}
	j := f.submit(nil)
	<-f.at
	j = f.wait(j.ID)
	require.Equal(t, jobs.Failed, j.Status)
	require.Equal(t, 500, j.Error.Status)
	require.Equal(t, "out of memory; try a smaller picture", j.Error.Message)
	require.Equal(t, "OutOfMemoryError", j.Error.Body.(map[string]any)["error"])
	require.NotNil(t, j.Started)
	require.Nil(t, j.Output)
}

// A job that fails as soon as it runs was admitted all the same, and is kept.
func TestFailureAtOnce(t *testing.T) {
	f := start(t, setup{})
	f.gen.Limit = 1
	for range 50 {
		j := f.send("POST", "/v1/jobs", txt2img(nil)).job(t, 202)
		require.Equal(t, jobs.Failed, f.wait(j.ID).Status)
	}
}

func TestIdempotency(t *testing.T) {
	f := start(t, setup{hold: true})
	first := f.submit(nil, "Idempotency-Key", "one")
	<-f.at
	again := f.send("POST", "/v1/jobs", txt2img(nil), "Idempotency-Key", "one")
	require.Equal(t, first.ID, again.job(t, 202).ID)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Contains(t, f.send("POST", "/v1/jobs", txt2img(map[string]any{"seed": 8}), "Idempotency-Key", "one").detail(t, 422), "used for another body")
	require.NotEqual(t, first.ID, f.submit(nil, "Idempotency-Key", "two").ID)
	require.NotEqual(t, first.ID, f.submit(nil).ID)
	other := f.submit(nil, "Idempotency-Key", "one", "Authorization", "Bearer another")
	require.NotEqual(t, first.ID, other.ID, "keys of one client are none of another's")
	f.send("DELETE", "/v1/jobs/"+first.ID, nil)
	<-f.at
	require.NotEqual(t, first.ID, f.submit(nil, "Idempotency-Key", "one").ID)
}

func TestCancelRunning(t *testing.T) {
	f := start(t, setup{hold: true})
	j := f.submit(nil)
	<-f.at
	got := f.send("POST", "/v1/jobs/"+j.ID+"/cancel", nil).job(t, 200)
	require.Equal(t, jobs.Canceled, got.Status)
	require.Equal(t, 503, got.Error.Status)
	require.Equal(t, "canceled by a client", got.Error.Message)
	require.Empty(t, f.queue.IDs())
	require.Equal(t, jobs.Canceled, f.send("POST", "/v1/jobs/"+j.ID+"/cancel", nil).job(t, 200).Status, "twice is once")
}

// The other job, which came first, goes on to its end.
func TestFinish(t *testing.T) {
	f := start(t, setup{hold: true})
	first := f.submit(map[string]any{"steps": 2})
	<-f.at
	second := f.submit(map[string]any{"steps": 20})
	require.Equal(t, jobs.Queued, f.send("POST", "/v1/jobs/"+second.ID+"/finish", nil).job(t, 200).Status)
	f.next <- struct{}{}
	require.Equal(t, 1, <-f.at, "the second step of the first job")
	f.next <- struct{}{}
	require.Equal(t, 0, <-f.at)
	f.next <- struct{}{}
	require.Equal(t, jobs.Completed, f.wait(second.ID).Status)
	require.Equal(t, jobs.Completed, f.wait(first.ID).Status)
	require.Equal(t, jobs.Completed, f.send("POST", "/v1/jobs/"+first.ID+"/finish", nil).job(t, 200).Status)
	f.send("POST", "/v1/jobs/job-x/finish", nil).detail(t, 404)
}

func TestCancelWaiting(t *testing.T) {
	f := start(t, setup{hold: true})
	first := f.submit(nil)
	<-f.at
	second, third := f.submit(nil), f.submit(nil)
	require.Equal(t, 2, *third.Position)
	require.Equal(t, 204, f.send("DELETE", "/v1/jobs/"+second.ID, nil).status)
	require.Equal(t, []string{first.ID, third.ID}, f.queue.IDs())
	require.Equal(t, 1, *f.get(third.ID).Position)
	require.Contains(t, f.send("GET", "/v1/jobs/"+second.ID, nil).detail(t, 410), "submit the job again")
}

func TestTimeout(t *testing.T) {
	f := start(t, setup{hold: true})
	body := txt2img(nil)
	body["timeout"] = 0.05
	j := f.send("POST", "/v1/jobs?wait=10", body).job(t, 202)
	require.Equal(t, jobs.Failed, j.Status)
	require.Equal(t, 504, j.Error.Status)
	require.Contains(t, j.Error.Message, "timeout")
	require.Empty(t, f.queue.IDs())
}

func TestRetention(t *testing.T) {
	finish := func(f *fixture) string {
		return f.send("POST", "/v1/jobs?wait=10", txt2img(nil)).job(f.t, 202).ID
	}
	t.Run("number", func(t *testing.T) {
		f := start(t, setup{jobs: jobs.Config{MaxResults: 2}})
		first, second, third := finish(f), finish(f), finish(f)
		f.send("GET", "/v1/jobs/"+first, nil).detail(t, 410)
		require.Equal(t, jobs.Completed, f.get(second).Status)
		require.Equal(t, jobs.Completed, f.get(third).Status)
	})
	t.Run("bytes", func(t *testing.T) {
		f := start(t, setup{jobs: jobs.Config{MaxBytes: 1}})
		first, second := finish(f), finish(f)
		f.send("GET", "/v1/jobs/"+first, nil).detail(t, 410)
		require.Equal(t, jobs.Completed, f.get(second).Status, "the newest stays")
	})
	t.Run("time", func(t *testing.T) {
		f := start(t, setup{jobs: jobs.Config{Keep: 30 * time.Millisecond}})
		id := finish(f)
		require.Eventually(t, func() bool { return f.send("GET", "/v1/jobs/"+id, nil).status == 410 }, patience, 5*time.Millisecond)
	})
	t.Run("unknown", func(t *testing.T) {
		f := start(t, setup{})
		for _, path := range []string{"/v1/jobs/job-x", "/v1/jobs/job-x/events", "/v1/jobs/job-x/images/0"} {
			f.send("GET", path, nil).detail(t, 404)
		}
		f.send("DELETE", "/v1/jobs/job-x", nil).detail(t, 404)
		f.send("POST", "/v1/jobs/job-x/cancel", nil).detail(t, 404)
	})
}

func TestList(t *testing.T) {
	f := start(t, setup{hold: true})
	first := f.submit(nil)
	<-f.at
	second := f.submit(nil)
	third := f.submit(nil)
	f.send("POST", "/v1/jobs/"+second.ID+"/cancel", nil)
	list := func(query string) (ids []string, more bool) {
		got := f.send("GET", "/v1/jobs"+query, nil)
		require.Equal(t, 200, got.status, "%s", got.body)
		var l struct {
			Data []job
			More bool `json:"has_more"`
		}
		require.NoError(t, json.Unmarshal(got.body, &l))
		for _, j := range l.Data {
			ids = append(ids, j.ID)
		}
		return ids, l.More
	}
	ids, more := list("")
	require.Equal(t, []string{third.ID, second.ID, first.ID}, ids)
	require.False(t, more)
	ids, more = list("?limit=2")
	require.Equal(t, []string{third.ID, second.ID}, ids)
	require.True(t, more)
	ids, _ = list("?status=running")
	require.Equal(t, []string{first.ID}, ids)
	f.send("GET", "/v1/jobs?status=lost", nil).detail(t, 422)
	f.send("GET", "/v1/jobs?limit=0", nil).detail(t, 422)
}

func TestImages(t *testing.T) {
	f := start(t, setup{})
	j := f.send("POST", "/v1/jobs?wait=10", txt2img(map[string]any{"n_iter": 2})).job(t, 202)
	got := f.send("GET", "/v1/jobs/"+j.ID+"/images/1", nil)
	require.Equal(t, 200, got.status)
	require.Equal(t, "image/png", got.header.Get("Content-Type"))
	require.Equal(t, "\x89PNG", string(got.body[:4]))
	for _, n := range []string{"2", "-1", "x"} {
		f.send("GET", "/v1/jobs/"+j.ID+"/images/"+n, nil).detail(t, 404)
	}

	enlarge := map[string]any{"endpoint": "extra-single-image", "input": map[string]any{"image": j.Output.Images[0], "upscaling_resize": 2, "upscaler_1": "Lanczos"}}
	j = f.send("POST", "/v1/jobs?wait=10", enlarge).job(t, 202)
	require.Equal(t, jobs.Completed, j.Status, "%+v", j.Error)
	require.Equal(t, 200, f.send("GET", "/v1/jobs/"+j.ID+"/images/0", nil).status)
}

func TestImagesOfAJobWithout(t *testing.T) {
	f := start(t, setup{hold: true})
	j := f.submit(nil)
	require.Contains(t, f.send("GET", "/v1/jobs/"+j.ID+"/images/0", nil).detail(t, 409), "no pictures")
}

func TestClose(t *testing.T) {
	f := start(t, setup{hold: true})
	running := f.submit(nil)
	<-f.at
	f.submit(nil)
	events := f.listen(running.ID)
	until(t, events, "progress")
	require.NoError(t, f.jobs.Close())
	require.Contains(t, until(t, events, "done").data, "the server is shutting down")
	require.Empty(t, f.queue.IDs())
	f.send("POST", "/v1/jobs", txt2img(nil)).detail(t, 503)
}

// A client that hangs up does not take its job along.
func TestClientLeaves(t *testing.T) {
	f := start(t, setup{})
	f.submit(nil)
	f.http.CloseClientConnections()
	require.Eventually(t, func() bool { return f.gen.Jobs() == 1 && len(f.queue.IDs()) == 0 }, patience, time.Millisecond)
}

func TestAFullQueueRefusesBeforeItReads(t *testing.T) {
	f := start(t, setup{hold: true, depth: 1})
	first := f.submit(nil, "Idempotency-Key", "one")
	<-f.at
	w := httptest.NewRecorder()
	f.jobs.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/jobs", iotest.ErrReader(errors.New("the body was read"))))
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), "queue is full")
	again := f.send("POST", "/v1/jobs", txt2img(nil), "Idempotency-Key", "one")
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"), "which needs no place")
	f.send("POST", "/v1/jobs/"+first.ID+"/cancel", nil)
}

func TestAnExtrasJobIsFollowedToo(t *testing.T) {
	f := start(t, setup{})
	bad := f.send("POST", "/v1/jobs", map[string]any{"endpoint": "extra-single-image", "input": map[string]any{"image": "no picture"}})
	require.GreaterOrEqual(t, bad.status, 400, "what the API refuses is no job")
	require.Empty(t, bad.header.Get("Location"))
}
