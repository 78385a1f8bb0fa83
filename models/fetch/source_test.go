package fetch_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/models"
	"sdworker/models/fetch"
	"sdworker/models/modelstest"
)

func withEnv(pairs ...string) func(*fetch.Config) {
	env := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(c *fetch.Config) { c.Getenv = func(k string) string { return env[k] } }
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ ref, url, name string }{
		{"deliberate-v6", "https://huggingface.co/XpucT/Deliberate/resolve/main/Deliberate_v6.safetensors", "Deliberate_v6.safetensors"},
		{" Deliberate-V6 ", "https://huggingface.co/XpucT/Deliberate/resolve/main/Deliberate_v6.safetensors", "Deliberate_v6.safetensors"},
		{"taesd", "https://huggingface.co/madebyollin/taesd/resolve/main/diffusion_pytorch_model.safetensors", "taesd.safetensors"},
		{"org/repo/file.safetensors", "https://huggingface.co/org/repo/resolve/main/file.safetensors", "file.safetensors"},
		{"hf:org/repo/sub/file.gguf", "https://huggingface.co/org/repo/resolve/main/sub/file.gguf", "file.gguf"},
		{"org/repo@v1.0/a b.safetensors", "https://huggingface.co/org/repo/resolve/v1.0/a%20b.safetensors", "a b.safetensors"},
		{"https://huggingface.co/org/repo/blob/main/sub/x.safetensors", "https://huggingface.co/org/repo/resolve/main/sub/x.safetensors", "x.safetensors"},
		{"https://huggingface.co/org/repo/resolve/abc/x.safetensors?download=true", "https://huggingface.co/org/repo/resolve/abc/x.safetensors", "x.safetensors"},
		{"https://example.com/a/b.safetensors?x=1", "https://example.com/a/b.safetensors?x=1", "b.safetensors"},
		{"http://example.com/download", "http://example.com/download", "download.safetensors"},
		{"https://example.com/", "https://example.com/", "model.safetensors"},
		{"https://example.com/%2e%2e%2fevil.safetensors", "https://example.com/%2e%2e%2fevil.safetensors", "evil.safetensors"},
		{"https://example.com/.hidden.ckpt", "https://example.com/.hidden.ckpt", "hidden.ckpt"},
		{"https://example.com/a%0Ab.safetensors", "https://example.com/a%0Ab.safetensors", "a_b.safetensors"},
	} {
		t.Run(c.ref, func(t *testing.T) {
			src, err := fetcher(t, nil).Resolve(context.Background(), c.ref)
			require.NoError(t, err)
			require.Equal(t, c.url, src.URL)
			require.Equal(t, c.name, src.Name)
		})
	}
	require.Contains(t, fetch.Names(), fetch.Default)
}

// A mirror stands for the addresses that people copy from huggingface.co.
func TestMirrorOfHuggingFace(t *testing.T) {
	f := fetcher(t, withEnv("HF_ENDPOINT", "https://mirror.example/hf/"))
	for _, ref := range []string{
		"org/repo/sub/x.safetensors",
		"https://huggingface.co/org/repo/blob/main/sub/x.safetensors",
		"https://huggingface.co/org/repo/resolve/main/sub/x.safetensors?download=true",
		"https://hf.co/org/repo/resolve/main/sub/x.safetensors",
	} {
		src, err := f.Resolve(context.Background(), ref)
		require.NoError(t, err)
		require.Equal(t, "https://mirror.example/hf/org/repo/resolve/main/sub/x.safetensors", src.URL, ref)
	}
	src, err := f.Resolve(context.Background(), "https://other.example/org/repo/resolve/main/x.safetensors")
	require.NoError(t, err)
	require.Equal(t, "https://other.example/org/repo/resolve/main/x.safetensors", src.URL)
}

