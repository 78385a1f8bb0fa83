// Package disktest makes disks full for tests, without mounting anything: the kernel
// writes what has room and refuses the rest, as on a full disk.
package disktest

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// alone is set in the environment of a process that runs one test.
const alone = "SDWORKER_TEST_ALONE"

// OwnProcess runs the calling test, which is no subtest, in a process of its own and
// reports whether this is that process. Fill bounds all files of a process, those that
// the test binary itself writes for the go command, too.
func OwnProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv(alone) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.count=1", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), alone+"=1")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return false
}

// Fill lets no file of this process grow beyond size bytes until free is called or the
// test ends. Only tests in a process of their own may use it.
func Fill(tb testing.TB, size uint64) (free func()) {
	tb.Helper()
	require.NotEmpty(tb, os.Getenv(alone), "OwnProcess comes first")
	var before syscall.Rlimit
	require.NoError(tb, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ) // else the first write beyond it ends the process
	free = func() {
		require.NoError(tb, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
		signal.Reset(syscall.SIGXFSZ)
	}
	tb.Cleanup(free)
	require.NoError(tb, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}))
	return free
}
