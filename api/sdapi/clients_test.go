package sdapi_test

import (
	"net/http/httptest"
	"net/url"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

const installClients = "api/sdapi/testdata/clients/install.sh"

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
	runClient(t, clienttest.Need(t, installClients, "python", "bin", "python"), "testdata/clients/webuiapi_client.py")
}

func TestNodeClients(t *testing.T) {
	clienttest.Need(t, installClients, "node_modules", "node-sd-webui")
	runClient(t, "node", "testdata/clients/node_clients.mjs", clienttest.Folder(t))
}

func TestGoClient(t *testing.T) {
	runClient(t, clienttest.Need(t, installClients, "goclient"))
}
