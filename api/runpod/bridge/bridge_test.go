package bridge_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
	"sdworker/api/runpod"
	"sdworker/api/runpod/bridge"
	"sdworker/internal/publicnet"
	"sdworker/internal/vectors"
)

// seen is one request that reached the API.
type seen struct {
	Method, Path, Query, Body string
}

// api mimics an A1111 server: it keeps requests and answers as told.
type api struct {
	mu       sync.Mutex
	requests []seen
	status   int
	body     string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, seen{r.Method, r.URL.Path, r.URL.RawQuery, string(body)})
	if json.Valid([]byte(a.body)) {
		w.Header().Set("Content-Type", "application/json")
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = io.WriteString(w, a.body)
}

func (a *api) last() seen { return a.requests[len(a.requests)-1] }

func split(name string) (sampler, scheduler string, ok bool) {
	if s, ok := strings.CutSuffix(name, " Karras"); ok {
		return s, "Karras", true
	}
	if name == "Eulr" { // what A1111 makes of an unknown name when it reads an infotext
		return "DPM++ 2M", "Automatic", true
	}
	return "", "", false
}

func newBridge(t *testing.T, o bridge.Options) runpod.Handler {
	t.Helper()
	h, err := bridge.New(o)
	require.NoError(t, err)
	return h
}

func do(t *testing.T, h runpod.Handler, input string) (string, error) {
	t.Helper()
	v, err := h(t.Context(), runpod.Job{ID: "job-1", Input: json.RawMessage(input)})
	if err != nil {
		return "", err
	}
	if raw, ok := v.(runpod.Verbatim); ok {
		require.True(t, json.Valid(raw))
		return string(raw), nil
	}
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out), nil
}

const pictures = `{"images":["aGVsbG8="],"parameters":{"steps":1},"info":"{}"}`

// requestFields gives the recorded fields of both routes.
func requestFields(t *testing.T) func(string) []string {
	t.Helper()
	return func(route string) (names []string) {
		var f fieldFile
		vectors.Load(t, route+"_fields.json", &f)
		for _, c := range f.Cases {
			names = append(names, c.Input)
		}
		return names
	}
}

