package bridge_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"sdworker/api/a1111"
	"sdworker/api/runpod"
	"sdworker/api/runpod/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func FuzzInput(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"a"}`, `{"input":{"input":{}}}`, `{"api":{"method":"GET","endpoint":"/sdapi/v1/x?a=1"},"payload":{"b":[1]}}`,
		`{"mode":"img2img","init_images":["x"],"sampler_name":"Euler Karras"}`, `null`, `[`, `{"api":{"method":"POST","endpoint":"v1/download"},"payload":{"source_url":"http://x","download_path":"../y"}}`,
	} {
		f.Add(seed, 200, `{"images":["aGk="]}`)
	}
	f.Add(`{"prompt":"a"}`, 422, `{"detail":[{"loc":["body",1,null],"msg":"x"}]}`)
	f.Add(`{"prompt":"a"}`, 500, `{"error":"X","detail":{},"errors":"''"}`)
	f.Fuzz(func(t *testing.T, input string, status int, reply string) {
		server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if status >= 200 && status < 600 {
				w.WriteHeader(status)
			}
			_, _ = io.WriteString(w, reply)
		})
		h, err := bridge.New(bridge.Options{API: a1111.Client{Handler: server}, SplitSampler: split, Fetcher: &fetcher{}, ModelDirs: []string{t.TempDir()}})
		if err != nil {
			t.Fatal(err)
		}
		v, err := h(t.Context(), runpod.Job{ID: "j", Input: json.RawMessage(input)})
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		if raw, ok := v.(runpod.Verbatim); ok && json.Valid([]byte(reply)) && !json.Valid(raw) {
			t.Fatalf("the output is not JSON: %s", raw)
		}
	})
}
