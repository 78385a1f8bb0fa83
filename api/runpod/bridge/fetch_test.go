package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/runpod/bridge"
)

type fetcher struct{ got []string }

var _ bridge.Fetcher = (*fetcher)(nil)

func (f *fetcher) Download(_ context.Context, source, path string) error {
	f.got = []string{source, path}
	return nil
}

func (f *fetcher) Sync(_ context.Context, repo, token, dir string) ([]string, error) {
	f.got = []string{repo, token, dir}
	return []string{"a/b.safetensors"}, nil
}

func TestDownloadsStayInModelFolders(t *testing.T) {
	root := t.TempDir()
	first, second, outside := filepath.Join(root, "models"), filepath.Join(root, "volume"), filepath.Join(root, "outside")
	for _, dir := range []string{first, second, outside, filepath.Join(first, "loras")} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(first, "way-out")))
	require.NoError(t, os.Symlink(filepath.Join(root, "nowhere"), filepath.Join(first, "dangling")))
	require.NoError(t, os.Symlink(second, filepath.Join(root, "workspace")))

	const url = "https://example.com/m.safetensors"
	for _, tc := range []struct{ name, url, path, want, err string }{
		{"relative", url, "loras/m.safetensors", filepath.Join(first, "loras/m.safetensors"), ""},
		{"new folder", url, "a/b/m.safetensors", filepath.Join(first, "a/b/m.safetensors"), ""},
		{"absolute", url, second + "/m.safetensors", filepath.Join(second, "m.safetensors"), ""},
		{"through a link to a model folder", url, root + "/workspace/m.safetensors", filepath.Join(root, "workspace/m.safetensors"), ""},
		{"outside", url, outside + "/m.safetensors", "", "is not inside a model folder"},
		{"climbing", url, "../outside/m", "", "is not inside a model folder"},
		{"the folder itself", url, ".", "", "is not inside a model folder"},
		{"link out", url, "way-out/m", "", "is not inside a model folder"},
		{"dangling link", url, "dangling", "", "is not inside a model folder"},
		{"missing", url, "", "", "download_path is missing"},
		{"file URL", "file:///etc/passwd", "m", "", "source_url"},
		{"no URL", "", "m", "", "source_url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fetcher{}
			h := newBridge(t, bridge.Options{API: &api{}, Fetcher: f, ModelDirs: []string{first, second}})
			payload, _ := json.Marshal(map[string]string{"source_url": tc.url, "download_path": tc.path})
			out, err := do(t, h, fmt.Sprintf(`{"api":{"method":"POST","endpoint":"/v1/download"},"payload":%s}`, payload))
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				require.Empty(t, f.got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{tc.url, tc.want}, f.got)
			require.JSONEq(t, fmt.Sprintf(`{"msg":"Download successful","source_url":%q,"download_path":%q}`, tc.url, tc.path), out)
		})
	}
}

func TestSync(t *testing.T) {
	f, dir := &fetcher{}, t.TempDir()
	h := newBridge(t, bridge.Options{API: &api{}, Fetcher: f, ModelDirs: []string{dir}})
	out, err := do(t, h, `{"api":{"method":"POST","endpoint":"v1/sync"},"payload":{"repo_id":"org/name","sync_path":"loras","hf_token":"t"}}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"synced_count":1,"synced_files":["a/b.safetensors"]}`, out)
	require.Equal(t, []string{"org/name", "t", filepath.Join(dir, "loras")}, f.got)
	for _, repo := range []string{"", "name", "a/b/c", "a/b?x"} {
		_, err := do(t, h, `{"api":{"method":"POST","endpoint":"v1/sync"},"payload":{"repo_id":"`+repo+`","sync_path":"loras"}}`)
		require.ErrorContains(t, err, "repo_id")
	}
}

func TestPublicAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "2606:4700:4700::1111": true, "100.63.255.255": true,
		"127.0.0.1": false, "::1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
		"fc00::1": false, "fe80::1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"192.0.2.1": false, "198.18.0.1": false,
	} {
		require.Equal(t, want, bridge.Public(netip.MustParseAddr(text)), text)
	}
}

func TestPublicClient(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/chunked":
			w.(http.Flusher).Flush()
			fallthrough
		default:
			_, _ = io.WriteString(w, strings.Repeat("x", 2000))
		}
	}))
	defer server.Close()

	_, err := bridge.PublicClient(bridge.Config{}).Get(server.URL)
	require.ErrorContains(t, err, "not a public address")

	open := bridge.Config{AllowPrivateSources: true}
	_, err = bridge.PublicClient(open).Get(server.URL + "/loop")
	require.ErrorContains(t, err, "redirects")

	open.MaxDownload = 1000
	_, err = bridge.PublicClient(open).Get(server.URL)
	require.ErrorContains(t, err, "RUNPOD_MAX_DOWNLOAD_BYTES")
	resp, err := bridge.PublicClient(open).Get(server.URL + "/chunked")
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.ErrorContains(t, err, "RUNPOD_MAX_DOWNLOAD_BYTES")
	resp.Body.Close()

	open.MaxDownload = 2000
	resp, err = bridge.PublicClient(open).Get(server.URL + "/chunked")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Len(t, body, 2000)
	resp.Body.Close()
}
