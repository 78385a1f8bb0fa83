package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sdworker/internal/cli"
)

// receiver is a collector that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
	text  string // of everything
}

// newReceiver starts a collector and has this process send to it.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		assert.NoError(t, err)
		var sent collector.ExportTraceServiceRequest
		assert.NoError(t, proto.Unmarshal(body, &sent))
		assert.Equal(t, "/v1/traces", req.URL.Path)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.text += sent.String()
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	return r
}

// tree is the trace with the given id, a line a span, children below their parents in
// order of their beginning.
func (r *receiver) tree(t *testing.T, id []byte) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[string]bool{}
	for _, s := range r.spans {
		known[string(s.GetSpanId())] = true
	}
	var out strings.Builder
	var below func(parent string, indent int)
	below = func(parent string, indent int) {
		var children []*otlp.Span
		for _, s := range r.spans {
			isRoot := !known[string(s.GetParentSpanId())]
			if string(s.GetTraceId()) == string(id) && (parent == "" && isRoot || parent != "" && string(s.GetParentSpanId()) == parent) {
				children = append(children, s)
			}
		}
		sortByStart(children)
		for _, s := range children {
			out.WriteString(strings.Repeat("  ", indent) + s.GetName() + "\n")
			assert.LessOrEqual(t, s.GetStartTimeUnixNano(), s.GetEndTimeUnixNano(), s.GetName())
			below(string(s.GetSpanId()), indent+1)
		}
	}
	below("", 0)
	return out.String()
}

func sortByStart(list []*otlp.Span) {
	for i := range list {
		for k := i; k > 0 && list[k].GetStartTimeUnixNano() < list[k-1].GetStartTimeUnixNano(); k-- {
			list[k], list[k-1] = list[k-1], list[k]
		}
	}
}

var clientTrace = []byte{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36}

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// A request is one trace that goes on with the client's, and says nothing that the
// client keeps for itself.
func TestRequestsAreTraced(t *testing.T) {
	r := newReceiver(t)
	home := newHome(t)
	env := environ(home, openGate, "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL)
	process := begin(t, env, "serve", "--addr", "127.0.0.1:0", "--api-auth", "ann:secretword")
	c := &client{t: t, base: process.await("listening on "), http: &http.Client{Timeout: patience}, header: http.Header{}}
	t.Cleanup(c.http.CloseIdleConnections)
	c.ready()
	login := http.Request{Header: http.Header{}}
	login.SetBasicAuth("ann", "secretword")
	c.header = login.Header
	c.header.Set("Traceparent", traceparent)
	c.get("/sdapi/v1/progress")
	hires := `{"prompt": "a hidden fox", "steps": 2, "width": 64, "height": 64, "n_iter": 2, "enable_hr": true, "hr_scale": 2, "denoising_strength": 0.5, "hr_upscaler": "Latent"}`
	require.Equal(t, 2, c.do(http.MethodPost, "/sdapi/v1/txt2img?key=hiddenkey", hires).pictures(t))
	process.signal(syscall.SIGTERM)
	require.Equal(t, cli.StatusOK, process.wait())

	require.Equal(t, `POST /sdapi/v1/txt2img
  queue
  txt2img
    encode prompt
    sample
    encode prompt
    sample
    decode
    encode prompt
    sample
    encode prompt
    sample
    decode
  encode pictures
`, r.tree(t, clientTrace))
	for _, want := range []string{"deployment.environment.name", "service.version", "sdworker.checkpoint", "tiny.safetensors", "sdworker.unet.calls"} {
		require.Contains(t, r.text, want)
	}
	for _, secret := range []string{"hidden", "fox", "secretword", "YW5u"} {
		require.NotContains(t, r.text, secret)
	}
	require.NotContains(t, r.text, "/sdapi/v1/progress", "clients ask for it many times a second")
}

// So is a RunPod job, from its input to the bucket.
func TestRunPodJobsAreTraced(t *testing.T) {
	r := newReceiver(t)
	newHome(t)
	stored := make(chan string, 10)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		stored <- req.URL.Path
		w.Header().Set("Etag", `"1"`)
	}))
	t.Cleanup(store.Close)
	input, err := json.Marshal(map[string]any{"input": map[string]any{"prompt": "a hidden fox", "steps": 2, "width": 64, "height": 64, "traceparent": traceparent}})
	require.NoError(t, err)
	got := workerWith(t, func(p *program) {
		maps.Copy(p.Environ, map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "WARM_UP": "false", "TRACE_PROMPTS": "true",
			"BUCKET_ENDPOINT_URL": store.URL + "/mine", "BUCKET_ACCESS_KEY_ID": "hiddenid", "BUCKET_SECRET_ACCESS_KEY": "hiddensecret",
		})
	}, "runpod", "--test_input", string(input))
	require.Equal(t, cli.StatusOK, got.status, got.err)
	require.Contains(t, <-stored, "/mine/")
	require.Equal(t, `runpod job
  queue
  txt2img
    encode prompt
    sample
    decode
  encode pictures
  upload
`, r.tree(t, clientTrace))
	require.Contains(t, r.text, "a hidden fox", "TRACE_PROMPTS asks for it")
	require.NotContains(t, r.text, "hiddenid")
	require.NotContains(t, r.text, "hiddensecret")
}

func TestTraceSettingsAreChecked(t *testing.T) {
	newHome(t)
	got := workerWith(t, func(p *program) {
		p.Environ["OTEL_EXPORTER_OTLP_PROTOCOL"], p.Environ["OTEL_TRACES_EXPORTER"] = "grpc", "zipkin"
	}, "serve")
	require.Equal(t, cli.StatusUsage, got.status)
	require.Contains(t, got.err, "OTEL_EXPORTER_OTLP_PROTOCOL is")
	require.Contains(t, got.err, "OTEL_TRACES_EXPORTER is")
}
