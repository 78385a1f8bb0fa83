package sdapi_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"sdworker/api/gate"
	"sdworker/api/sdapi"
)

func TestTransport(t *testing.T) {
	f := start(t)
	for _, tc := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "//sdapi/v1/samplers", 404, `{"detail":"Not Found"}`},
		{"GET", "/sdapi/../sdapi/v1/samplers", 404, `{"detail":"Not Found"}`},
		{"GET", "/sdapi/v1/%73amplers/", 307, ""},
		{"HEAD", "/sdapi/v1/samplers", 405, `{"detail":"Method Not Allowed"}`},
		{"OPTIONS", "/sdapi/v1/samplers", 405, `{"detail":"Method Not Allowed"}`},
		{"GET", "/sdapi/v1/interrogate", 405, `{"detail":"Method Not Allowed"}`},
		{"GET", "/system_stats", 404, `{"detail":"Not Found"}`},
		{"GET", "/sdapi/v1/version", 404, `{"detail":"Not Found"}`},
		{"GET", "/sdapi/v1/sd-modules", 404, `{"detail":"Not Found"}`},
		{"GET", "/sdapi/v1/samplers/", 307, ""},
		{"GET", "/internal/ping", 200, `{}`},
		{"GET", "/login_check", 200, `null`},
		{"GET", "/login_check/", 200, `null`},
		{"GET", "/user", 200, `null`},
		{"POST", "/sdapi/v1/interrupt", 200, `{}`},
		{"POST", "/sdapi/v1/skip", 200, `null`},
		{"GET", "/controlnet/version", 200, `{"version":2}`},
		{"GET", "/controlnet/model_list?update=true", 200, `{"model_list":["canny [01234567]"]}`},
		{"GET", "/healthz", 200, `{"status":"ok"}`},
		{"GET", "/readyz", 503, `{"status":"loading","checkpoint":null}`},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			got := f.send(tc.method, tc.path, nil)
			require.Equal(t, tc.status, got.status)
			if tc.body != "" {
				require.Equal(t, tc.body, string(got.body))
			}
			require.Regexp(t, `^\d+(\.\d{1,4})?$`, got.header.Get("X-Process-Time"))
		})
	}
	require.Equal(t, "http://example.com/sdapi/v1/samplers?a=b", f.get("/sdapi/v1/samplers/?a=b").header.Get("Location"))
	require.Equal(t, "GET", f.send("DELETE", "/sdapi/v1/options", nil).header.Get("Allow"), "A1111's router names one method")
}

func TestGzip(t *testing.T) {
	f := start(t)
	plain := f.get("/sdapi/v1/options")
	require.Empty(t, plain.header.Get("Content-Encoding"))
	packed := f.send("GET", "/sdapi/v1/options", nil, "Accept-Encoding", "deflate, gzip")
	require.Equal(t, "gzip", packed.header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", packed.header.Get("Vary"))
	z, err := gzip.NewReader(strings.NewReader(string(packed.body)))
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, string(plain.body), string(text))
	require.Empty(t, f.send("GET", "/sdapi/v1/progress", nil, "Accept-Encoding", "gzip").header.Get("Content-Encoding"), "small replies stay as they are")
}

