package mcp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
	"sdworker/api/gate"
	"sdworker/api/mcp"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/internal/clienttest"
)

type fixture struct {
	gen    *sdapitest.Generator
	queue  *inference.Queue
	server *mcp.Server
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{gen: &sdapitest.Generator{}}
	f.queue = inference.NewQueue(f.gen, inference.QueueOptions{Depth: 2})
	api, err := sdapi.New(sdapi.Config{Config: generation.Config{Queue: f.queue, Catalog: sdapitest.NewCatalog().Catalog, Hashes: sdapitest.NewCatalog(), OutputDir: t.TempDir(), Log: zerolog.New(zerolog.NewTestWriter(t)), Seed: func() int64 { return 4242 }}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, api.Close()) })
	f.server = mcp.New(mcp.Config{API: a1111.Client{Handler: gate.NewMux(gate.Policy{}, nil, api.Door())}, Queue: f.queue, Version: "test"})
	t.Cleanup(f.server.Close)
	return f
}

// serve is the server over HTTP, which wants a token.
func (f *fixture) serve(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(gate.NewMux(gate.Policy{Credentials: gate.Credentials{Token: "secret"}, MaxBody: 1 << 20}, nil, f.server.Door()))
	t.Cleanup(s.Close)
	return s
}

type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer secret")
	return http.DefaultTransport.RoundTrip(r)
}

// connect is a client in this process.
func (f *fixture) connect(t *testing.T, o *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	ours, theirs := sdk.NewInMemoryTransports()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(done); _ = f.server.Run(ctx, theirs) }()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test"}, o).Connect(t.Context(), ours, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = session.Close(); cancel(); <-done })
	return session
}

func call(t *testing.T, s *sdk.ClientSession, name string, args map[string]any) *sdk.CallToolResult {
	t.Helper()
	res, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	require.NoError(t, err)
	return res
}

// into reads structured content.
func into(t *testing.T, res *sdk.CallToolResult, out any) {
	t.Helper()
	require.False(t, res.IsError, "%v", failure(res))
	raw, err := json.Marshal(res.StructuredContent)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, out))
}

func failure(res *sdk.CallToolResult) string {
	for _, c := range res.Content {
		if text, ok := c.(*sdk.TextContent); ok && res.IsError {
			return text.Text
		}
	}
	return ""
}

func pictures(t *testing.T, res *sdk.CallToolResult) (out []imageio.Decoded, mime []string) {
	t.Helper()
	for _, c := range res.Content {
		if image, ok := c.(*sdk.ImageContent); ok {
			m, err := imageio.Decode(image.Data, imageio.MaxPixels)
			require.NoError(t, err)
			out, mime = append(out, m), append(mime, image.MIMEType)
		}
	}
	return out, mime
}

func picture(t *testing.T, w, h int) string {
	t.Helper()
	raw, err := imageio.EncodePNG(imageio.Fill(w, h, [3]uint8{1, 2, 3}))
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(raw)
}

