package sdapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/gate"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/internal/vectors"
)

// patience bounds every wait; on a slow machine that is busy all takes long.
const patience = 2 * time.Minute

// held is a generator whose jobs stop at a step until they are let go.
type held struct {
	*sdapitest.Generator
	at   chan int      // the step that a job has reached
	next chan struct{} // lets it do the next one
}

func hold() *held {
	h := &held{&sdapitest.Generator{}, make(chan int), make(chan struct{})}
	h.Wait = func(ctx context.Context, _ inference.Hooks, step int) error {
		select {
		case h.at <- step:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-h.next:
		case <-ctx.Done():
		}
		return nil
	}
	return h
}

// startHeld makes a server on such a generator, for depth jobs at a time.
func startHeld(t *testing.T, depth int, change ...func(*sdapi.Config)) (*fixture, *held) {
	t.Helper()
	h := hold()
	f := start(t, append([]func(*sdapi.Config){func(c *sdapi.Config) {
		c.Queue = inference.NewQueue(h, inference.QueueOptions{Depth: depth})
		c.Now = time.Now
	}}, change...)...)
	return f, h
}

// later sends a request in the background.
func (f *fixture) later(ctx context.Context, path string, body any) <-chan reply {
	raw, err := json.Marshal(body)
	require.NoError(f.t, err)
	done := make(chan reply, 1)
	go func() {
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", path, bytes.NewReader(raw)))
		done <- reply{w.Code, w.Header(), w.Body.Bytes()}
	}()
	return done
}

func TestProgressVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name  string
			Input struct {
				JobCount      int `json:"job_count"`
				JobNo         int `json:"job_no"`
				SamplingStep  int `json:"sampling_step"`
				SamplingSteps int `json:"sampling_steps"`
			}
			Want float64
		}
	}
	vectors.Load(t, "progress.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			f := start(t)
			ask := func() {
				got := f.get("/sdapi/v1/progress").object(t)
				require.InDelta(t, tc.Want, got["progress"], 1e-6)
				state := got["state"].(map[string]any)
				require.EqualValues(t, tc.Input.JobCount, state["job_count"])
				require.EqualValues(t, tc.Input.JobNo, state["job_no"])
				require.EqualValues(t, tc.Input.SamplingStep, state["sampling_step"])
				require.EqualValues(t, tc.Input.SamplingSteps, state["sampling_steps"])
			}
			if tc.Input.JobCount == 0 {
				ask()
				return
			}
			err := f.queue.Do(t.Context(), inference.Job{Name: "txt2img"}, func(_ context.Context, _ inference.Generator, hooks inference.Hooks) error {
				hooks.Report(inference.Progress{
					Phase: inference.PhaseSampling, Job: tc.Input.JobNo, Jobs: tc.Input.JobCount,
					Step: tc.Input.SamplingStep, Steps: tc.Input.SamplingSteps,
				})
				ask()
				return nil
			})
			require.NoError(t, err)
		})
	}
}

