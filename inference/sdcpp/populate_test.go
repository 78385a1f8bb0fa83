//go:build cgo && sdcpp

package sdcpp_test

import (
	"os"
	"testing"
	"unsafe"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sdworker/inference/sdcpp"
	"sdworker/models/diskread"
	"sdworker/models/synth"
)

// The first picture must not wait for the disk.
func TestOpenReadsTheWholeFile(t *testing.T) {
	path := model(t, synth.Checkpoint)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, diskread.Evict(path))
	pages, cached := residency(t, f)
	if cached == pages {
		t.Skip("this file system keeps the file in memory")
	}
	e, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: path, Device: "cpu", Log: zerolog.Nop()})
	require.NoError(t, err)
	defer e.Close()
	_, cached = residency(t, f)
	require.Equal(t, pages, cached)
}

// residency counts the pages of a file, and those of them in the page cache.
func residency(t *testing.T, f *os.File) (pages, cached int) {
	t.Helper()
	info, err := f.Stat()
	require.NoError(t, err)
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(mapped)) }()
	size := os.Getpagesize()
	present := make([]byte, (len(mapped)+size-1)/size)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&present[0])))
	require.Zero(t, errno)
	for _, p := range present {
		cached += int(p & 1)
	}
	return len(present), cached
}
