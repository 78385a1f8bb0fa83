//go:build cgo && cuda

package gpustat

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
)

// asReader makes the test binary print what it reads.
const asReader = "SDWORKER_TEST_READ_GPUS"

func TestMain(m *testing.M) {
	if os.Getenv(asReader) != "" {
		for _, c := range Read() {
			_, _ = os.Stdout.WriteString(c.Name + "\n")
			if c.Utilization != 0.37 || c.Celsius != 61 || c.Watts != 123.456 || c.MemoryUsed != 5<<30 || c.MemoryTotal != 24<<30 || c.UUID != "GPU-1" {
				os.Exit(3)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The library is looked for when it is needed, so that one that is put in its place
// is found, and none is no error. A process looks once only.
func TestTheLibraryIsFoundAtRunTime(t *testing.T) {
	folder := t.TempDir()
	compiler := clienttest.Program(t, "cc", "build-essential")
	out, err := exec.CommandContext(t.Context(), compiler, "-shared", "-fPIC", "-o", filepath.Join(folder, "libnvidia-ml.so.1"), "testdata/nvml.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	read := func(environ ...string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(append(os.Environ(), asReader+"=1"), environ...)
		out, err := cmd.Output()
		require.NoError(t, err)
		return string(out)
	}
	require.Equal(t, "Stand-in\n", read("LD_LIBRARY_PATH="+folder))
	if _, err := os.Stat("/dev/nvidiactl"); err != nil {
		require.Empty(t, read())
	}
}
