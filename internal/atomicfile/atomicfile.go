// Package atomicfile writes files that are there whole or not at all, also after the
// machine lost its power: what has the final name was complete and on the disk before.
//
// An unfinished file lies in the folder of the final one as ".NAME.*.EXT", with the
// extension of NAME. Finished ones have the mode 0644.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Mode is that of finished files.
const Mode fs.FileMode = 0o644

// File is a file that has not got its name yet. Either [File.Commit] or
// [File.CommitNew] ends it, or [File.Discard].
type File struct {
	*os.File
	path string
	done bool
}

// Create begins a file that is to be path.
func Create(path string) (*File, error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	ext := filepath.Ext(name)
	f, err := os.CreateTemp(dir, "."+strings.TrimSuffix(name, ext)+".*"+ext)
	if err != nil {
		return nil, err
	}
	return &File{File: f, path: path}, nil
}

// Commit gives the file its name, in the place of one that has it. Where that fails
// nothing of the file is left.
func (f *File) Commit() error {
	return f.finish(func() error { return os.Rename(f.Name(), f.path) })
}

// CommitNew is [File.Commit] that replaces nothing: where there is a file of that
// name, "-1" is put behind the name, as often as need be.
func (f *File) CommitNew() error {
	return f.finish(func() error {
		for path := f.path; ; {
			err := os.Link(f.Name(), path)
			if err == nil {
				return os.Remove(f.Name())
			}
			if !errors.Is(err, fs.ErrExist) { // a file system without links
				if _, err = os.Lstat(path); err != nil {
					return os.Rename(f.Name(), path)
				}
			}
			ext := filepath.Ext(path)
			path = strings.TrimSuffix(path, ext) + "-1" + ext
		}
	})
}

func (f *File) finish(name func() error) error {
	f.done = true
	err := errors.Join(f.Chmod(Mode), f.Sync(), f.Close())
	if err == nil {
		err = name()
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil { // makes the new name last; not all file systems can
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// Discard removes the file unless it was committed, for a deferred call.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// Write makes a file of data, in the place of one that has its name.
func Write(path string, data []byte) error {
	return write(path, data, (*File).Commit)
}

// WriteNew is [Write] that replaces nothing, see [File.CommitNew].
func WriteNew(path string, data []byte) error {
	return write(path, data, (*File).CommitNew)
}

func write(path string, data []byte, commit func(*File) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return commit(f)
}
