// Package safetensors reads and writes the safetensors format: eight bytes of
// header length, a JSON header that names every tensor, and the raw values,
// little endian, row major, without gaps.
//
// Reading trusts nothing: sizes, offsets, types and shapes are checked against
// each other and against the length of the file before any value is touched.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
)

// Limits that bound the work a hostile header can cause.
const (
	MaxHeaderBytes = 100_000_000 // the reference reader's own limit
	MaxTensors     = 1 << 17     // the largest known models have a few thousand
	MaxRank        = 32
	MaxNameBytes   = 1024
	maxTypeBytes   = 32
)

const metadataKey = "__metadata__"

// FormatError says in one sentence why a file is not valid safetensors.
type FormatError struct{ Reason string }

// Error returns the reason.
func (e *FormatError) Error() string { return "not a valid safetensors file: " + e.Reason }

func malformed(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

// Begins reports whether a file may be safetensors by its first 9 bytes or more: a
// plausible length followed by the start of JSON. The length itself is verified by
// the reader; here it only must not look like text.
func Begins(head []byte) bool {
	return len(head) >= 9 && head[8] == '{' && binary.LittleEndian.Uint64(head)>>40 == 0
}

// Tensor describes one tensor of a file.
type Tensor struct {
	Name   string
	DType  DType
	Shape  []int64 // as PyTorch prints it, slowest axis first; empty for a scalar
	Offset int64   // bytes from the start of the values
	Size   int64   // bytes
}

// Elements returns the product of the shape, 1 for a scalar.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Header is everything a file says before its values.
type Header struct {
	Metadata  map[string]string // free text, nil when the file has none
	Tensors   []Tensor          // in the order of the values
	DataStart int64             // position of the first value in the file
	index     map[string]int
}

// Lookup finds a tensor by name.
func (h *Header) Lookup(name string) (Tensor, bool) {
	i, ok := h.index[name]
	if !ok {
		return Tensor{}, false
	}
	return h.Tensors[i], true
}

// DataSize returns the bytes of all values.
func (h *Header) DataSize() int64 {
	if len(h.Tensors) == 0 {
		return 0
	}
	last := h.Tensors[len(h.Tensors)-1]
	return last.Offset + last.Size
}

// ReadHeader reads and verifies the header of a file of the given length in
// bytes. A violation of the format is a *FormatError; other errors come from r.
func ReadHeader(r io.ReaderAt, size int64) (*Header, error) {
	if size < 8 {
		return nil, malformed("%d bytes are too short for a header", size)
	}
	var prefix [8]byte
	if err := readFull(r, prefix[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > MaxHeaderBytes {
		return nil, malformed("its first bytes announce a header of %d bytes, more than the %d allowed", n, MaxHeaderBytes)
	}
	if int64(n) > size-8 {
		return nil, malformed("the header of %d bytes ends behind the file of %d bytes; the file is truncated", n, size)
	}
	raw := make([]byte, n)
	if err := readFull(r, raw, 8); err != nil {
		return nil, err
	}
	h, err := parse(raw)
	if err != nil {
		return nil, err
	}
	h.DataStart = 8 + int64(n)
	have, want := size-h.DataStart, h.DataSize()
	if have < want {
		return nil, malformed("it is truncated: the values need %d bytes and %d are there", want, have)
	}
	if have > want {
		return nil, malformed("%d bytes follow the last value", have-want)
	}
	return h, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return malformed("it became shorter while it was read")
	}
	return err
}

// parse decodes the JSON text and checks it in itself; the length of the file
// is the caller's to check.
func parse(raw []byte) (*Header, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, malformed("the header is not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, malformed("the header is not JSON: %v", err)
	}
	h := &Header{index: map[string]int{}}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, malformed("the header is not JSON: %v", err)
		}
		name, _ := key.(string) // inside an object the decoder only yields strings here
		if seen[name] {
			return nil, malformed("the name %s appears twice", shorten(name))
		}
		seen[name] = true
		if name == metadataKey {
			if err := dec.Decode(&h.Metadata); err != nil {
				return nil, malformed("the metadata is not a map of texts: %v", err)
			}
			continue
		}
		if len(h.Tensors) == MaxTensors {
			return nil, malformed("more than %d tensors", MaxTensors)
		}
		t, err := decodeTensor(dec, name)
		if err != nil {
			return nil, err
		}
		h.Tensors = append(h.Tensors, t)
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed("the header is not JSON: %v", err)
	}
	if rest := raw[dec.InputOffset():]; len(bytes.Trim(rest, " ")) != 0 {
		return nil, malformed("text follows the JSON header")
	}
	return h, h.arrange()
}

