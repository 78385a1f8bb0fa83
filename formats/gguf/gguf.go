// Package gguf reads the header of GGUF files, ggml's own container: which
// tensors it holds, their types and shapes, and whether the file is complete.
package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Magic is how every GGUF file begins.
const Magic = "GGUF"

// Limits that bound the work a hostile header can cause.
const (
	maxTensors   = 1 << 17
	maxKeys      = 1 << 16
	maxText      = 1 << 20
	maxRank      = 4 // GGML_MAX_DIMS
	maxAlignment = 1 << 20
)

// Tensor describes one tensor of a file.
type Tensor struct {
	Name   string
	Type   string  // ggml's name: "F16", "Q8_0"
	Shape  []int64 // slowest axis first, as PyTorch prints it
	Offset int64   // bytes from DataStart
	Size   int64   // bytes
}

// Header is everything a file says before its values.
type Header struct {
	Version   uint32
	Metadata  map[string]string // the values that are texts
	Tensors   []Tensor
	DataStart int64
}

// Begins reports whether a file may be GGUF by its first bytes.
func Begins(head []byte) bool { return strings.HasPrefix(string(head), Magic) }

// ErrFormat is in every error about the content of a file.
var ErrFormat = errors.New("not a valid GGUF file")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// block is how many values of a type share how many bytes (ggml.c, type_traits).
type block struct {
	name   string
	values int64
	bytes  int64
}

var types = map[uint32]block{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 30: {"BF16", 1, 2}, 28: {"F64", 1, 8},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 29: {"IQ1_M", 256, 56},
}

// ReadHeader reads and verifies the header of a file of the given length in
// bytes. What the file does wrong is an ErrFormat.
func ReadHeader(r io.ReaderAt, size int64) (*Header, error) {
	in := &reader{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16), size: size}
	if string(in.bytes(4)) != Magic {
		return nil, in.or(malformed("it does not begin with %s", Magic))
	}
	h := &Header{Metadata: map[string]string{}, Version: in.u32()}
	if in.err == nil && h.Version != 2 && h.Version != 3 {
		return nil, malformed("version %d; versions 2 and 3 are known", h.Version)
	}
	tensors, keys := in.u64(), in.u64()
	if in.err == nil && (tensors > maxTensors || keys > maxKeys) {
		return nil, malformed("%d tensors and %d keys", tensors, keys)
	}
	alignment := int64(32)
	for range keys {
		key := in.text()
		kind := in.u32()
		v, isText := in.value(kind, 0)
		if in.err != nil {
			break
		}
		if isText {
			h.Metadata[key] = v
		}
		if key == "general.alignment" {
			alignment = in.lastU32
		}
	}
	for range tensors {
		t := in.tensor()
		if in.err != nil {
			break
		}
		h.Tensors = append(h.Tensors, t)
	}
	if in.err != nil {
		return nil, in.err
	}
	if alignment <= 0 || alignment > maxAlignment {
		return nil, malformed("alignment %d", alignment)
	}
	h.DataStart = (in.pos + alignment - 1) / alignment * alignment
	return h, h.fits(size)
}

// fits demands that no two tensors share bytes and that all lie in the file.
func (h *Header) fits(size int64) error {
	slices.SortStableFunc(h.Tensors, func(a, b Tensor) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	names := make(map[string]bool, len(h.Tensors))
	var end int64
	for _, t := range h.Tensors {
		if names[t.Name] {
			return malformed("tensor %q is there twice", t.Name)
		}
		names[t.Name] = true
		if t.Offset < end {
			return malformed("tensor %q overlaps the one before it", t.Name)
		}
		if t.Size > size || t.Offset > size-h.DataStart-t.Size {
			return malformed("it is truncated: tensor %q ends behind the file of %d bytes", t.Name, size)
		}
		end = t.Offset + t.Size
	}
	return nil
}

// reader decodes little-endian fields and keeps the first error.
type reader struct {
	r       *bufio.Reader
	size    int64
	pos     int64
	lastU32 int64
	err     error
}

func (r *reader) or(err error) error {
	if r.err != nil {
		return r.err
	}
	return err
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil {
		return make([]byte, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = malformed("it is truncated: the header ends behind the file of %d bytes", r.size)
		}
		r.err = err
	}
	r.pos += int64(n)
	return b
}

func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

func (r *reader) text() string {
	n := r.u64()
	if r.err != nil {
		return ""
	}
	if n > maxText || int64(n) > r.size-r.pos {
		r.err = malformed("a text of %d bytes", n)
		return ""
	}
	return string(r.bytes(int(n)))
}

func (r *reader) skip(n int64) {
	if r.err != nil {
		return
	}
	if n > r.size-r.pos {
		r.err = malformed("it is truncated: the header ends behind the file of %d bytes", r.size)
		return
	}
	for n > 0 {
		step, err := r.r.Discard(int(min(n, 1<<20)))
		r.pos += int64(step)
		n -= int64(step)
		if err != nil {
			r.err = err
			return
		}
	}
}

// Value types of the format's key table.
const (
	typeUint32 = 4
	typeText   = 8
	typeArray  = 9
)

// widths of the scalar value types by number; 0 marks text and array.
var widths = []int64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

// value reads past one value and returns it when it is a text.
func (r *reader) value(kind uint32, depth int) (text string, isText bool) {
	switch {
	case r.err != nil:
	case int(kind) >= len(widths):
		r.err = malformed("a value of the unknown type %d", kind)
	case kind == typeText:
		return r.text(), true
	case kind == typeArray:
		item, n := r.u32(), r.u64()
		switch {
		case r.err != nil:
		case int(item) >= len(widths), depth > 2:
			r.err = malformed("an array of type %d", item)
		case widths[item] > 0:
			if n > uint64(r.size) {
				r.err = malformed("an array of %d values", n)
				return "", false
			}
			r.skip(int64(n) * widths[item])
		default:
			for ; n > 0 && r.err == nil; n-- {
				r.value(item, depth+1)
			}
		}
	case kind == typeUint32:
		r.lastU32 = int64(r.u32())
	default:
		r.skip(widths[kind])
	}
	return "", false
}

func (r *reader) tensor() Tensor {
	t := Tensor{Name: r.text()}
	rank := r.u32()
	if r.err == nil && (rank > maxRank || t.Name == "") {
		r.err = malformed("tensor %q has %d dimensions", t.Name, rank)
	}
	if r.err != nil {
		return t
	}
	values := int64(1)
	for range rank {
		side := r.u64()
		if r.err == nil && (side == 0 || side > math.MaxInt64/64/uint64(values)) {
			r.err = malformed("tensor %q has an impossible shape", t.Name)
		}
		if r.err != nil {
			return t
		}
		values *= int64(side)
		t.Shape = append(t.Shape, int64(side))
	}
	kind, offset := r.u32(), r.u64()
	b, known := types[kind]
	switch {
	case r.err != nil:
		return t
	case !known:
		r.err = malformed("tensor %q has the unknown type %d", t.Name, kind)
	case rank > 0 && t.Shape[0]%b.values != 0:
		r.err = malformed("tensor %q of type %s has rows of %d values", t.Name, b.name, t.Shape[0])
	case offset > uint64(r.size):
		r.err = malformed("it is truncated: tensor %q begins behind the file of %d bytes", t.Name, r.size)
	}
	t.Type, t.Offset = b.name, int64(offset)
	if b.values > 0 {
		t.Size = values / b.values * b.bytes
	}
	slices.Reverse(t.Shape)
	return t
}
