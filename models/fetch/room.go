package fetch

import (
	"context"
	"math"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"sdworker/fault"
)

// spare is what stays free on the disk after a download.
const spare = 64 << 20

// makeRoom sees to it that the rest of a file fits on the disk and into the
// cache's limit, before the first byte is fetched.
func (f *Fetcher) makeRoom(ctx context.Context, dest string, size int64) error {
	if size < 0 {
		return nil // the server does not say; the disk will
	}
	if f.config.Cache != nil {
		if err := f.config.Cache.makeRoom(dest, size); err != nil {
			return err
		}
	}
	need := size - allocated(dest+partSuffix) + spare
	free := freeBytes(filepath.Dir(dest))
	if free < need && f.config.Cache != nil {
		if err := f.config.Cache.free(ctx, need-free, dest); err != nil {
			return err
		}
		free = freeBytes(filepath.Dir(dest))
	}
	if free < need {
		return fault.Errorf(fault.Exhausted, "fetch", "%s has %s free and %s are needed; free some space or choose another folder",
			filepath.Dir(dest), humanize.IBytes(uint64(free)), humanize.IBytes(uint64(need)))
	}
	return nil
}

// allocated returns what an unfinished file takes on the disk already.
func allocated(path string) int64 {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return 0
	}
	return s.Blocks * 512 // st_blocks counts in this unit everywhere on Linux
}

// freeBytes returns the room on the disk of dir. A file system that does not tell
// has room for everything: writing will show.
func freeBytes(dir string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return math.MaxInt64
	}
	return int64(s.Bavail) * s.Bsize
}