func TestProgressOfAJob(t *testing.T) {
	f, h := startHeld(t, 0)
	idle := f.get("/sdapi/v1/progress")
	const nothing = `{"progress":0.0,"eta_relative":0.0,"state":{"skipped":false,"interrupted":false,"stopping_generation":false,"job":"","job_count":0,` +
		`"job_timestamp":"0","job_no":0,"sampling_step":0,"sampling_steps":0},"current_image":null,"textinfo":null}`
	require.Empty(t, strings.TrimPrefix(string(idle.body), nothing), "byte for byte, 0.0 included")

	preview := imageio.NewRGB(8, 8)
	h.Preview = &preview
	first := f.later(t.Context(), "/sdapi/v1/txt2img", map[string]any{"steps": 4, "width": 64, "height": 64, "force_task_id": "first"})
	require.Equal(t, 0, <-h.at)
	second := f.later(t.Context(), "/sdapi/v1/img2img", map[string]any{"steps": 1, "width": 64, "height": 64, "force_task_id": "second", "init_images": []string{encoded(t, 8, 8)}})
	require.Eventually(t, func() bool { return len(f.queue.IDs()) == 2 }, patience, time.Millisecond)
	h.next <- struct{}{}
	require.Equal(t, 1, <-h.at)

	got := f.get("/sdapi/v1/progress").object(t)
	require.InDelta(t, 0.26, got["progress"], 1e-6)
	require.Positive(t, got["eta_relative"])
	require.NotEmpty(t, got["current_image"])
	require.Equal(t, "Batch 1 out of 1", got["state"].(map[string]any)["job"])
	require.Nil(t, f.get("/sdapi/v1/progress?skip_current_image=true").object(t)["current_image"])

	task := func(id string, seen int) map[string]any {
		return f.post("/internal/progress", map[string]any{"id_task": id, "id_live_preview": seen}).object(t)
	}
	running := task("first", -1)
	require.Equal(t, true, running["active"])
	require.InDelta(t, 0.25, running["progress"], 1e-6)
	require.True(t, strings.HasPrefix(running["live_preview"].(string), "data:image/png;base64,"))
	require.Nil(t, task("first", int(running["id_live_preview"].(float64)))["live_preview"], "the same picture is not sent twice")
	f.post(optionsPath, map[string]any{"live_previews_image_format": "jpeg"})
	require.True(t, strings.HasPrefix(task("first", -1)["live_preview"].(string), "data:image/jpeg;base64,/9j/"))
	waiting := task("second", -1)
	require.Equal(t, []any{false, true, false, "In queue: 1/1"}, []any{waiting["active"], waiting["queued"], waiting["completed"], waiting["textinfo"]})
	require.JSONEq(t, `{"size":1,"tasks":["second"]}`, string(f.get("/internal/pending-tasks").body))
	require.InDelta(t, 1.0, f.get("/queue/status").object(t)["queue_size"], 0)

	for range 3 {
		h.next <- struct{}{}
		<-h.at
	}
	h.next <- struct{}{}
	require.Equal(t, 200, (<-first).status)
	require.Equal(t, true, task("first", -1)["completed"])
	require.Equal(t, 200, (<-second).status)
	require.Equal(t, "Waiting...", task("unknown", -1)["textinfo"])
}

// A client that asks for its job gets that job's preview or none, even when the next
// job begins in the middle of the answer.
func TestPreviewIsOfTheJobAskedFor(t *testing.T) {
	var atNow atomic.Pointer[func()]
	f, h := startHeld(t, 0, func(c *sdapi.Config) {
		c.Now = func() time.Time {
			if hook := atNow.Swap(nil); hook != nil {
				(*hook)()
			}
			return time.Now()
		}
	})
	red, blue := imageio.Fill(8, 8, [3]uint8{200, 0, 0}), imageio.Fill(8, 8, [3]uint8{0, 0, 200})
	h.Preview = &red
	body := func(id string) map[string]any {
		return map[string]any{"steps": 1, "width": 64, "height": 64, "force_task_id": id}
	}
	mine := f.later(t.Context(), "/sdapi/v1/txt2img", body("mine"))
	<-h.at
	other := f.later(t.Context(), "/sdapi/v1/txt2img", body("other"))
	require.Eventually(t, func() bool { return len(f.queue.IDs()) == 2 }, patience, time.Millisecond)
	change := func() { // the own job ends, the other one shows its preview
		h.Preview = &blue
		h.next <- struct{}{}
		<-h.at
	}
	atNow.Store(&change)
	got := f.post("/internal/progress", map[string]any{"id_task": "mine"}).object(t)
	require.Nil(t, atNow.Load(), "the job changed in the middle")
	picture, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(got["live_preview"].(string), "data:image/png;base64,"))
	require.NoError(t, err)
	decoded, err := imageio.Decode(picture, 1<<10)
	require.NoError(t, err)
	require.Equal(t, red, decoded.DropAlpha())
	got = f.post("/internal/progress", map[string]any{"id_task": "mine"}).object(t)
	require.Equal(t, []any{false, nil}, []any{got["active"], got["live_preview"]}, "it has ended")
	h.next <- struct{}{}
	require.Equal(t, 200, (<-mine).status)
	require.Equal(t, 200, (<-other).status)
}

func TestInterrupt(t *testing.T) {
	f, h := startHeld(t, 0)
	job := f.later(t.Context(), "/sdapi/v1/txt2img", map[string]any{"steps": 100, "width": 64, "height": 64})
	<-h.at
	require.Equal(t, 200, f.post("/sdapi/v1/interrupt", nil).status)
	require.Equal(t, true, f.get("/sdapi/v1/progress").object(t)["state"].(map[string]any)["interrupted"])
	h.next <- struct{}{}
	require.Len(t, (<-job).generated(t).images, 1, "what there is comes with 200")

	job = f.later(t.Context(), "/sdapi/v1/txt2img", map[string]any{"steps": 1, "width": 64, "height": 64})
	<-h.at
	require.Equal(t, false, f.get("/sdapi/v1/progress").object(t)["state"].(map[string]any)["interrupted"], "the flag is cleared by the next job")
	h.next <- struct{}{}
	<-job
}

