// Package diskread reads big files as fast as the disk gives them: in one stream
// with the next block always under way.
package diskread

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// blockBytes is big enough that neither system calls nor network round trips
// count, and small enough to stay in the CPU's outer cache while it is used.
const blockBytes = 4 << 20

// Stats tells how a read went.
type Stats struct {
	Bytes   int64
	Elapsed time.Duration
}

// GBps is the speed in 10^9 bytes a second.
func (s Stats) GBps() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Bytes) / 1e9 / s.Elapsed.Seconds()
}

// Stream hands the bytes of f from offset to the end to use, in order, while
// the next block is being read. The slice is valid only during the call.
func Stream(ctx context.Context, f *os.File, offset int64, use func([]byte) error) (Stats, error) {
	start := time.Now()
	advise(f, 0, 0, unix.FADV_SEQUENTIAL)
	full, free := make(chan []byte, 1), make(chan []byte, 2)
	free <- make([]byte, blockBytes)
	free <- make([]byte, blockBytes)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(full)
		for at := offset; ; {
			var b []byte
			select {
			case b = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			n, err := f.ReadAt(b[:blockBytes], at)
			at += int64(n)
			if n > 0 {
				select {
				case full <- b[:n]:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", f.Name(), err)
			}
		}
	})
	var stats Stats
	group.Go(func() error {
		for b := range full {
			if err := use(b); err != nil {
				return err
			}
			if ctx.Err() != nil { // the reader's select may choose the buffer that is free, too
				return ctx.Err()
			}
			stats.Bytes += int64(len(b))
			free <- b // never blocks: there are two buffers for two places
		}
		return nil
	})
	err := group.Wait()
	stats.Elapsed = time.Since(start)
	return stats, err
}

// Evict asks the kernel to forget the cached pages of a file, so that the next
// read comes from the disk. Pages that others have mapped stay.
func Evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // dirty pages cannot be dropped
		return err
	}
	advise(f, 0, 0, unix.FADV_DONTNEED)
	return nil
}

// advise passes a hint on; a kernel that takes none is as good as one that
// does nothing.
func advise(f *os.File, offset, size int64, hint int) {
	_ = unix.Fadvise(int(f.Fd()), offset, size, hint)
}

// SHA256 returns the sha256 of what follows offset in a file, in hex.
func SHA256(ctx context.Context, f *os.File, offset int64) (string, Stats, error) {
	h := sha256.New()
	stats, err := Stream(ctx, f, offset, func(b []byte) error {
		h.Write(b)
		return nil
	})
	if err != nil {
		return "", stats, err
	}
	return hex.EncodeToString(h.Sum(nil)), stats, nil
}
