package jobs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/api/a1111"
	"sdworker/api/jobs"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; on a slow machine that is busy all takes long.
const patience = 2 * time.Minute

// fixture is a server of jobs on an API on stand-ins.
type fixture struct {
	t     *testing.T
	gen   *sdapitest.Generator
	queue *inference.Queue
	jobs  *jobs.Server
	http  *httptest.Server

	at   chan int      // the step that a job has reached, when steps are held
	next chan struct{} // lets it do the next one
}

// setup is what a fixture is made with.
type setup struct {
	depth int // of the queue
	hold  bool
	api   func(*sdapi.Config)
	jobs  jobs.Config
}

func start(t *testing.T, with setup) *fixture {
	t.Helper()
	f := &fixture{t: t, gen: &sdapitest.Generator{}, at: make(chan int), next: make(chan struct{})}
	if with.hold {
		preview := imageio.Fill(8, 8, [3]uint8{200, 0, 0})
		f.gen.Preview = &preview
		f.gen.Wait = func(ctx context.Context, _ inference.Hooks, step int) error {
			select {
			case f.at <- step:
			case <-ctx.Done():
				return nil
			}
			select {
			case <-f.next:
			case <-ctx.Done():
			}
			return nil
		}
	}
	f.queue = inference.NewQueue(f.gen, inference.QueueOptions{Depth: with.depth})
	cfg := sdapi.Config{Config: generation.Config{Queue: f.queue, Catalog: sdapitest.NewCatalog().Catalog, Hashes: sdapitest.NewCatalog(), Log: zerolog.New(zerolog.NewTestWriter(t))}}
	if with.api != nil {
		with.api(&cfg)
	}
	api, err := sdapi.New(cfg)
	require.NoError(t, err)
	with.jobs.API, with.jobs.Queue = a1111.Client{Handler: api}, f.queue
	with.jobs.Preview = api.LivePreview
	f.jobs = jobs.New(with.jobs)
	f.http = httptest.NewServer(f.jobs)
	t.Cleanup(func() {
		require.NoError(t, f.jobs.Close())
		f.http.Close()
	})
	return f
}

// reply is what a request got.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (f *fixture) send(method, path string, body any, header ...string) reply {
	f.t.Helper()
	var raw io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		raw = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		require.NoError(f.t, err)
		raw = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.http.URL+path, raw)
	require.NoError(f.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := f.http.Client().Do(req)
	require.NoError(f.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(f.t, err)
	return reply{res.StatusCode, res.Header, text}
}

// job is the document of a job.
type job struct {
	ID       string
	Object   string
	Status   jobs.State
	Endpoint string
	Created  time.Time  `json:"created_at"`
	Started  *time.Time `json:"started_at"`
	Finished *time.Time `json:"finished_at"`
	Position *int
	Progress *struct {
		Fraction, ETA *float64
		Phase         string
		Step, Steps   int
	}
	Output *struct {
		Images     []string
		Image      string
		Parameters map[string]any
		Info       string
	}
	Error *struct {
		Status  int
		Message string
		Body    any
	}
}

func (r reply) job(t *testing.T, status int) job {
	t.Helper()
	require.Equal(t, status, r.status, "%s", r.body)
	var j job
	require.NoError(t, json.Unmarshal(r.body, &j), "%s", r.body)
	return j
}

func (r reply) detail(t *testing.T, status int) string {
	t.Helper()
	require.Equal(t, status, r.status, "%s", r.body)
	var e struct{ Detail string }
	require.NoError(t, json.Unmarshal(r.body, &e), "%s", r.body)
	return e.Detail
}

func (f *fixture) submit(input map[string]any, header ...string) job {
	f.t.Helper()
	return f.send("POST", "/v1/jobs", txt2img(input), header...).job(f.t, 202)
}

func (f *fixture) get(id string) job {
	f.t.Helper()
	return f.send("GET", "/v1/jobs/"+id, nil).job(f.t, 200)
}

// wait returns the job once it has ended.
func (f *fixture) wait(id string) job {
	f.t.Helper()
	j := f.send("GET", "/v1/jobs/"+id+"?wait=10", nil).job(f.t, 200)
	require.NotNil(f.t, j.Finished)
	return j
}

// txt2img is a submission of a request that costs little.
func txt2img(input map[string]any) map[string]any {
	in := map[string]any{"prompt": "a fox", "steps": 3, "width": 64, "height": 64, "seed": 7}
	maps.Copy(in, input)
	return map[string]any{"endpoint": "txt2img", "input": in}
}

// event is one server-sent event; a comment has only data.
type event struct{ name, id, data string }

// listen opens the event stream of a job. The channel is closed at its end.
func (f *fixture) listen(id string, header ...string) <-chan event {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.http.URL+"/v1/jobs/"+id+"/events", http.NoBody)
	require.NoError(f.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := f.http.Client().Do(req)
	require.NoError(f.t, err)
	require.Equal(f.t, 200, res.StatusCode)
	require.Equal(f.t, "text/event-stream", res.Header.Get("Content-Type"))
	events := make(chan event, 100)
	go func() {
		defer close(events)
		defer res.Body.Close()
		var e event
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if value != "" {
					e.data = value
				} else {
					events <- e
					e = event{}
				}
			}
		}
	}()
	return events
}

// until reads events up to the first of a name.
func until(t *testing.T, events <-chan event, name string) event {
	t.Helper()
	for {
		select {
		case e, ok := <-events:
			require.True(t, ok, "the stream ended before %s", name)
			if e.name == name {
				return e
			}
		case <-time.After(patience):
			require.Fail(t, "no event", name)
		}
	}
}

func handler(t *testing.T) http.Handler { return start(t, setup{}).jobs }

// What is not there is answered in the shape of other errors.
func TestUnknownRoutes(t *testing.T) {
	f := start(t, setup{})
	got := f.send("PUT", "/v1/jobs", nil)
	require.Equal(t, 405, got.status)
	require.Equal(t, "POST, GET, HEAD", got.header.Get("Allow"))
	require.JSONEq(t, `{"detail":"Method Not Allowed"}`, string(got.body))
	got = f.send("GET", "/v1/jobs/a/b/c", nil)
	require.Equal(t, 404, got.status)
	require.JSONEq(t, `{"detail":"Not Found"}`, string(got.body))
}
