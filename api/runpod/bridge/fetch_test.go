package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
	"sdworker/api/runpod/bridge"
)

type fetcher struct{ got []string }

var _ bridge.Fetcher = (*fetcher)(nil)

func (f *fetcher) Download(_ context.Context, source, path string, maxBytes int64) error {
	f.got = []string{source, path, fmt.Sprint(maxBytes)}
	return nil
}

func (f *fetcher) Sync(_ context.Context, repo, token, dir string, maxBytes int64) ([]string, error) {
	f.got = []string{repo, token, dir, fmt.Sprint(maxBytes)}
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
			h := newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{}}, Fetcher: f, ModelDirs: []string{first, second}, Config: bridge.Config{MaxDownload: 7}})
			payload, _ := json.Marshal(map[string]string{"source_url": tc.url, "download_path": tc.path})
			out, err := do(t, h, fmt.Sprintf(`{"api":{"method":"POST","endpoint":"/v1/download"},"payload":%s}`, payload))
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				require.Empty(t, f.got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{tc.url, tc.want, "7"}, f.got)
			require.JSONEq(t, fmt.Sprintf(`{"msg":"Download successful","source_url":%q,"download_path":%q}`, tc.url, tc.path), out)
		})
	}
}

func TestSync(t *testing.T) {
	f, dir := &fetcher{}, t.TempDir()
	h := newBridge(t, bridge.Options{API: a1111.Client{Handler: &api{}}, Fetcher: f, ModelDirs: []string{dir}})
	out, err := do(t, h, `{"api":{"method":"POST","endpoint":"v1/sync"},"payload":{"repo_id":"org/name","sync_path":"loras","hf_token":"t"}}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"synced_count":1,"synced_files":["a/b.safetensors"]}`, out)
	require.Equal(t, []string{"org/name", "t", filepath.Join(dir, "loras"), "0"}, f.got)
	for _, repo := range []string{"", "name", "a/b/c", "a/b?x"} {
		_, err := do(t, h, `{"api":{"method":"POST","endpoint":"v1/sync"},"payload":{"repo_id":"`+repo+`","sync_path":"loras"}}`)
		require.ErrorContains(t, err, "repo_id")
	}
}
