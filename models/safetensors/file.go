package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
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
	raw := make([]byte, t.Size)
	if _, err := io.ReadFull(f.Raw(t), raw); err != nil {
		return nil, t, fmt.Errorf("safetensors: %s: tensor %q: %w", f.Path, name, err)
	}
	out := make([]float32, t.Elements())
	if err := Decode(out, raw, t.DType); err != nil {
		return nil, t, fmt.Errorf("safetensors: %s: tensor %q: %w", f.Path, name, err)
	}
	return out, t, nil
}

// Decode widens or narrows the little-endian values in raw to float32. The
// lengths must agree.
func Decode(dst []float32, raw []byte, d DType) error {
	if int64(len(raw)) != int64(len(dst))*d.Size() {
		return fmt.Errorf("%d bytes are not %d values of type %s", len(raw), len(dst), d)
	}
	switch d {
	case F16:
		for i := range dst {
			dst[i] = HalfToFloat(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		}
	default:
		return fmt.Errorf("type %s holds no floating point values that can be read", d)
	}
	return nil
}