func TestInputsBecomeRequests(t *testing.T) {
	for _, tc := range []struct {
		name, input        string
		method, path, body string
		query              string
	}{
		{name: "flat", input: `{"prompt":"a <b>","unknown":1}`, path: "txt2img", body: `{"prompt":"a <b>","unknown":1}`},
		{name: "numbers stay as written", input: `{"seed":12345678901234567890,"cfg_scale":7.10}`, path: "txt2img", body: `{"seed":12345678901234567890,"cfg_scale":7.10}`},
		{name: "flat with init image", input: `{"init_images":["x"]}`, path: "img2img", body: `{"init_images":["x"]}`},
		{name: "empty init images", input: `{"prompt":"a","init_images":[]}`, path: "txt2img", body: `{"prompt":"a","init_images":[]}`},
		{name: "null init images", input: `{"prompt":"a","init_images":null}`, path: "txt2img", body: `{"prompt":"a","init_images":null}`},
		{name: "init images of a wrong type", input: `{"init_images":"x"}`, path: "img2img", body: `{"init_images":"x"}`},
		{name: "mode", input: `{"mode":"IMG2IMG","prompt":"a"}`, path: "img2img", body: `{"mode":"IMG2IMG","prompt":"a"}`},
		{name: "mode wins", input: `{"mode":"txt2img","init_images":["x"]}`, path: "txt2img", body: `{"mode":"txt2img","init_images":["x"]}`},
		{name: "wrapped twice", input: `{"input":{"prompt":"a"}}`, path: "txt2img", body: `{"prompt":"a"}`},
		{name: "Hub test", input: `{"name":"basic","input":{"prompt":"a"},"timeout":1000}`, path: "txt2img", body: `{"prompt":"a"}`},
		{name: "wrapped structure", input: `{"input":{"api":{"method":"GET","endpoint":"/sdapi/v1/samplers"},"payload":{}}}`, method: "GET", path: "samplers"},
		{name: "aliases", input: `{"num_inference_steps":12,"guidance_scale":3.5}`, path: "txt2img", body: `{"num_inference_steps":12,"guidance_scale":3.5,"steps":12,"cfg_scale":3.5}`},
		{name: "aliases give way", input: `{"num_inference_steps":12,"steps":7}`, path: "txt2img", body: `{"num_inference_steps":12,"steps":7}`},
		{name: "aliases are for flat inputs", input: `{"api":{"method":"POST","endpoint":"sdapi/v1/txt2img"},"payload":{"guidance_scale":3}}`, path: "txt2img", body: `{"guidance_scale":3}`},
		{name: "combined sampler", input: `{"sampler_name":"DPM++ 2M Karras"}`, path: "txt2img", body: `{"sampler_name":"DPM++ 2M","scheduler":"Karras"}`},
		{name: "combined sampler index", input: `{"sampler_index":"Euler Karras","scheduler":"Automatic"}`, path: "txt2img", body: `{"sampler_index":"Euler","scheduler":"Karras"}`},
		{name: "scheduler wins", input: `{"sampler_name":"Euler Karras","scheduler":"Uniform"}`, path: "txt2img", body: `{"sampler_name":"Euler","scheduler":"Uniform"}`},
		{name: "plain sampler", input: `{"sampler_name":"Euler a"}`, path: "txt2img", body: `{"sampler_name":"Euler a"}`},
		{name: "misspelt sampler", input: `{"sampler_name":"Eulr"}`, path: "txt2img", body: `{"sampler_name":"Eulr"}`},
		{name: "sampler of a wrong type", input: `{"sampler_name":7}`, path: "txt2img", body: `{"sampler_name":7}`},
		{name: "hires sampler", input: `{"hr_sampler_name":"Euler Karras"}`, path: "txt2img", body: `{"hr_sampler_name":"Euler","hr_scheduler":"Karras"}`},
		{name: "structured sampler", input: `{"api":{"method":"post","endpoint":"/sdapi/v1/img2img/"},"payload":{"sampler_name":"Euler Karras"}}`, path: "img2img", body: `{"sampler_name":"Euler","scheduler":"Karras"}`},
		{name: "other routes keep their payload", input: `{"api":{"method":"POST","endpoint":"/sdapi/v1/options"},"payload":{"sampler_name":"Euler Karras"}}`, path: "options", body: `{"sampler_name":"Euler Karras"}`},
		{name: "payload left out", input: `{"api":{"method":"POST","endpoint":"/sdapi/v1/refresh-loras"}}`, path: "refresh-loras", body: `{}`},
		{name: "payload null", input: `{"api":{"method":"POST","endpoint":"/sdapi/v1/interrupt"},"payload":null}`, path: "interrupt", body: `{}`},
		{name: "no prompt but known fields", input: `{"steps":4,"width":64}`, path: "txt2img", body: `{"steps":4,"width":64}`},
		{name: "no prompt but a style", input: `{"styles":["a"],"tag":1}`, path: "txt2img", body: `{"styles":["a"],"tag":1}`},
		{name: "no prompt but a picture", input: `{"init_images":["x"],"tag":1}`, path: "img2img", body: `{"init_images":["x"],"tag":1}`},
		{name: "no prompt but a text", input: `{"infotext":"a\nSteps: 4","tag":{}}`, path: "txt2img", body: `{"infotext":"a\nSteps: 4","tag":{}}`},
		{name: "query", input: `{"api":{"method":"GET","endpoint":"/sdapi/v1/progress?skip_current_image=true"},"payload":{}}`, method: "GET", path: "progress", query: "skip_current_image=true"},
		{name: "payload as query", input: `{"api":{"method":"GET","endpoint":"/sdapi/v1/progress"},"payload":{"skip_current_image":true}}`, method: "GET", path: "progress", query: "skip_current_image=true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := &api{body: pictures}
			out, err := do(t, newBridge(t, bridge.Options{API: a1111.Client{Handler: server}, SplitSampler: split, Fields: requestFields(t)}), tc.input)
			require.NoError(t, err)
			require.JSONEq(t, pictures, out)
			got := server.last()
			if tc.method == "" {
				tc.method = http.MethodPost
			}
			require.Equal(t, tc.method, got.Method)
			require.Equal(t, "/sdapi/v1/"+tc.path, got.Path)
			require.Equal(t, tc.query, got.Query)
			if tc.body == "" {
				require.Empty(t, got.Body)
			} else {
				require.JSONEq(t, tc.body, got.Body)
				require.NotContains(t, got.Body, `\u003c`)
			}
		})
	}
}

