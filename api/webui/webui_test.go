package webui_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
	"sdworker/api/sdapi/schema"
	"sdworker/api/sdapi/sdapitest"
	"sdworker/api/webui"
	"sdworker/inference"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	webui.Handler(nil).ServeHTTP(w, r)
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
	webui.Handler(nil).ServeHTTP(w, r)
	require.Equal(t, 405, w.Code)
}

func TestToys(t *testing.T) {
	w := get(t, "/webui/toys.json")
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"titles": null, "prompts": null, "side": 0, "steps": 0, "sampler": ""}`, w.Body.String())
	w = httptest.NewRecorder()
	toys := webui.Toys{Titles: []string{"demo.safetensors"}, Prompts: []string{"a cat"}, Side: 256, Steps: 20, Sampler: "Euler a"}
	webui.Handler(func() webui.Toys { return toys }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/webui/toys.json", nil))
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
	own := []string{"model", "hr_denoising"}
	var fields []string
	for _, m := range []schema.Model{schema.Txt2Img, schema.Img2Img} {
		for _, f := range m.Fields {
			fields = append(fields, f.Name)
		}
	}
	form, _, ok := strings.Cut(source(t)["index.html"], "</form>")
	require.True(t, ok)
	names := regexp.MustCompile(` name="(\w+)"`).FindAllStringSubmatch(form, -1)
	require.NotEmpty(t, names)
	for _, m := range names[1:] { // the first is of the viewport
		require.True(t, slices.Contains(fields, m[1]) || slices.Contains(own, m[1]), m[1])
	}
}

func TestPageStartsInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	api, err := sdapi.New(sdapi.Config{Queue: inference.NewQueue(&sdapitest.Generator{}, inference.QueueOptions{}), Catalog: sdapitest.NewCatalog().Catalog, Hashes: sdapitest.NewCatalog()})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/{$}", webui.Handler(nil))
	mux.Handle("/webui/", webui.Handler(nil))
	mux.Handle("/", api)
	server := httptest.NewServer(mux)
	defer server.Close()
	cmd := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=10000", "--dump-dom", server.URL)
	out, err := cmd.Output()
	require.NoError(t, err)
	dom := string(out)
	require.Contains(t, dom, `<option value="other.safetensors [cc6cb27103]">`)
	require.Contains(t, dom, `<option value="DPM++ 2M">`)
	require.Contains(t, dom, `<p id="problem" role="alert"></p>`, "no error is shown")
}
