package sdapi_test

import (
	"bytes"
	"encoding/base64"
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

	"sdworker/api/gate"
	"sdworker/api/sdapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server on stand-ins.
type fixture struct {
	t       testing.TB
	server  *sdapi.Server
	handler http.Handler // server, or the gate in front of it
	queue   *inference.Queue
	gen     *sdapitest.Generator
	catalog *sdapitest.Catalog
}

// start makes a server; change may complete the configuration.
func start(tb testing.TB, change ...func(*sdapi.Config)) *fixture {
	tb.Helper()
	f := &fixture{t: tb, gen: &sdapitest.Generator{}, catalog: sdapitest.NewCatalog()}
	f.queue = inference.NewQueue(f.gen, inference.QueueOptions{})
	cfg := sdapi.Config{Config: generation.Config{
		Queue: f.queue, Catalog: f.catalog.Catalog, Hashes: f.catalog, OutputDir: tb.TempDir(), Log: zerolog.New(zerolog.NewTestWriter(tb)),
		Seed: func() int64 { return 4242 },
		Now:  func() time.Time { return time.Date(2024, 4, 22, 10, 20, 30, 0, time.UTC) },
	}}
	for _, c := range change {
		c(&cfg)
	}
	f.queue = cfg.Queue
	var err error
	f.server, err = sdapi.New(cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { f.server.Close() })
	f.handler = f.server
	return f
}

// guard puts a policy before the server.
func (f *fixture) guard(p gate.Policy, around ...gate.Middleware) *fixture {
	f.handler = gate.NewMux(p, around, f.server.Door())
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
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(f.t, err)
		r = bytes.NewReader(raw)
	}
	req := httptest.NewRequest(method, path, r)
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, req)
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

func (f *fixture) get(path string) reply            { f.t.Helper(); return f.send("GET", path, nil) }
func (f *fixture) post(path string, body any) reply { f.t.Helper(); return f.send("POST", path, body) }

// object decodes a JSON reply of status 200.
func (r reply) object(tb testing.TB) map[string]any {
	tb.Helper()
	require.Equal(tb, 200, r.status, "%s", r.body)
	var o map[string]any
	require.NoError(tb, json.Unmarshal(r.body, &o))
	return o
}

// generated is the reply of a generation route.
type generated struct {
	images     [][]byte
	parameters map[string]any
	info       map[string]any
	infoText   string
}

func (r reply) generated(tb testing.TB) generated {
	tb.Helper()
	require.Equal(tb, 200, r.status, "%s", r.body)
	var raw struct {
		Images     []string
		Parameters map[string]any
		Info       string
	}
	require.NoError(tb, json.Unmarshal(r.body, &raw))
	g := generated{parameters: raw.Parameters, infoText: raw.Info}
	for _, text := range raw.Images {
		data, err := base64.StdEncoding.DecodeString(text)
		require.NoError(tb, err)
		g.images = append(g.images, data)
	}
	require.NoError(tb, json.Unmarshal([]byte(raw.Info), &g.info))
	return g
}

// encoded is a w by h picture in base64.
func encoded(tb testing.TB, w, h int) string {
	tb.Helper()
	data, err := imageio.EncodePNG(imageio.Fill(w, h, [3]uint8{10, 200, 30}))
	require.NoError(tb, err)
	return base64.StdEncoding.EncodeToString(data)
}

// maskPicture is a w by h mask whose left half is white.
func maskPicture(tb testing.TB, w, h int) string {
	tb.Helper()
	m := imageio.NewGray(w, h)
	for i := range m.Pix {
		if i%w < w/2 {
			m.Pix[i] = 255
		}
	}
	data, err := imageio.EncodeGrayPNG(m)
	require.NoError(tb, err)
	return base64.StdEncoding.EncodeToString(data)
}

// small are the fields of a request that costs nothing.
func small(more map[string]any) map[string]any {
	body := map[string]any{"steps": 1, "width": 64, "height": 64, "seed": 1}
	maps.Copy(body, more)
	return body
}

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