func TestBodies(t *testing.T) {
	f := start(t).guard(gate.Policy{MaxBody: 1000})
	const path = "/sdapi/v1/png-info"
	missing := `{"detail":[{"loc":["body"],"msg":"field required","type":"value_error.missing"}]}`
	dict := `{"detail":[{"loc":["body"],"msg":"value is not a valid dict","type":"type_error.dict"}]}`
	for _, tc := range []struct {
		name, body, contentType string
		status                  int
		want                    string
	}{
		{"none", "", "application/json", 422, missing},
		{"null", "null", "application/json", 422, missing},
		{"number", "3", "application/json", 422, dict},
		{"form", "image=x", "application/x-www-form-urlencoded", 422, dict},
		{"vendor JSON", "3", "application/vnd.api+json; charset=utf-8", 422, dict},
		{"not UTF-8", "\"\xff\"", "application/json", 400, `{"detail":"There was an error parsing the body"}`},
		{
			"too large", `{"image":"` + strings.Repeat("x", 1000) + `"}`, "application/json", 413,
			`{"error":"HTTPException","detail":"The request body is larger than 1000 bytes","body":"","errors":""}`,
		},
		{
			"position in code points", "{\"é\": x}", "application/json", 422,
			`{"detail":[{"loc":["body",6],"msg":"Expecting value: line 1 column 7 (char 6)","type":"value_error.jsondecode","ctx":{"msg":"Expecting value","doc":"{\"é\": x}","pos":6,"lineno":1,"colno":7}}]}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := f.send("POST", path, tc.body, "Content-Type", tc.contentType)
			require.Equal(t, tc.status, got.status)
			require.Equal(t, tc.want, string(got.body))
		})
	}
	require.Equal(t, 200, f.send("POST", "/sdapi/v1/options", "[]", "Content-Type", "").status, "no content type is JSON, and [] an object")
}

// A body that is too large is refused before it is sent, or when it gets so.
func TestLargeBodies(t *testing.T) {
	f := start(t).guard(gate.Policy{MaxBody: 1000})
	for length, body := range map[int64]io.Reader{1001: iotest.ErrReader(errors.New("read")), -1: strings.NewReader(strings.Repeat(" ", 1001))} {
		r := httptest.NewRequest(http.MethodPost, "/sdapi/v1/txt2img", body)
		r.ContentLength = length
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		require.Equal(t, 413, w.Code, "length %d: %s", length, w.Body)
	}
}

func TestCORS(t *testing.T) {
	origins := gate.Origins{List: []string{"http://page.example"}, Pattern: regexp.MustCompile(`https://.*\.example`)}
	f := start(t, func(c *sdapi.Config) { c.Origins = origins }).guard(gate.Policy{Origins: origins})
	preflight := func(origin string) reply {
		return f.send("OPTIONS", "/sdapi/v1/txt2img", nil, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	}
	for _, origin := range []string{"http://page.example", "https://any.example"} {
		got := preflight(origin)
		require.Equal(t, 200, got.status)
		require.Equal(t, "OK", string(got.body))
		require.Equal(t, origin, got.header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", got.header.Get("Access-Control-Allow-Methods"))
		require.Equal(t, "content-type", got.header.Get("Access-Control-Allow-Headers"))
		require.Equal(t, "600", got.header.Get("Access-Control-Max-Age"))
		require.Equal(t, "true", got.header.Get("Access-Control-Allow-Credentials"))
		require.Equal(t, "Origin", got.header.Get("Vary"))
		require.Equal(t, origin, f.send("GET", "/sdapi/v1/samplers", nil, "Origin", origin).header.Get("Access-Control-Allow-Origin"))
	}
	got := preflight("https://any.example.evil")
	require.Equal(t, 400, got.status)
	require.Equal(t, "Disallowed CORS origin", string(got.body))
	require.Empty(t, f.send("GET", "/sdapi/v1/samplers", nil, "Origin", "http://evil").header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, 405, start(t).send("OPTIONS", "/sdapi/v1/txt2img", nil, "Origin", "http://page.example", "Access-Control-Request-Method", "POST").status, "off by default")
}

func TestAccess(t *testing.T) {
	users := map[string]string{"user": "pass"}
	f := start(t).guard(gate.Policy{Credentials: gate.Credentials{Users: users}})
	for _, path := range []string{"/sdapi/v1/loras", "/docs", "/openapi.json", "/internal/ping", "/controlnet/model_list", "/healthz"} {
		require.Equal(t, 200, f.get(path).status, "%s needs no user, as in A1111", path)
	}
	require.Equal(t, 401, f.get("/sdapi/v1/cmd-flags").status)

	f.guard(gate.Policy{Credentials: gate.Credentials{Users: users, Token: "secret"}})
	for _, path := range []string{"/sdapi/v1/loras", "/openapi.json", "/sdapi/v1/options"} {
		require.Equal(t, 401, f.get(path).status, path)
		require.Equal(t, 401, f.send("GET", path, nil, "Authorization", "Bearer wrong").status, path)
		require.Equal(t, 200, f.send("GET", path, nil, "Authorization", "Bearer secret").status, path)
		require.Equal(t, 200, f.send("GET", path, nil, "Authorization", "Basic dXNlcjpwYXNz").status, path)
	}
	require.Equal(t, 200, f.get("/healthz").status)
	flags := f.send("GET", "/sdapi/v1/cmd-flags", nil, "Authorization", "Bearer secret").object(t)
	require.Nil(t, flags["api_auth"], "secrets are not shown")
}

// The document names every route of the API, with the models that it reads.
func TestOpenAPIIsTrue(t *testing.T) {
	f := start(t)
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage
			}
		}
	}
	got := f.get("/openapi.json")
	require.NoError(t, json.Unmarshal(got.body, &doc))
	require.Len(t, doc.Components.Schemas["StableDiffusionTxt2ImgProcessingAPI"].Properties, 55)
	require.JSONEq(t, `{"title":"Upscaling Resize","type":"number","minimum":0,"exclusiveMinimum":true,"default":2}`,
		string(doc.Components.Schemas["ExtrasSingleImageRequest"].Properties["upscaling_resize"]))
	for _, name := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllStringSubmatch(string(got.body), -1) {
		require.Contains(t, doc.Components.Schemas, name[1])
	}
	seen := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			require.NotEqual(t, 404, f.send(strings.ToUpper(method), path, nil).status, path)
			require.NotEqual(t, 405, f.send(strings.ToUpper(method), path, nil).status, path)
			require.False(t, seen[op.OperationID], op.OperationID)
			seen[op.OperationID] = true
		}
	}
	require.Contains(t, string(f.get("/docs").body), "openapi.json")
}