func TestWrongInputsAreToldInOneSentence(t *testing.T) {
	for _, tc := range []struct{ name, input, want string }{
		{"null", `null`, "input must be an object"},
		{"text", `"a prompt"`, "input must be an object"},
		{"list", `[1]`, "input must be an object"},
		{"empty", `{}`, "input is empty"},
		{"wrapped empty", `{"input":{}}`, "input is empty"},
		{"mode", `{"mode":"video","prompt":"a"}`, `mode is "video"; it must be txt2img or img2img`},
		{"mode type", `{"mode":3}`, `mode is 3; it must be txt2img or img2img`},
		{"api type", `{"api":"txt2img","payload":{}}`, "api must be an object"},
		{"api null", `{"api":null}`, "api must be an object"},
		{"no method", `{"api":{"endpoint":"/sdapi/v1/txt2img"},"payload":{}}`, "api.method is missing"},
		{"bad method", `{"api":{"method":"DELETE","endpoint":"/sdapi/v1/txt2img"},"payload":{}}`, `api.method is "DELETE"; it must be GET or POST`},
		{"no endpoint", `{"api":{"method":"GET"},"payload":{}}`, "api.endpoint is missing"},
		{"blank endpoint", `{"api":{"method":"GET","endpoint":" "},"payload":{}}`, "api.endpoint is missing"},
		{"foreign endpoint", `{"api":{"method":"GET","endpoint":"/metrics"},"payload":{}}`, `there is no route "/metrics"`},
		{"climbing endpoint", `{"api":{"method":"GET","endpoint":"/sdapi/v1/../../metrics"},"payload":{}}`, "there is no route"},
		{"payload type", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img"},"payload":[1]}`, "payload must be an object"},
		{"payload text", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img"},"payload":"{\"prompt\":\"a\"}"}`, "payload must be an object"},
		{"no payload", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img"}}`, "payload is missing; give the fields of /sdapi/v1/txt2img"},
		{"payload null", `{"api":{"method":"POST","endpoint":"/sdapi/v1/img2img"},"payload":null}`, "payload is missing"},
		{"payload empty", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img"},"payload":{}}`, "payload is missing"},
		{"fields beside api", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img"},"prompt":"a","steps":4}`, "payload is missing; prompt, steps beside api must be inside payload"},
		{"payload inside api", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img","payload":{"prompt":"a"}}}`, "payload is inside api"},
		{"no api", `{"endpoint":"/sdapi/v1/txt2img","payload":{"prompt":"a"}}`, "endpoint and payload outside of api"},
		{"no api, wrapped", `{"input":{"method":"POST","endpoint":"/sdapi/v1/txt2img","payload":{"prompt":"a"}}}`, "endpoint and payload outside of api"},
		{"endpoint alone", `{"endpoint":"img2img","prompt":"a"}`, "endpoint outside of api"},
		{"endpoint and input", `{"endpoint":"img2img","input":{"prompt":"a"}}`, "endpoint outside of api"},
		{"payload alone", `{"payload":{"prompt":"a"}}`, "a payload and no api"},
		{"mode and input", `{"mode":"img2img","input":{"prompt":"a"}}`, "prompt is inside input"},
		{"prompt in params", `{"params":{"prompt":"a"}}`, "prompt is inside params, where it is not read"},
		{"prompt in params beside init images", `{"params":{"prompt":"a"},"init_images":["x"]}`, "prompt is inside params"},
		{"prompt deep in payload", `{"api":{"method":"POST","endpoint":"/sdapi/v1/txt2img"},"payload":{"input":{"prompt":"a"}}}`, "prompt is inside input"},
		{"prompts", `{"prompts":["a"],"steps":4}`, "prompt is missing, and prompts is no field of /sdapi/v1/txt2img"},
		{"text", `{"text":"a","width":64}`, "prompt is missing, and text is no field"},
		{"input that is a text", `{"input":"a red fox"}`, "prompt is missing, and input is no field"},
		{"wrapped too often", `{"input":{"input":{"input":{"input":{"prompt":"a"}}}}}`, "prompt is missing, and input is no field"},
		{"no downloads", `{"api":{"method":"POST","endpoint":"/v1/download"},"payload":{}}`, "does not download"},
		{"no sync", `{"api":{"method":"POST","endpoint":"/v1/sync"},"payload":{}}`, "does not download"},
		{"download by GET", `{"api":{"method":"GET","endpoint":"/v1/download"},"payload":{}}`, "api.method: GET is not allowed for v1/download"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := &api{body: pictures}
			_, err := do(t, newBridge(t, bridge.Options{API: a1111.Client{Handler: server}, Fields: requestFields(t)}), tc.input)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "\n")
			require.Empty(t, server.requests)
		})
	}
}

func TestErrorBodiesBecomeSentences(t *testing.T) {
	flat := func(fields string) string { return `{"prompt":"a",` + fields + `}` }
	at := func(method, endpoint, payload string) string {
		return `{"api":{"method":"` + method + `","endpoint":"/sdapi/v1/` + endpoint + `"},"payload":` + payload + `}`
	}
	for _, tc := range []struct {
		name, input string
		status      int
		body, want  string
	}{
		{"validation", flat(`"steps":"abc"`), 422, `{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]}`, "steps: value is not a valid integer"},
		{"two faults", flat(`"steps":"abc"`), 422, `{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer"},{"loc":["body","script_args",0],"msg":"no"}]}`, "steps: value is not a valid integer; script_args.0: no"},
		{"whole body", at("POST", "options", `{}`), 422, `{"detail":[{"loc":["body"],"msg":"field required"}]}`, "payload: field required"},
		{"query", at("GET", "progress", `{"skip_current_image":"x"}`), 422, `{"detail":[{"loc":["query","skip_current_image"],"msg":"value could not be parsed to a boolean"}]}`, "skip_current_image: value could not be parsed to a boolean"},
		{"sampler", flat(`"sampler_name":"Nope"`), 404, `{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}`, `sampler_name: Sampler not found "Nope"; GET /sdapi/v1/samplers lists the names`},
		{"sampler index", flat(`"sampler_index":"Nope"`), 404, `{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}`, `sampler_index: Sampler not found "Nope"; GET /sdapi/v1/samplers lists the names`},
		{"no init image", `{"mode":"img2img"}`, 404, `{"error":"HTTPException","detail":"Init image not found","body":"","errors":""}`, "init_images: Init image not found"},
		{"bad init image", `{"init_images":["?"]}`, 500, `{"error":"HTTPException","detail":"Invalid encoded image","body":"","errors":""}`, "init_images: Invalid encoded image"},
		{"bad image", at("POST", "png-info", `{"image":"?"}`), 500, `{"error":"HTTPException","detail":"Invalid encoded image","body":"","errors":""}`, "image: Invalid encoded image"},
		{"always-on script", flat(`"alwayson_scripts":{"nope":{}}`), 422, `{"error":"HTTPException","detail":"Script 'nope' not found","body":"","errors":""}`, "alwayson_scripts: Script 'nope' not found"},
		{"script", flat(`"script_name":"nope"`), 422, `{"error":"HTTPException","detail":"Script 'nope' not found","body":"","errors":""}`, "script_name: Script 'nope' not found"},
		{"override", flat(`"override_settings":{"nope":1}`), 500, `{"error":"KeyError","detail":"","body":"","errors":"'nope'"}`, "override_settings: there is no option 'nope'"},
		{"option", at("POST", "options", `{"nope":1}`), 500, `{"error":"KeyError","detail":"","body":"","errors":"'nope'"}`, "KeyError: 'nope'"},
		{"hires sampler", flat(`"hr_sampler_name":"zzz"`), 500, `{"error":"AssertionError","detail":"","body":"","errors":"bad sampler name: zzz"}`, "hr_sampler_name: bad sampler name: zzz"},
		{"hires upscaler", flat(`"hr_upscaler":"zzz"`), 500, `{"error":"Exception","detail":"","body":"","errors":"could not find upscaler named zzz"}`, "hr_upscaler: could not find upscaler named zzz"},
		{"class and text", flat(`"batch_size":0`), 500, `{"error":"IndexError","detail":"","body":"","errors":"list index out of range"}`, "IndexError: list index out of range"},
		{"unknown route", at("GET", "nope", `{}`), 404, `{"detail":"Not Found"}`, `api.endpoint: there is no route "/sdapi/v1/nope"; routes look like /sdapi/v1/txt2img`},
		{"wrong method", at("GET", "txt2img", `{}`), 405, `{"detail":"Method Not Allowed"}`, "api.method: GET is not allowed for /sdapi/v1/txt2img"},
		{"not JSON", flat(`"a":1`), 502, "oops\n", "sdapi/v1/txt2img answered HTTP 502: oops"},
		{"silent", flat(`"a":1`), 500, `{}`, "sdapi/v1/txt2img answered HTTP 500"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := do(t, newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{status: tc.status, body: tc.body}}}), tc.input)
			require.EqualError(t, err, tc.want)
			failure, ok := errors.AsType[*runpod.Failure](err)
			require.True(t, ok)
			if strings.HasPrefix(tc.input, `{"api"`) {
				require.JSONEq(t, tc.body, string(failure.Output.(runpod.Verbatim)), "this shape carries A1111's body")
			} else {
				require.Nil(t, failure.Output)
			}
		})
	}
}

