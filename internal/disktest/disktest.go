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
func Fill(tb testing.TB, size uint64) (free func()) {
	tb.Helper()
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
