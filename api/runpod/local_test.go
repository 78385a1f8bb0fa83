package runpod_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod"
)

// patience bounds every wait; on a slow machine that is busy all takes long.
const patience = 2 * time.Minute

// toy does what its input says.
func toy(ctx context.Context, job runpod.Job) (any, error) {
	var in struct {
		Return any
		Error  string
		Stream []int
		Hang   bool
	}
	if err := json.Unmarshal(job.Input, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Error != "":
		return nil, errors.New(in.Error)
	case in.Hang:
		job.Progress("hanging")
		<-ctx.Done()
		return nil, ctx.Err()
	case in.Stream != nil:
		for _, part := range in.Stream {
			if err := job.Stream(ctx, part); err != nil {
				return nil, err
			}
		}
		return nil, nil
	default:
		return in.Return, nil
	}
}

// serve runs the local API for a test.
func serve(t *testing.T, cfg runpod.Config) *httptest.Server {
	t.Helper()
	api := runpod.NewLocalAPI(toy, cfg)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Work(ctx) }()
	server := httptest.NewServer(api)
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server
}

// call sends a request and decodes the reply.
func call(t *testing.T, method, url, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var out map[string]any
	_ = json.Unmarshal(raw, &out) // text pages stay nil
	return resp.StatusCode, out
}

// poll asks for a job's status until it is as wanted.
func poll(t *testing.T, url, want string) map[string]any {
	t.Helper()
	var out map[string]any
	require.Eventually(t, func() bool {
		_, out = call(t, http.MethodGet, url, "")
		return out["status"] == want
	}, patience, 2*time.Millisecond)
	return out
}

func TestLocalRunSync(t *testing.T) {
	url := serve(t, runpod.Config{}).URL
	for _, prefix := range []string{"", "/v2/any-endpoint"} {
		code, out := call(t, http.MethodPost, url+prefix+"/runsync", `{"input":{"return":{"a":1}}}`)
		require.Equal(t, 200, code)
		require.Equal(t, "COMPLETED", out["status"])
		require.Equal(t, map[string]any{"a": 1.0}, out["output"])
		require.Contains(t, out, "delayTime")
		require.True(t, strings.HasPrefix(out["id"].(string), "sync-"))
	}
	_, out := call(t, http.MethodPost, url+"/runsync", `{"input":{"error":"steps: no"}}`)
	require.Equal(t, "FAILED", out["status"])
	require.Equal(t, "steps: no", out["error"])

	_, out = call(t, http.MethodPost, url+"/runsync?wait=1", `{"input":{"hang":true}}`)
	require.Equal(t, "IN_PROGRESS", out["status"])
	_, out = call(t, http.MethodPost, url+"/cancel/"+out["id"].(string), "")
	require.Equal(t, "CANCELLED", out["status"])
}

func TestLocalRefusals(t *testing.T) {
	url := serve(t, runpod.Config{}).URL
	for _, tc := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "/run", `{`, 422},
		{"POST", "/run", `{}`, 422},
		{"POST", "/run", `{"input":"text"}`, 422},
		{"POST", "/runsync", `{"input":null}`, 422},
		{"POST", "/runsync", `{"input":"` + strings.Repeat("x", runpod.SyncLimit) + `"}`, 413},
		{"GET", "/run", ``, 405},
		{"GET", "/nope", ``, 404},
		{"GET", "/status/nope", ``, 200},
		{"POST", "/stream/nope", ``, 200},
		{"POST", "/cancel/nope", ``, 200},
	} {
		code, out := call(t, tc.method, url+tc.path, tc.body)
		require.Equal(t, tc.code, code, "%s %s", tc.method, tc.path)
		if tc.code == 200 {
			require.Equal(t, map[string]any{"id": "nope", "status": "FAILED", "error": "Job ID not found"}, out)
		}
	}
}

func TestLocalRunStatusStreamCancelPurge(t *testing.T) {
	url := serve(t, runpod.Config{}).URL
	submit := func(input string) string {
		code, out := call(t, http.MethodPost, url+"/run", `{"input":`+input+`}`)
		require.Equal(t, 200, code)
		require.Equal(t, "IN_QUEUE", out["status"])
		return out["id"].(string)
	}
	require.Equal(t, 7.0, poll(t, url+"/status/"+submit(`{"return":7}`), "COMPLETED")["output"])

	id := submit(`{"stream":[1,2,3]}`)
	require.Equal(t, []any{1.0, 2.0, 3.0}, poll(t, url+"/status/"+id, "COMPLETED")["output"])
	_, out := call(t, http.MethodGet, url+"/stream/"+id, "")
	require.Equal(t, "COMPLETED", out["status"])
	require.Len(t, out["stream"], 3)
	_, out = call(t, http.MethodPost, url+"/stream/"+id, "")
	require.Empty(t, out["stream"], "a part is handed out once")

	hanging := submit(`{"hang":true}`)
	require.Eventually(t, func() bool {
		_, out := call(t, http.MethodPost, url+"/status/"+hanging, "")
		return out["output"] == "hanging"
	}, patience, 2*time.Millisecond)
	queued := []string{submit(`{}`), submit(`{}`)}
	_, health := call(t, http.MethodGet, url+"/health", "")
	require.Equal(t, 1.0, health["workers"].(map[string]any)["running"])
	_, out = call(t, http.MethodPost, url+"/cancel/"+queued[0], "")
	require.Equal(t, "CANCELLED", out["status"])
	_, out = call(t, http.MethodPost, url+"/purge-queue", "")
	require.Equal(t, "completed", out["status"])
	require.LessOrEqual(t, out["removed"], 1.0)
	call(t, http.MethodPost, url+"/cancel/"+hanging, "")
	require.Equal(t, 1.0, poll(t, url+"/status/"+submit(`{"return":1}`), "COMPLETED")["output"], "a cancelled job frees its slot")
	code, _ := call(t, http.MethodGet, url+"/docs", "")
	require.Equal(t, 200, code)
}