func decodeTensor(dec *json.Decoder, name string) (Tensor, error) {
	var entry struct {
		DType   DType     `json:"dtype"`
		Shape   []int64   `json:"shape"`
		Offsets *[2]int64 `json:"data_offsets"`
	}
	if err := dec.Decode(&entry); err != nil {
		return Tensor{}, malformed("the entry of tensor %s is wrong: %v", shorten(name), err)
	}
	t := Tensor{Name: name, DType: entry.DType, Shape: entry.Shape}
	switch {
	case name == "":
		return t, malformed("a tensor has no name")
	case len(name) > MaxNameBytes:
		return t, malformed("the tensor name %s is longer than %d bytes", shorten(name), MaxNameBytes)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return t, malformed("the tensor name %s contains a control character", shorten(name))
	case t.DType == "" || len(t.DType) > maxTypeBytes:
		return t, malformed("tensor %s has the type %q", shorten(name), shorten(string(t.DType)))
	case len(t.Shape) > MaxRank:
		return t, malformed("tensor %s has %d dimensions, more than %d", shorten(name), len(t.Shape), MaxRank)
	case entry.Offsets == nil:
		return t, malformed("tensor %s has no data_offsets", shorten(name))
	}
	begin, end := entry.Offsets[0], entry.Offsets[1]
	if begin < 0 || end < begin {
		return t, malformed("tensor %s has the offsets [%d, %d]", shorten(name), begin, end)
	}
	t.Offset, t.Size = begin, end-begin
	want, ok := byteSize(t.DType, t.Shape)
	if !ok {
		return t, malformed("tensor %s has the impossible shape %v", shorten(name), t.Shape)
	}
	if want != t.Size && t.DType.Size() > 0 { // what a newer type takes is not known, nor needed to pass over it
		return t, malformed("tensor %s of type %s and shape %v needs %d bytes, its offsets span %d", shorten(name), t.DType, t.Shape, want, t.Size)
	}
	return t, nil
}

// byteSize multiplies a shape out; ok is false for negative sides and for
// products beyond 63 bits.
func byteSize(d DType, shape []int64) (n int64, ok bool) {
	n = max(d.Size(), 1)
	for _, side := range shape {
		if side < 0 {
			return 0, false
		}
		if side != 0 && n > math.MaxInt64/side {
			return 0, false
		}
		n *= side
	}
	return n, true
}

// arrange sorts the tensors by position, demands that they fill the data
// without gap or overlap, and builds the index.
func (h *Header) arrange() error {
	sort.SliceStable(h.Tensors, func(i, j int) bool {
		a, b := h.Tensors[i], h.Tensors[j]
		if a.Offset != b.Offset {
			return a.Offset < b.Offset
		}
		return a.Size < b.Size // empty tensors come before the one that starts at the same place
	})
	var end int64
	for i, t := range h.Tensors {
		if t.Offset < end {
			return malformed("tensors %s and %s overlap", shorten(h.Tensors[i-1].Name), shorten(t.Name))
		}
		if t.Offset > end {
			return malformed("%d bytes before tensor %s belong to no tensor", t.Offset-end, shorten(t.Name))
		}
		end = t.Offset + t.Size
		h.index[t.Name] = i
	}
	return nil
}

// shorten makes text from a file fit for an error message.
func shorten(s string) string {
	const limit = 120
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// Layout places tensors one behind the other, in the given order, and returns
// the header of that file. It fails for what ReadHeader would refuse.
func Layout(metadata map[string]string, tensors []Tensor) (*Header, error) {
	h := &Header{Metadata: metadata, Tensors: slices.Clone(tensors), index: map[string]int{}}
	var end int64
	for i := range h.Tensors {
		t := &h.Tensors[i]
		n, ok := byteSize(t.DType, t.Shape)
		if t.DType.Size() == 0 || !ok || t.Name == "" || t.Name == metadataKey || len(t.Shape) > MaxRank {
			return nil, fmt.Errorf("safetensors: tensor %q of type %q and shape %v cannot be written", t.Name, t.DType, t.Shape)
		}
		if _, twice := h.index[t.Name]; twice {
			return nil, fmt.Errorf("safetensors: tensor %q is there twice", t.Name)
		}
		t.Offset, t.Size = end, n
		end += n
		h.index[t.Name] = i
	}
	raw, err := h.encode()
	if err != nil {
		return nil, err
	}
	h.DataStart = int64(len(raw))
	return h, nil
}
