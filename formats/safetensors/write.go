package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// alignment of the first value, as the reference writer pads its header.
const alignment = 8

// encode renders length, JSON and padding. Metadata keys are sorted and tensors
// keep their order, so equal headers give equal bytes.
func (h *Header) encode() ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if h.Metadata != nil {
		b.WriteString(`"` + metadataKey + `":`)
		text, err := json.Marshal(h.Metadata)
		if err != nil {
			return nil, fmt.Errorf("safetensors: metadata: %w", err)
		}
		b.Write(text)
	}
	for i, t := range h.Tensors {
		if i > 0 || h.Metadata != nil {
			b.WriteByte(',')
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, fmt.Errorf("safetensors: name %q: %w", t.Name, err)
		}
		shape := t.Shape
		if shape == nil {
			shape = []int64{}
		}
		dims, err := json.Marshal(shape)
		if err != nil {
			return nil, fmt.Errorf("safetensors: shape of %q: %w", t.Name, err)
		}
		fmt.Fprintf(&b, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, dims, t.Offset, t.Offset+t.Size)
	}
	b.WriteByte('}')
	for b.Len()%alignment != 0 {
		b.WriteByte(' ')
	}
	raw := b.Bytes()
	if len(raw)-8 > MaxHeaderBytes {
		return nil, fmt.Errorf("safetensors: a header of %d bytes is longer than the format allows", len(raw)-8)
	}
	binary.LittleEndian.PutUint64(raw, uint64(len(raw)-8))
	return raw, nil
}

// WriteTo writes the header; the values follow at DataStart.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	raw, err := h.encode()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(raw)
	return int64(n), err
}