func TestLocalRealtime(t *testing.T) {
	url := serve(t, runpod.Config{EndpointID: "ep"}).URL
	_, out := call(t, http.MethodPost, url+"/ep/realtime", `{"id":"mine","input":{"return":1}}`)
	require.Equal(t, map[string]any{"output": 1.0}, out)
	_, out = call(t, http.MethodPost, url+"/ep/realtime", `{"input":{"error":"no"}}`)
	require.Equal(t, map[string]any{"error": "no"}, out)
}

func TestLocalWebhook(t *testing.T) {
	got := make(chan []byte, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- body
	}))
	defer hook.Close()
	url := serve(t, runpod.Config{}).URL
	call(t, http.MethodPost, url+"/run", `{"input":{"return":1},"webhook":"`+hook.URL+`"}`)
	select {
	case body := <-got:
		require.Contains(t, string(body), `"output":1`)
		require.Contains(t, string(body), `"status":"COMPLETED"`)
	case <-time.After(patience):
		t.Fatal("no webhook")
	}
}

func TestRunOnce(t *testing.T) {
	for _, tc := range []struct{ name, input, file, out, err string }{
		{name: "flag", input: `{"input":{"return":{"a":"<"}}}`, out: `{"a":"<"}` + "\n"},
		{name: "file", file: `{"input":{"return":2}}`, out: "2\n"},
		{name: "flag wins", input: `{"input":{"return":1}}`, file: `{"input":{"return":2}}`, out: "1\n"},
		{name: "stream", input: `{"input":{"stream":[1,2]}}`, out: "[1,2]\n"},
		{name: "failure", input: `{"input":{"error":"prompt: no"}}`, err: "prompt: no"},
		{name: "nothing", err: "there is no test_input.json"},
		{name: "no input", input: `{"prompt":"a"}`, err: `--test_input has no "input"`},
		{name: "no JSON", file: `prompt`, err: "test_input.json is not a JSON object"},
		{name: "id", input: `{"id":3,"input":{}}`, err: `"id" that is not a text`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if tc.file != "" {
				require.NoError(t, os.WriteFile("test_input.json", []byte(tc.file), 0o600))
			}
			var out bytes.Buffer
			err := runpod.Run(t.Context(), toy, runpod.Config{}, runpod.Flags{TestInput: tc.input}, &out)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.out, out.String())
		})
	}
}

func TestRunServesTheAPI(t *testing.T) {
	log := &logBuffer{}
	cfg := runpod.Config{Log: runpod.NewLogger(log, runpod.Config{})}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runpod.Run(ctx, toy, cfg, runpod.Flags{ServeAPI: true, APIHost: "127.0.0.1", Concurrency: 2}, io.Discard)
	}()
	var url string
	require.Eventually(t, func() bool {
		_, rest, ok := strings.Cut(log.String(), "url=")
		url, _, _ = strings.Cut(rest, "\n")
		return ok
	}, patience, time.Millisecond)
	_, out := call(t, http.MethodPost, url+"/runsync", `{"input":{"return":1}}`)
	require.Equal(t, 1.0, out["output"])
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/run", strings.NewReader(`{"input":{"return":1}}`))
	require.NoError(t, err)
	req.Header.Set("Origin", "https://evil.example")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "a page of another site")
	http.DefaultClient.CloseIdleConnections()
	stop()
	require.NoError(t, <-done)

	listener := httptest.NewServer(http.NotFoundHandler())
	defer listener.Close()
	host, port, _ := strings.Cut(strings.TrimPrefix(listener.URL, "http://"), ":")
	var n int
	require.NoError(t, json.Unmarshal([]byte(port), &n))
	err = runpod.Run(t.Context(), toy, cfg, runpod.Flags{ServeAPI: true, APIHost: host, APIPort: n}, io.Discard)
	require.ErrorContains(t, err, "--rp_api_port")
}

func TestBalancedHealth(t *testing.T) {
	state := runpod.Loading
	h := runpod.Balanced(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }), func() runpod.Health { return state })
	ask := func(method, path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code
	}
	require.Equal(t, 204, ask("GET", "/ping"))
	state = runpod.Ready
	require.Equal(t, 200, ask("GET", "/ping"))
	state = runpod.Unhealthy
	require.Equal(t, 503, ask("GET", "/ping"))
	require.Equal(t, 405, ask("POST", "/ping"))
	require.Equal(t, 418, ask("GET", "/sdapi/v1/options"))
}
