package openai_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

// OpenAI's own Python client understands what it gets.
func TestOpenAIClient(t *testing.T) {
	python := clienttest.Need(t, "api/openai/testdata/client/install.sh", "openai", "bin", "python")
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
