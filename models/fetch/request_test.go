package fetch_test

import (
	"context"
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/models/fetch"
)

// embeddingFile is the smallest model file there is.
func embeddingFile() []byte {
	header := `{"emb_params":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), make([]byte, 8)...)
}

func TestDownloadTakesModelFilesOnly(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "embeddings", "x.safetensors")
	f := fetcher(t, nil)
	page := serve(t, []byte("<html>please log in</html>"))
	require.Equal(t, fault.Invalid, fault.CodeOf(f.Download(context.Background(), page.URL+"/x.safetensors", dest, 0)))
	require.NoFileExists(t, dest)

	good := serve(t, embeddingFile())
	require.Error(t, f.Download(context.Background(), good.URL+"/x.safetensors", dest, 10), "larger than allowed")
	require.NoFileExists(t, dest)
	require.NoError(t, f.Download(context.Background(), good.URL+"/x.safetensors", dest, 0))
	require.FileExists(t, dest)

	off := fetcher(t, func(c *fetch.Config) { c.AllowRequestURLs = false })
	require.ErrorContains(t, off.Download(context.Background(), good.URL+"/y.safetensors", dest, 0), "not allowed")
	_, err := off.Sync(context.Background(), "org/name", "", t.TempDir(), 0)
	require.ErrorContains(t, err, "not allowed")
}

func TestSyncFetchesWhatIsMissingInsideFolders(t *testing.T) {
	s := serve(t, nil)
	s.before = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/models/org/name" {
			_, _ = w.Write([]byte(`{"siblings":[{"rfilename":"README.md"},{"rfilename":"top.safetensors"},{"rfilename":"Lora/a.safetensors"},
				{"rfilename":"Lora/b.safetensors"},{"rfilename":"Lora/notes.txt"},{"rfilename":"../../evil.safetensors"},{"rfilename":"a/../../evil.safetensors"}]}`))
			return true
		}
		if !strings.HasPrefix(r.URL.Path, "/org/name/resolve/main/Lora/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	s.replace(embeddingFile(), `"one"`)
	dir := filepath.Join(t.TempDir(), "models")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "Lora"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Lora", "a.safetensors"), []byte("mine"), 0o600))

	f := fetcher(t, withEnv("HF_ENDPOINT", s.URL, "HF_TOKEN", "the operator's"))
	done, err := f.Sync(context.Background(), "org/name", "hf_x", dir, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"Lora/b.safetensors"}, done)
	mine, err := os.ReadFile(filepath.Join(dir, "Lora", "a.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "mine", string(mine), "what is there stays")
	for _, r := range s.requests {
		require.Equal(t, "Bearer hf_x", r.Header.Get("Authorization"))
	}
	done, err = f.Sync(context.Background(), "org/name", "hf_x", dir, 0)
	require.NoError(t, err)
	require.Empty(t, done)
}