func TestRepliesOfEveryTypeArePassedOn(t *testing.T) {
	for _, body := range []string{`{"a":1}`, `[{"name":"Euler"}]`, `null`, `"text"`} {
		out, err := do(t, newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{body: body}}}), `{"api":{"method":"GET","endpoint":"/sdapi/v1/samplers"}}`)
		require.NoError(t, err)
		require.JSONEq(t, body, out)
	}
	out, err := do(t, newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{body: "Stopping."}}}), `{"api":{"method":"POST","endpoint":"/sdapi/v1/server-stop"}}`)
	require.NoError(t, err)
	require.Equal(t, `"Stopping."`, out)
}

func TestStopReachesTheAPI(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel(runpod.ErrStopped)
		<-r.Context().Done()
		w.WriteHeader(http.StatusInternalServerError)
	})
	_, err := newBridge(t, bridge.Options{API: a1111.Client{Handler: server}})(ctx, runpod.Job{Input: json.RawMessage(`{"prompt":"a"}`)})
	require.ErrorIs(t, err, runpod.ErrStopped)
}

func TestProgressIsWatched(t *testing.T) {
	type key struct{}
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotNil(t, r.Context().Value(key{}))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	})
	h := newBridge(t, bridge.Options{API: a1111.Client{Handler: server}, Watch: func(ctx context.Context, report func(any)) context.Context {
		report(map[string]float64{"progress": 0.5})
		return context.WithValue(ctx, key{}, true)
	}})
	_, err := do(t, h, `{"prompt":"a"}`)
	require.NoError(t, err)
}

