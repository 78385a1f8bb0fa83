package clip

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// number is a format of numbers in files.
type number int

const (
	float64s number = iota + 1
	float32s
	float16s
	bfloat16s
)

// size returns the bytes of one number.
func (n number) size() int {
	switch n {
	case float64s:
		return 8
	case float32s:
		return 4
	default:
		return 2
	}
}

// at decodes the i-th number, little endian.
func (n number) at(raw []byte, i int) float32 {
	raw = raw[i*n.size():]
	switch n {
	case float64s:
		return float32(math.Float64frombits(binary.LittleEndian.Uint64(raw)))
	case float32s:
		return math.Float32frombits(binary.LittleEndian.Uint32(raw))
	case bfloat16s:
		return math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw)) << 16)
	default:
		return half(binary.LittleEndian.Uint16(raw))
	}
}

// half converts an IEEE 754 half-precision number.
func half(bits uint16) float32 {
	sign := float32(1)
	if bits>>15 == 1 {
		sign = -1
	}
	exponent, fraction := int(bits>>10&0x1f), float64(bits&0x3ff)
	switch exponent {
	case 0:
		return sign * float32(math.Ldexp(fraction, -24))
	case 31:
		if fraction != 0 {
			return float32(math.NaN())
		}
		return sign * float32(math.Inf(1))
	default:
		return sign * float32(math.Ldexp(1024+fraction, exponent-25))
	}
}

// count returns the number of elements of a shape, or an error if they do not fit an
// embedding file.
func count(shape []int) (int, error) {
	n := 1
	for _, side := range shape {
		if side < 0 || n*side > maxEmbeddingFile {
			return 0, fmt.Errorf("a tensor of shape %v does not fit the file", shape)
		}
		n *= side
	}
	return n, nil
}

// readSafetensors reads all tensors of a safetensors file: the length of a JSON header in
// 8 bytes, the header, the numbers.
func readSafetensors(raw []byte) (map[string]tensor, error) {
	if len(raw) < 8 {
		return nil, errors.New("no safetensors file: it is too short")
	}
	length := binary.LittleEndian.Uint64(raw)
	if length > uint64(len(raw)-8) {
		return nil, errors.New("no safetensors file: its header does not fit")
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(raw[8:8+length], &header); err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	delete(header, "__metadata__")
	data := raw[8+length:]
	tensors := map[string]tensor{}
	for name, description := range header {
		var d struct {
			DType       string
			Shape       []int
			DataOffsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(description, &d); err != nil {
			return nil, fmt.Errorf("safetensors header, %s: %w", name, err)
		}
		format, ok := map[string]number{"F64": float64s, "F32": float32s, "F16": float16s, "BF16": bfloat16s}[d.DType]
		if !ok {
			return nil, fmt.Errorf("tensor %s: numbers of type %q are not supported", name, d.DType)
		}
		n, err := count(d.Shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		start, end := d.DataOffsets[0], d.DataOffsets[1]
		if start < 0 || end > len(data) || end-start != n*format.size() {
			return nil, fmt.Errorf("tensor %s: its numbers are not where the header says", name)
		}
		t := tensor{shape: d.Shape, values: make([]float32, n)}
		for i := range t.values {
			t.values[i] = format.at(data[start:end], i)
		}
		tensors[name] = t
	}
	return tensors, nil
}