func TestResolveRefuses(t *testing.T) {
	for ref, want := range map[string]string{
		"":                                "no model to fetch",
		"unheard-of":                      "deliberate-v6",
		"org/repo":                        "org/repo/file",
		"ftp://example.com/a.safetensors": `scheme "ftp"`,
		"file:///etc/passwd":              `scheme "file"`,
		"https://":                        "not a URL",
		"https://example.com/" + strings.Repeat("n", 300) + ".safetensors": "too long",
		"https://civitai.com/models/123":                                   "modelVersionId",
		"https://civitai.com/models/123?modelVersionId=x":                  "not the number",
	} {
		_, err := fetcher(t, nil).Resolve(context.Background(), ref)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), ref)
		require.ErrorContains(t, err, want, ref)
	}
	_, err := fetcher(t, withEnv("HF_HUB_OFFLINE", "1")).Resolve(context.Background(), "deliberate-v6")
	require.ErrorContains(t, err, "HF_HUB_OFFLINE")
	_, err = fetcher(t, withEnv("HF_HUB_OFFLINE", "0")).Resolve(context.Background(), "deliberate-v6")
	require.NoError(t, err)
}

// The token reaches the hub and not the storage it redirects to; the digest that
// the hub announces is demanded.
func TestHuggingFace(t *testing.T) {
	body, sum := random(4*chunk, 20)
	storage := serve(t, body)
	storage.answer(func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		assert.Empty(t, r.Header.Get("Authorization"))
		return false
	})
	announced := sum
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer secret", r.Header.Get("Authorization"))
		assert.Equal(t, "/XpucT/Deliberate/resolve/main/Deliberate_v6.safetensors", r.URL.Path)
		w.Header().Set("X-Linked-Etag", `"`+announced+`"`)
		// Another name for this machine is another host to a client.
		http.Redirect(w, r, strings.Replace(storage.URL, "127.0.0.1", "localhost", 1)+"/blob?signature=abc", http.StatusFound)
	}))
	defer hub.Close()
	for _, token := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		f := fetcher(t, withEnv("HF_ENDPOINT", hub.URL+"/", token, "secret"))
		src, err := f.Resolve(context.Background(), "deliberate-v6")
		require.NoError(t, err)
		res, err := f.Fetch(context.Background(), src, filepath.Join(t.TempDir(), src.Name), fetch.Options{})
		require.NoError(t, err)
		require.Equal(t, sum, res.SHA256)
	}
	announced = strings.Repeat("0", 64)
	f := fetcher(t, withEnv("HF_ENDPOINT", hub.URL, "HF_TOKEN", "secret"))
	src, err := f.Resolve(context.Background(), "deliberate-v6")
	require.NoError(t, err)
	_, err = f.Fetch(context.Background(), src, filepath.Join(t.TempDir(), src.Name), fetch.Options{})
	require.ErrorContains(t, err, "has the sha256")
}

