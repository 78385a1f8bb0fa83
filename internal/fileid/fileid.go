// Package fileid tells the versions of a file apart.
package fileid

import (
	"io/fs"
	"os"
	"syscall"
)

// ID is a version of a file, as far as that is free to know: who writes into a
// file changes its time, who puts another one in its place its inode. IDs are
// compared with ==.
type ID struct {
	Path    string // as it was asked for; links are followed
	Size    int64  // bytes
	ModTime int64  // nanoseconds since 1970
	Inode   uint64
}

// Stat returns the version that is there now.
func Stat(path string) (ID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return ID{}, err
	}
	return Of(path, info), nil
}

// Of returns the version that info describes.
func Of(path string, info fs.FileInfo) ID {
	id := ID{Path: path, Size: info.Size(), ModTime: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		id.Inode = sys.Ino
	}
	return id
}

// Replaced tells that the path leads to another version now. A file that is gone
// was not replaced.
func (id ID) Replaced() bool {
	now, err := Stat(id.Path)
	return err == nil && now != id
}