func TestClientGoesAway(t *testing.T) {
	f, h := startHeld(t, 0)
	ctx, leave := context.WithCancel(t.Context())
	job := f.later(ctx, "/sdapi/v1/txt2img", map[string]any{"steps": 100, "width": 64, "height": 64})
	<-h.at
	leave()
	require.Equal(t, 499, (<-job).status)
	require.Empty(t, f.queue.IDs(), "the job is gone")
}

func TestQueueFull(t *testing.T) {
	f, h := startHeld(t, 1)
	job := f.later(t.Context(), "/sdapi/v1/txt2img", map[string]any{"steps": 1, "width": 64, "height": 64})
	<-h.at
	got := f.post("/sdapi/v1/txt2img", small(nil))
	require.Equal(t, 429, got.status)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Equal(t, []string{"error", "detail", "body", "errors"}, keysOf(t, got.body))
	h.next <- struct{}{}
	require.Equal(t, 200, (<-job).status)
}

func TestDeadline(t *testing.T) {
	f, h := startHeld(t, 0)
	f.guard(gate.Policy{}, gate.Deadline(20*time.Millisecond))
	job := f.later(t.Context(), "/sdapi/v1/txt2img", map[string]any{"steps": 100, "width": 64, "height": 64})
	var got reply
	select {
	case <-h.at:
		got = <-job
	case got = <-job: // it was still waiting for its turn
	}
	require.Equal(t, 504, got.status)
	require.Contains(t, string(got.body), "took longer")
}

func TestErrorsOfTheGenerator(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		err    error
		status int
		want   string
	}{
		{&fault.Error{Code: fault.Exhausted, Msg: "out of memory"}, 500, `{"error":"OutOfMemoryError","detail":"","body":"","errors":"out of memory"}`},
		{&fault.Error{Code: fault.Broken, Msg: "the engine died"}, 500, `{"error":"RuntimeError","detail":"","body":"","errors":"the engine died"}`},
		{&fault.Error{Code: fault.NotFound, Msg: "no such LoRA"}, 404, `{"error":"HTTPException","detail":"no such LoRA","body":"","errors":""}`},
		{errors.New("secret"), 500, `{"error":"RuntimeError","detail":"","body":"","errors":"internal error, see the log of the server"}`},
	} {
		f.gen.Fail = tc.err
		got := f.post("/sdapi/v1/txt2img", small(nil))
		require.Equal(t, tc.status, got.status)
		require.JSONEq(t, tc.want, string(got.body))
	}
}

// Memory stays flat over many small requests.
func TestMemoryStaysFlat(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	f := start(t)
	body, err := json.Marshal(small(map[string]any{"prompt": "a cat"}))
	require.NoError(t, err)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	run := func(n int) {
		for range n {
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/sdapi/v1/txt2img", bytes.NewReader(body)))
			require.Equal(t, 200, w.Code)
		}
	}
	run(n / 10)
	before := heap()
	run(n)
	const slack = 1 << 20 // the test's own log
	require.Less(t, heap(), before+slack)
}

func BenchmarkTxt2Img(b *testing.B) {
	for name, size := range map[string]int{"64": 64, "512": 512} {
		b.Run(name, func(b *testing.B) {
			f := start(b)
			body, err := json.Marshal(map[string]any{"prompt": "a cat", "steps": 1, "width": size, "height": size})
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/sdapi/v1/txt2img", bytes.NewReader(body)))
				require.Equal(b, 200, w.Code)
			}
		})
	}
}

// The overhead of a request over the network, with a generator that costs
// nothing, for several clients at a time.
func BenchmarkClients(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			web := httptest.NewServer(start(b).server)
			defer web.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			body, err := json.Marshal(small(map[string]any{"prompt": "a cat"}))
			require.NoError(b, err)
			work := make(chan struct{})
			var done sync.WaitGroup
			for range clients {
				done.Go(func() {
					for range work {
						res, err := client.Post(web.URL+"/sdapi/v1/txt2img", "application/json", bytes.NewReader(body))
						if err != nil {
							b.Error(err)
							continue
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			done.Wait()
		})
	}
}