func TestTools(t *testing.T) {
	f := start(t)
	s := f.connect(t, nil)
	list, err := s.ListTools(t.Context(), nil)
	require.NoError(t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	require.ElementsMatch(t, []string{"generate_image", "edit_image", "upscale_image", "list_models", "get_progress", "cancel_job"}, names)

	res := call(t, s, "generate_image", map[string]any{"prompt": "a cat", "width": 64, "height": 128, "steps": 3, "seed": 7, "count": 2, "cfg_scale": 4.5, "sampler": "DDIM", "model": "other", "negative_prompt": "bad"})
	var made mcp.Made
	into(t, res, &made)
	got, mime := pictures(t, res)
	require.Len(t, got, 2)
	require.Equal(t, [2]int{64, 128}, [2]int{got[0].W, got[0].H})
	require.Equal(t, []string{"image/jpeg", "image/jpeg"}, mime)
	require.Equal(t, []int64{7, 8}, made.Seeds)
	require.Contains(t, made.Parameters[1], "a cat\nNegative prompt: bad\nSteps: 3, Sampler: DDIM")
	require.Contains(t, made.Parameters[0], "Model: other")
	require.Regexp(t, `^task\(mcp-`, made.Job)

	res = call(t, s, "edit_image", map[string]any{"prompt": "a dog", "image": "data:image/png;base64," + picture(t, 64, 72), "mask": picture(t, 64, 72), "strength": 0.4, "format": "png", "steps": 1})
	into(t, res, &made)
	got, mime = pictures(t, res)
	require.Equal(t, []string{"image/png"}, mime)
	require.Equal(t, [2]int{64, 72}, [2]int{got[0].W, got[0].H})
	last := f.gen.Last()
	require.InDelta(t, 0.4, last.DenoisingStrength, 0)
	require.False(t, last.Init.Mask.OnlyMasked)

	res = call(t, s, "upscale_image", map[string]any{"image": picture(t, 20, 10), "scale": 4, "format": "webp"})
	into(t, res, &made)
	got, mime = pictures(t, res)
	require.Equal(t, []string{"image/webp"}, mime)
	require.Equal(t, [2]int{80, 40}, [2]int{got[0].W, got[0].H})

	var models mcp.Models
	into(t, call(t, s, "list_models", nil), &models)
	require.Contains(t, models.Checkpoints[1], "other.safetensors")
	require.Contains(t, models.LoRAs, "foo")
	require.Contains(t, models.Samplers, "Euler a")
	require.Contains(t, models.Schedulers, "Karras")
	require.Contains(t, models.Upscalers, "R-ESRGAN 4x+")
	require.Contains(t, models.Embeddings, "style")

	for name, tc := range map[string]struct {
		tool string
		args map[string]any
		text string
	}{
		"no picture":      {"edit_image", map[string]any{"prompt": "x", "image": "???"}, "image is no picture in base64"},
		"no such sampler": {"generate_image", map[string]any{"prompt": "x", "sampler": "nope"}, "Sampler not found"},
		"too large":       {"generate_image", map[string]any{"prompt": "x", "width": 100000}, "8192"},
		"no such format":  {"generate_image", map[string]any{"prompt": "x", "format": "bmp"}, "want png, jpg or webp"},
		"no such job":     {"cancel_job", map[string]any{"job": "x"}, `there is no job "x"`},
		"no steps":        {"generate_image", map[string]any{"prompt": "x", "steps": -1}, "steps is -1, want 1 to 1000"},
	} {
		res := call(t, s, tc.tool, tc.args)
		require.True(t, res.IsError, name)
		require.Contains(t, failure(res), tc.text, name)
	}
}

func TestProgressAndCancel(t *testing.T) {
	f := start(t)
	reached, release := make(chan struct{}), make(chan struct{})
	f.gen.Wait = func(ctx context.Context, _ inference.Hooks, step int) error {
		if step == 2 {
			close(reached)
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	}
	var mu sync.Mutex
	var seen []float64
	told := make(chan struct{}, 100)
	s := f.connect(t, &sdk.ClientOptions{ProgressNotificationHandler: func(_ context.Context, n *sdk.ProgressNotificationClientRequest) {
		mu.Lock()
		seen = append(seen, n.Params.Progress)
		mu.Unlock()
		told <- struct{}{}
	}})
	params := &sdk.CallToolParams{Name: "generate_image", Arguments: map[string]any{"prompt": "x", "steps": 4, "width": 64, "height": 64}}
	params.SetProgressToken("t1")
	result := make(chan *sdk.CallToolResult, 1)
	go func() {
		res, err := s.CallTool(t.Context(), params)
		if err == nil {
			result <- res
		}
		close(result)
	}()
	<-reached
	<-told
	var state mcp.State
	into(t, call(t, s, "get_progress", nil), &state)
	require.True(t, state.Running)
	require.Equal(t, 4, state.Steps)
	require.InDelta(t, 50, state.Percent, 26)
	var ended mcp.Ended
	into(t, call(t, s, "cancel_job", map[string]any{"job": state.Job}), &ended)
	require.True(t, ended.Canceled)
	res := <-result
	require.NotNil(t, res)
	require.True(t, res.IsError)
	require.Contains(t, failure(res), "canceled")
	close(release)
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, seen)
	require.IsIncreasing(t, append([]float64{-1}, seen...))
	into(t, call(t, s, "get_progress", nil), &state)
}

func TestFullQueue(t *testing.T) {
	f := start(t)
	for range 2 {
		place, err := f.queue.Reserve(t.Context())
		require.NoError(t, err)
		defer place.Release()
	}
	res := call(t, f.connect(t, nil), "generate_image", map[string]any{"prompt": "x"})
	require.Contains(t, failure(res), "queue is full")
}

func TestOverHTTP(t *testing.T) {
	f := start(t)
	server := f.serve(t)
	client := sdk.NewClient(&sdk.Implementation{Name: "test"}, nil)
	_, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: server.URL + "/mcp"}, nil)
	require.ErrorContains(t, err, "Unauthorized")
	s, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: server.URL + "/mcp", HTTPClient: &http.Client{Transport: bearer{}}}, nil)
	require.NoError(t, err)
	defer s.Close()
	got, _ := pictures(t, call(t, s, "generate_image", map[string]any{"prompt": "x", "width": 64, "height": 64, "steps": 1}))
	require.Len(t, got, 1)
	_, err = s.CallTool(t.Context(), &sdk.CallToolParams{Name: "edit_image", Arguments: map[string]any{"prompt": "x", "image": string(make([]byte, 2<<20))}})
	require.Error(t, err, "bodies have the limit of the API")
}

// The official Python client gets pictures and progress.
func TestPythonClient(t *testing.T) {
	python := clienttest.Need(t, "api/mcp/testdata/client/install.sh", "mcp", "bin", "python")
	f := start(t)
	f.gen.Wait = func(context.Context, inference.Hooks, int) error { time.Sleep(time.Millisecond); return nil }
	out, err := exec.CommandContext(t.Context(), python, "testdata/client/client.py", f.serve(t).URL+"/mcp", "secret").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "ok")
}