// shelf is a bucket server that keeps what is put into it.
type shelf struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string][]byte
	types   map[string]string
	status  int
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{objects: map[string][]byte{}, types: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.status != 0 {
			w.WriteHeader(s.status)
			return
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(s.objects[r.URL.Path])
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Amz-Decoded-Content-Length") != "" { // chunked signature: size;sig CRLF data CRLF
			_, rest, _ := bytes.Cut(body, []byte("\r\n"))
			body, _, _ = bytes.Cut(rest, []byte("\r\n0;"))
		}
		s.objects[r.URL.Path], s.types[r.URL.Path] = body, r.Header.Get("Content-Type")
		w.Header().Set("ETag", `"1"`)
	}))
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

const pngMagic = "\x89PNG\r\n\x1a\n"

func reply(sizes ...int) string {
	var images []string
	for _, n := range sizes {
		images = append(images, base64.StdEncoding.EncodeToString([]byte(pngMagic+strings.Repeat("\x00", n))))
	}
	body, _ := json.Marshal(map[string]any{"images": images, "info": "{}", "parameters": map[string]int{}})
	return string(body)
}

func images(t *testing.T, out string) []string {
	t.Helper()
	var body struct{ Images []string }
	require.NoError(t, json.Unmarshal([]byte(out), &body))
	return body.Images
}

