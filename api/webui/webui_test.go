package webui_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi/schema"
	"sdworker/api/webui"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	webui.Page(func() webui.Toys { return webui.Toys{} }).ServeHTTP(w, r)
	return w
}

func TestFiles(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/webui/style.css": "text/css; charset=utf-8",
		"/webui/app.js": "text/javascript; charset=utf-8", "/webui/jobs.js": "text/javascript; charset=utf-8",
	} {
		w := get(t, path)
		require.Equal(t, 200, w.Code, path)
		require.Equal(t, kind, w.Header().Get("Content-Type"))
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		require.Equal(t, 304, get(t, path, "If-None-Match", w.Header().Get("ETag")).Code, path)
	}
	for _, path := range []string{"/index.html", "/webui/", "/webui/none.js", "/other"} {
		require.Equal(t, 404, get(t, path).Code, path)
	}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	w := httptest.NewRecorder()
	webui.Page(func() webui.Toys { return webui.Toys{} }).ServeHTTP(w, r)
	require.Equal(t, 405, w.Code)
}

func TestToys(t *testing.T) {
	w := get(t, "/webui/toys.json")
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"titles": null, "prompts": null, "side": 0, "steps": 0, "sampler": ""}`, w.Body.String())
	w = httptest.NewRecorder()
	toys := webui.Toys{Titles: []string{"demo.safetensors"}, Prompts: []string{"a cat"}, Side: 256, Steps: 20, Sampler: "Euler a"}
	webui.Page(func() webui.Toys { return toys }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/webui/toys.json", nil))
	require.JSONEq(t, `{"titles": ["demo.safetensors"], "prompts": ["a cat"], "side": 256, "steps": 20, "sampler": "Euler a"}`, w.Body.String())
}

// source returns the text of every file of the page.
func source(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS("page"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile("page/" + path)
		out[path] = string(data)
		return err
	}))
	return out
}

func TestNothingFromElsewhere(t *testing.T) {
	for name, text := range source(t) {
		require.NotRegexp(t, `https?://|@import|['"(]//`, text, name)
		require.NotRegexp(t, `innerHTML|insertAdjacentHTML|document\.write|\beval\(`, text, "%s: texts of others must stay texts", name)
	}
	require.NotRegexp(t, ` on[a-z]+="| style="|<style|<script>`, source(t)["index.html"], "the policy forbids it")
}

func TestNamesAreThere(t *testing.T) {
	files := source(t)
	page := files["index.html"]
	for name, text := range files {
		for _, m := range regexp.MustCompile(`(?:\$|getElementById)\('([\w-]+)'\)`).FindAllStringSubmatch(text, -1) {
			require.Contains(t, page, `id="`+m[1]+`"`, name)
		}
		for _, m := range regexp.MustCompile(`from '\./(\w+\.js)'`).FindAllStringSubmatch(text, -1) {
			require.Contains(t, files, m[1], name)
		}
	}
}

// Every control of the form is a field of the API, but for those that the
// scripts translate.
func TestFormHasFieldsOfTheAPI(t *testing.T) {
	own := []string{"mode", "model", "sd_vae", "clip_skip", "cfg_rescale", "step_cache", "hr_denoising", "extras_resize_mode"}
	var fields []string
	for _, m := range []schema.Model{schema.Txt2Img, schema.Img2Img, schema.ExtrasSingle} {
		for _, f := range m.Fields {
			fields = append(fields, f.Name)
		}
	}
	form, _, ok := strings.Cut(source(t)["index.html"], "</form>")
	require.True(t, ok)
	names := regexp.MustCompile(` name="(\w+)"`).FindAllStringSubmatch(form, -1)
	require.NotEmpty(t, names)
	for _, m := range names[1:] { // the first is of the viewport
		ofScript := strings.HasPrefix(m[1], "ad_") || strings.HasPrefix(m[1], "soft_")
		require.True(t, slices.Contains(fields, m[1]) || slices.Contains(own, m[1]) || ofScript, m[1])
	}
}

// data asks what the page asks beside the API.
func data(method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	webui.Data(webui.Config{
		Files: func() webui.Files {
			return webui.Files{LoRAs: []webui.File{{Name: "ink", Bytes: 5, Kind: "rank 8", Triggers: []string{"inked"}}}}
		},
		Choices: func() webui.Choices {
			return webui.Choices{Samplers: []string{"Euler"}, Options: []webui.Option{{Name: "randn_source", Value: "GPU", Choices: []string{"GPU", "CPU"}}}}
		},
		CountTokens: func(p webui.Prompt) webui.Tokens { return webui.Tokens{Count: len(p.Text), Limit: 75} },
		Parameters: func(text string) (webui.Parameters, error) {
			if text == "bad" {
				return webui.Parameters{}, errors.New("no number")
			}
			return webui.Parameters{Fields: map[string]any{"prompt": text}}, nil
		},
	}).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestData(t *testing.T) {
	require.JSONEq(t, `{"checkpoints": null, "vaes": null, "embeddings": null, "loras": [{"name": "ink", "bytes": 5, "kind": "rank 8", "triggers": ["inked"]}]}`,
		data(http.MethodGet, webui.FilesPath, "").Body.String())
	require.JSONEq(t, `{"samplers": ["Euler"], "schedulers": null, "options": [{"name": "randn_source", "value": "GPU", "choices": ["GPU", "CPU"]}]}`,
		data(http.MethodGet, webui.ChoicesPath, "").Body.String())
	require.JSONEq(t, `{"count": 3, "limit": 75}`, data(http.MethodPost, webui.TokensPath, `{"text": "cat"}`).Body.String())
	require.Contains(t, data(http.MethodPost, webui.ParametersPath, `{"text": "cat"}`).Body.String(), `"fields":{"prompt":"cat"}`)
	for path, body := range map[string]string{webui.TokensPath: "{", webui.ParametersPath: `{"text": "bad"}`} {
		w := data(http.MethodPost, path, body)
		require.Equal(t, http.StatusUnprocessableEntity, w.Code)
		require.Contains(t, w.Body.String(), `"detail"`)
	}
}
