// Package disktest makes disks full for tests, without mounting anything: the kernel
// writes what has room and refuses the rest, as on a full disk.
package disktest

import (
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Fill lets no file of this process grow beyond size bytes until free is called or the
// test ends. Tests that use it must not run beside others.
func Fill(t testing.TB, size uint64) (free func()) {
	t.Helper()
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ) // else the first write beyond it ends the process
	free = func() {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(free)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}))
	return free
}