func TestCivitai(t *testing.T) {
	body, sum := random(2*chunk, 21)
	files := serve(t, body)
	var api *httptest.Server
	answer := func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer key", r.Header.Get("Authorization"))
		if r.URL.Path != "/api/v1/model-versions/456" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		file := func(name, format string, primary bool) map[string]any {
			return map[string]any{
				"name": name, "downloadUrl": api.URL + "/api/download/models/456", "primary": primary,
				"metadata": map[string]string{"format": format}, "hashes": map[string]string{"SHA256": strings.ToUpper(sum)},
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"model": map[string]string{"type": "LORA"}, "files": []any{
			map[string]any{"name": "no url"}, file("x.ckpt", "PickleTensor", true), file("x.safetensors", "SafeTensor", false),
		}})
	}
	api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/download/") {
			assert.Equal(t, "Bearer key", r.Header.Get("Authorization"))
			http.Redirect(w, r, files.URL+"/x", http.StatusTemporaryRedirect)
			return
		}
		answer(w, r)
	}))
	defer api.Close()
	f := fetcher(t, withEnv("CIVITAI_ENDPOINT", api.URL, "CIVITAI_TOKEN", "key"))
	for _, ref := range []string{"civitai:456", "civitai:123@456", api.URL + "/models/123/some-name?modelVersionId=456", api.URL + "/api/download/models/456"} {
		src, err := f.Resolve(context.Background(), ref)
		require.NoError(t, err, ref)
		require.Equal(t, "x.safetensors", src.Name)
		require.Equal(t, sum, src.SHA256)
		require.Equal(t, models.LoRA, src.Kind)
		res, err := f.Fetch(context.Background(), src, filepath.Join(t.TempDir(), src.Name), fetch.Options{})
		require.NoError(t, err)
		require.Equal(t, sum, res.SHA256)
	}
	_, err := f.Resolve(context.Background(), "civitai:7")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))

	answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"files":[]}`)) }
	_, err = f.Resolve(context.Background(), "civitai:456")
	require.ErrorContains(t, err, "lists no file")
	answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) }
	_, err = f.Resolve(context.Background(), "civitai:456")
	require.Equal(t, fault.Busy, fault.CodeOf(err))
	answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	_, err = fetcher(t, withEnv("CIVITAI_ENDPOINT", api.URL)).Resolve(context.Background(), "civitai:456")
	require.ErrorContains(t, err, "CIVITAI_TOKEN")
}

func TestProxy(t *testing.T) {
	body, sum := random(chunk, 22)
	proxy := serve(t, body) // a proxy for http gets the whole address
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	f := fetcher(t, nil)
	res, err := f.Fetch(context.Background(), fetch.Source{URL: "http://model.invalid/m"}, filepath.Join(t.TempDir(), "m"), fetch.Options{})
	require.NoError(t, err)
	require.Equal(t, sum, res.SHA256)
	require.Equal(t, "model.invalid", proxy.requests[0].Host)

	_, err = f.Fetch(context.Background(), fetch.Source{URL: "http://model.invalid/m", Public: true}, filepath.Join(t.TempDir(), "m"), fetch.Options{})
	require.Error(t, err, "a URL of a request is not fetched through a proxy")
}

func TestPull(t *testing.T) {
	dir := t.TempDir()
	good := content(t, modelstest.Write(t, filepath.Join(dir, "l.safetensors"), nil,
		modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_down.weight", 4, 768), modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_up.weight", 768, 4)))
	pages := map[string][]byte{
		"/l.safetensors":    good,
		"/page.safetensors": []byte("<!DOCTYPE html><html>please log in</html>"),
		"/cut.safetensors":  good[:len(good)-10],
		"/p.ckpt":           content(t, "../../formats/torchfile/testdata/embedding.pt"),
	}
	s := serve(t, nil)
	s.answer(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.ServeContent(w, r, "", modTime, strings.NewReader(string(pages[r.URL.Path])))
		return true
	})
	root := filepath.Join(dir, "models")
	f := fetcher(t, nil)
	res, err := f.Pull(context.Background(), s.URL+"/l.safetensors", root, fetch.PullOptions{Kind: models.LoRA})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "Lora/l.safetensors"), res.Path)
	renamed, err := f.Pull(context.Background(), s.URL+"/l.safetensors", root, fetch.PullOptions{Kind: models.LoRA, Name: "../../other.safetensors", SHA256: res.SHA256})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "Lora/other.safetensors"), renamed.Path)

	_, err = f.Pull(context.Background(), s.URL+"/l.safetensors", filepath.Join(dir, "elsewhere"), fetch.PullOptions{Kind: models.Checkpoint})
	require.ErrorContains(t, err, "holds a LoRA, not a checkpoint")

	for ref, want := range map[string]string{
		"/page.safetensors": "is a web page",
		"/cut.safetensors":  "is truncated",
		"/p.ckpt":           "is a PyTorch pickle",
	} {
		_, err := f.Pull(context.Background(), s.URL+ref, root, fetch.PullOptions{})
		require.Equal(t, fault.Invalid, fault.CodeOf(err), ref)
		require.ErrorContains(t, err, want)
		only(t, filepath.Join(root, "Stable-diffusion"))
	}
	_, err = f.Pull(context.Background(), s.URL+"/p.ckpt", root, fetch.PullOptions{Kind: models.Embedding, AllowPickle: true})
	require.NoError(t, err)
}