func TestImagesAreUploaded(t *testing.T) {
	s := newShelf(t)
	o := bridge.Options{API: a1111.Client{Handler: &api{body: reply(10, 20)}}}
	o.Bucket.EndpointURL, o.Bucket.AccessKey, o.Bucket.SecretKey, o.Bucket.Name = s.URL, "id", "secret", "pictures"
	out, err := do(t, newBridge(t, o), `{"prompt":"a"}`)
	require.NoError(t, err)
	links := images(t, out)
	require.Len(t, links, 2)
	for i, link := range links {
		require.Regexp(t, `^`+s.URL+`/pictures/job-1/[0-9a-f]{8}\.png\?.*X-Amz-Expires=604800.*X-Amz-Signature=`, link)
		resp, err := http.Get(link)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Len(t, got, len(pngMagic)+10*(i+1), "order is kept")
	}
	for path, kind := range s.types {
		require.Equal(t, "image/png", kind, path)
	}
}

func TestRequestsOwnBucket(t *testing.T) {
	s := newShelf(t)
	h := newBridge(t, bridge.Options{Config: bridge.Config{PrivateBuckets: true}, API: a1111.Client{Handler: &api{body: reply(10)}}})
	job := runpod.Job{ID: "j", Input: json.RawMessage(`{"prompt":"a"}`), S3: &runpod.S3Config{AccessID: "id", AccessSecret: "s", BucketName: "mine", EndpointURL: s.URL, ObjectPath: "out/here"}}
	v, err := h(t.Context(), job)
	require.NoError(t, err)
	require.Regexp(t, `^`+s.URL+`/mine/out/here/j/[0-9a-f]{8}\.png\?`, images(t, string(v.(runpod.Verbatim)))[0])

	job.S3.AccessSecret = ""
	_, err = h(t.Context(), job)
	require.ErrorContains(t, err, "s3Config: ")

	// Without the owner's leave a job does not reach the worker's network.
	job.S3.AccessSecret = "s"
	_, err = newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{body: reply(10)}}})(t.Context(), job)
	require.ErrorIs(t, err, publicnet.ErrNotPublic)
}

