package openai_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// OpenAI's own Python client understands what it gets.
func TestOpenAIClient(t *testing.T) {
	folder := os.Getenv("SDWORKER_CLIENTS")
	if folder == "" {
		cache, err := os.UserCacheDir()
		require.NoError(t, err)
		folder = filepath.Join(cache, "sdworker-clients")
	}
	python := filepath.Join(folder, "openai", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skip("the Python package openai is not installed: run api/openai/testdata/client/install.sh")
	}
	f := start(t).guard("secret")
	server := httptest.NewServer(f.handler)
	defer server.Close()
	image, mask := filepath.Join(t.TempDir(), "image.png"), filepath.Join(t.TempDir(), "mask.png")
	require.NoError(t, os.WriteFile(image, picture(t, 64, 64, false), 0o600))
	require.NoError(t, os.WriteFile(mask, picture(t, 64, 64, true), 0o600))
	out, err := exec.CommandContext(t.Context(), python, "testdata/client/client.py", server.URL, image, mask).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "ok")
}
