package safetensors

import (
	"fmt"
	"io"
	"os"
)

// File is an open safetensors file.
type File struct {
	*Header
	Path string
	f    *os.File
}

// Open opens a file and verifies its header.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = malformed("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	h, err := ReadHeader(f, info.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{Header: h, Path: path, f: f}, nil
}

// ReadHeaderFile returns the verified header of the file at path.
func ReadHeaderFile(path string) (*Header, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return f.Header, f.Close()
}

// Close closes the file; readers from Raw end with it.
func (f *File) Close() error { return f.f.Close() }

// Raw returns a reader over the bytes of one tensor.
func (f *File) Raw(t Tensor) *io.SectionReader {
	return io.NewSectionReader(f.f, f.DataStart+t.Offset, t.Size)
}

// Float32s reads a whole tensor of a floating point type as float32.
func (f *File) Float32s(name string) ([]float32, Tensor, error) {
	t, ok := f.Lookup(name)
	if !ok {
		return nil, t, fmt.Errorf("safetensors: %s has no tensor %q", f.Path, name)
	}
	out, err := ReadFloat32s(f.f, f.DataStart+t.Offset, t.Elements(), t.DType)
	if err != nil {
		return nil, t, fmt.Errorf("safetensors: %s: tensor %q: %w", f.Path, name, err)
	}
	return out, t, nil
}

// ReadFloat32s reads n values of a floating point type that lie in order, the first
// at offset, in bytes.
func ReadFloat32s(r io.ReaderAt, offset, n int64, d DType) ([]float32, error) {
	raw := make([]byte, n*d.Size())
	if _, err := io.ReadFull(io.NewSectionReader(r, offset, int64(len(raw))), raw); err != nil {
		return nil, err
	}
	out := make([]float32, n)
	return out, Decode(out, raw, d)
}