func TestUploadOnlyWhatIsTooLarge(t *testing.T) {
	s := newShelf(t)
	server := &api{body: reply(10)}
	o := bridge.Options{API: a1111.Client{Handler: server}}
	o.Upload = "large"
	o.Bucket.EndpointURL, o.Bucket.AccessKey, o.Bucket.SecretKey = s.URL+"/pictures", "id", "secret"
	h := newBridge(t, o)
	out, err := do(t, h, `{"prompt":"a"}`)
	require.NoError(t, err)
	require.JSONEq(t, server.body, out)
	server.body = reply(8_000_000)
	out, err = do(t, h, `{"prompt":"a"}`)
	require.NoError(t, err)
	require.Contains(t, images(t, out)[0], s.URL+"/pictures/")
}

func TestFailedUploadFailsTheJob(t *testing.T) {
	s := newShelf(t)
	s.status = http.StatusForbidden
	o := bridge.Options{API: a1111.Client{Handler: &api{body: reply(10)}}}
	o.Bucket.EndpointURL, o.Bucket.AccessKey, o.Bucket.SecretKey = s.URL+"/pictures", "id", "secret"
	_, err := do(t, newBridge(t, o), `{"prompt":"a"}`)
	require.ErrorContains(t, err, `could not be uploaded to bucket "pictures"`)
}

func TestTooLargeResults(t *testing.T) {
	half := func(picture []byte, format string, quality int) ([]byte, error) {
		require.Equal(t, "jpeg", format)
		return picture[:len(picture)*quality/100], nil
	}
	big := &api{body: reply(4_000_000, 4_500_000)} // 11.3 MB of base64

	o := bridge.Options{API: a1111.Client{Handler: big}}
	_, err := do(t, newBridge(t, o), `{"prompt":"a"}`)
	require.ErrorContains(t, err, "11.3 MB")
	require.ErrorContains(t, err, "BUCKET_ENDPOINT_URL")

	o.Recode, o.Format = half, "jpeg"
	out, err := do(t, newBridge(t, o), `{"prompt":"a"}`)
	require.NoError(t, err)
	require.InDelta(t, 11_333_000*0.75, len(out), 10_000, "90 is not enough, 75 is")

	o.Format = ""
	_, err = do(t, newBridge(t, o), `{"prompt":"a"}`)
	require.Error(t, err, "re-encoding is an option")

	o.Format = "gif"
	_, err = bridge.New(o)
	require.ErrorContains(t, err, "RUNPOD_RECODE")

	// A result of /runsync may be twice as large.
	v, err := newBridge(t, bridge.Options{API: a1111.Client{Handler: big}})(t.Context(), runpod.Job{ID: "sync-1", Input: json.RawMessage(`{"prompt":"a"}`)})
	require.NoError(t, err)
	require.Len(t, v, len(big.body))

	_, err = do(t, newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{body: `"` + strings.Repeat("x", 11_000_000) + `"`}}}), `{"api":{"method":"GET","endpoint":"/sdapi/v1/loras"}}`)
	require.ErrorContains(t, err, "/sdapi/v1/loras")
}

func TestSettingsThatContradict(t *testing.T) {
	o := bridge.Options{API: a1111.Client{Handler: &api{}}}
	o.Upload = "sometimes"
	_, err := bridge.New(o)
	require.ErrorContains(t, err, "BUCKET_UPLOAD")
	o.Upload = ""
	o.Bucket.EndpointURL = "https://bucket"
	_, err = bridge.New(o)
	require.ErrorContains(t, err, "BUCKET_ACCESS_KEY_ID")
	o.Quality, o.Format = 101, "gif"
	_, err = bridge.New(o)
	require.ErrorContains(t, err, "BUCKET_ACCESS_KEY_ID")
	require.ErrorContains(t, err, "RUNPOD_RECODE_QUALITY is 101")
	require.ErrorContains(t, err, `RUNPOD_RECODE is "gif"`)
}
