//go:build cgo && sdcpp

package sdcpp

import (
	"context"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	populateChunk   = 16 << 20
	populateReaders = 8 // enough requests at a time for a network volume
)

// populate brings a file into the page cache, in parallel. On a CPU the engine maps
// its weights, and without this the first picture would read them, page by page.
// Errors are left to the engine, which reads the file, too.
func populate(ctx context.Context, path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return
	}
	size := info.Size()
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return
	}
	defer func() { _ = unix.Munmap(mapped) }()
	buffers := sync.Pool{New: func() any { b := make([]byte, populateChunk); return &b }}
	var group errgroup.Group
	group.SetLimit(populateReaders)
	for at := int64(0); at < size && ctx.Err() == nil; at += populateChunk {
		group.Go(func() error {
			end := min(at+populateChunk, size)
			if unix.Madvise(mapped[at:end], unix.MADV_POPULATE_READ) == nil {
				return nil
			}
			// Before Linux 5.14, and on some file systems.
			buffer := buffers.Get().(*[]byte)
			defer buffers.Put(buffer)
			_, err := f.ReadAt((*buffer)[:end-at], at)
			if err == io.EOF {
				err = nil
			}
			return err
		})
	}
	_ = group.Wait()
}
