// Package compact reads trained weights as the repository stores them: a safetensors
// file in which a tensor of eight bits has a companion NAME.scale with a factor for
// each row, an index of the first axis, and the others are plain floating point
// values.
package compact

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sdworker/formats/safetensors"
)

// File is an open file.
type File struct {
	Name   string // for messages
	header *safetensors.Header
	data   *bytes.Reader
	read   map[string]bool
}

// Tensor is one trained tensor with its scale applied.
type Tensor struct {
	Shape  []int64
	Values []float32
}

// Open reads the header of a file in memory.
func Open(name string, raw []byte) (*File, error) {
	data := bytes.NewReader(raw)
	h, err := safetensors.ReadHeader(data, data.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &File{Name: name, header: h, data: data, read: map[string]bool{}}, nil
}

// Names lists the tensors, without the scales.
func (f *File) Names() []string {
	var names []string
	for _, t := range f.header.Tensors {
		if !strings.HasSuffix(t.Name, scaleEnd) {
			names = append(names, t.Name)
		}
	}
	return names
}

const scaleEnd = ".scale"

// Read returns a tensor.
func (f *File) Read(name string) (Tensor, error) {
	t, ok := f.header.Lookup(name)
	if !ok {
		return Tensor{}, fmt.Errorf("%s has no tensor %s", f.Name, name)
	}
	f.read[name] = true
	out := Tensor{Shape: t.Shape}
	var err error
	if t.DType != safetensors.I8 {
		out.Values, err = safetensors.ReadFloat32s(f.data, f.header.DataStart+t.Offset, t.Elements(), t.DType)
		return out, err
	}
	scale, err := f.Read(name + scaleEnd)
	if err != nil {
		return Tensor{}, err
	}
	if len(t.Shape) == 0 || t.Shape[0] == 0 || int64(len(scale.Values)) != t.Shape[0] {
		return Tensor{}, fmt.Errorf("%s: the scale of %s does not fit its shape %v", f.Name, name, t.Shape)
	}
	raw := make([]int8, t.Elements())
	if err := binary.Read(io.NewSectionReader(f.data, f.header.DataStart+t.Offset, t.Size), binary.LittleEndian, raw); err != nil {
		return Tensor{}, fmt.Errorf("%s: %s: %w", f.Name, name, err)
	}
	out.Values = make([]float32, len(raw))
	row := len(raw) / len(scale.Values)
	for i, q := range raw {
		out.Values[i] = float32(q) * scale.Values[i/row]
	}
	return out, nil
}

// Metadata returns a text of the header, "" without one.
func (f *File) Metadata(key string) string { return f.header.Metadata[key] }

// Decode reads a JSON value of the metadata.
func (f *File) Decode(key string, v any) error {
	text, ok := f.header.Metadata[key]
	if !ok {
		return fmt.Errorf("%s says nothing of %s", f.Name, key)
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("%s: %s: %w", f.Name, key, err)
	}
	return nil
}

// Unread lists tensors that nobody read, sorted.
func (f *File) Unread() []string {
	var names []string
	for _, t := range f.header.Tensors {
		if !f.read[t.Name] {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names
}
