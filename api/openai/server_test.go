package openai_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/api/a1111"
	"sdworker/api/gate"
	"sdworker/api/openai"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the handler in front of an API on stand-ins.
type fixture struct {
	t       *testing.T
	gen     *sdapitest.Generator
	queue   *inference.Queue
	server  *openai.Server
	handler http.Handler // server, or the gate in front of it
}

func start(t *testing.T, change ...func(*sdapi.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, gen: &sdapitest.Generator{}}
	cfg := sdapi.Config{Config: generation.Config{Queue: inference.NewQueue(f.gen, inference.QueueOptions{Depth: 1}), Catalog: sdapitest.NewCatalog().Catalog, Hashes: sdapitest.NewCatalog(), Log: zerolog.New(zerolog.NewTestWriter(t))}}
	for _, c := range change {
		c(&cfg)
	}
	f.queue = cfg.Queue
	api, err := sdapi.New(cfg)
	require.NoError(t, err)
	f.server = openai.New(openai.Config{API: a1111.Client{Handler: api}, Queue: f.queue, Preview: api.LivePreview})
	f.handler = f.server
	return f
}

// guard lets only clients with the token pass.
func (f *fixture) guard(token string) *fixture {
	f.handler = gate.NewMux(gate.Policy{Credentials: gate.Credentials{Token: token}}, nil, f.server.Door())
	return f
}

func (f *fixture) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r.WithContext(f.t.Context()))
	return w
}

func (f *fixture) generate(fields map[string]any, header ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	body := map[string]any{"prompt": "a fox", "size": "64x64", "steps": 1}
	maps.Copy(body, fields)
	raw, err := json.Marshal(body)
	require.NoError(f.t, err)
	r := httptest.NewRequest(http.MethodPost, "/v1/images/generations", bytes.NewReader(raw))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return f.send(r)
}

// file is a file of a form.
type file struct {
	field string
	data  []byte
}

func (f *fixture) edit(fields map[string]string, uploads ...file) *httptest.ResponseRecorder {
	f.t.Helper()
	return f.form("/v1/images/edits", fields, uploads...)
}

func (f *fixture) form(path string, fields map[string]string, uploads ...file) *httptest.ResponseRecorder {
	f.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for k, v := range fields {
		require.NoError(f.t, form.WriteField(k, v))
	}
	for _, up := range uploads {
		part, err := form.CreateFormFile(up.field, up.field+".png")
		require.NoError(f.t, err)
		_, err = part.Write(up.data)
		require.NoError(f.t, err)
	}
	require.NoError(f.t, form.Close())
	r := httptest.NewRequest(http.MethodPost, path, &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	return f.send(r)
}

// reply is a reply with pictures.
type reply struct {
	Created int64
	Data    []struct {
		Base64 string `json:"b64_json"`
		URL    string
	}
	Format string `json:"output_format"`

	Size, Quality string
	Usage         struct {
		Input int `json:"input_tokens"`
	}
}

func pictures(t *testing.T, w *httptest.ResponseRecorder) reply {
	t.Helper()
	require.Equal(t, 200, w.Code, "%s", w.Body)
	var r reply
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &r))
	return r
}

// failure is a reply with an error.
type failure struct {
	Message string
	Type    string
	Param   *string
	Code    *string
}

func failed(t *testing.T, w *httptest.ResponseRecorder, status int) failure {
	t.Helper()
	require.Equal(t, status, w.Code, "%s", w.Body)
	var r struct{ Error *failure }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &r))
	require.NotNil(t, r.Error, "%s", w.Body)
	return *r.Error
}

// size decodes a picture of a reply.
func size(t *testing.T, text string) (w, h int) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	w, h, err = imageio.Size(data)
	require.NoError(t, err)
	return w, h
}

// picture is a w by h PNG; the left half is transparent when holes is set.
func picture(t *testing.T, w, h int, holes bool) []byte {
	t.Helper()
	return encodeRGBA(t, w, h, func(x int) uint8 {
		if holes && x < w/2 {
			return 0
		}
		return 255
	})
}

// held makes the jobs of a generator wait, step by step.
func held(gen *sdapitest.Generator) (at chan int, next chan struct{}) {
	at, next = make(chan int), make(chan struct{})
	gen.Wait = func(ctx context.Context, _ inference.Hooks, step int) error {
		select {
		case at <- step:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
		return nil
	}
	return at, next
}

func handler(t *testing.T) http.Handler { return start(t).handler }

// What is not there is answered in the shape of other errors.
func TestUnknownRoutes(t *testing.T) {
	f := start(t)
	got := f.send(httptest.NewRequest(http.MethodPut, "/v1/models", nil))
	require.Equal(t, 405, got.Code)
	require.Equal(t, "GET, HEAD", got.Header().Get("Allow"))
	require.JSONEq(t, `{"error":{"message":"PUT is not possible here","type":"invalid_request_error","param":null,"code":null}}`, got.Body.String())
	got = f.send(httptest.NewRequest(http.MethodPost, "/v1/images/inventions", nil))
	require.Equal(t, 404, got.Code)
	require.Contains(t, got.Body.String(), `"message":"there is no /v1/images/inventions here"`)
}
