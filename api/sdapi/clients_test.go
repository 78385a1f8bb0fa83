package sdapi_test

import (
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// clientFolder is where testdata/clients/install.sh puts the client packages.
func clientFolder(t *testing.T) string {
	t.Helper()
	if folder := os.Getenv("SDWORKER_CLIENTS"); folder != "" {
		return folder
	}
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	return filepath.Join(cache, "sdworker-clients")
}

// runClient runs a program against a server on the stand-ins.
func runClient(t *testing.T, program string, args ...string) {
	t.Helper()
	server := httptest.NewServer(start(t).server)
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), program, append(args, u.Port())...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "ok")
}

func TestPythonClient(t *testing.T) {
	python := filepath.Join(clientFolder(t), "python", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skip("the Python package webuiapi is not installed: run api/sdapi/testdata/clients/install.sh")
	}
	runClient(t, python, "testdata/clients/webuiapi_client.py")
}

func TestNodeClients(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	folder := clientFolder(t)
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "node-sd-webui")); err != nil {
		t.Skip("the npm packages are not installed: run api/sdapi/testdata/clients/install.sh")
	}
	runClient(t, node, "testdata/clients/node_clients.mjs", folder)
}

func TestGoClient(t *testing.T) {
	program := filepath.Join(clientFolder(t), "goclient")
	if _, err := os.Stat(program); err != nil {
		t.Skip("the Go client is not built: run api/sdapi/testdata/clients/install.sh")
	}
	runClient(t, program)
}
