package gguf_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/gguf"
)

// builder writes GGUF fields.
type builder struct{ bytes.Buffer }

func (b *builder) num(v ...any) *builder {
	for _, x := range v {
		_ = binary.Write(b, binary.LittleEndian, x) // a buffer takes everything
	}
	return b
}

func (b *builder) text(s string) *builder {
	b.num(uint64(len(s)))
	b.WriteString(s)
	return b
}

// start begins a file with so many tensors and keys.
func start(tensors, keys uint64) *builder {
	b := &builder{}
	b.WriteString(gguf.Magic)
	return b.num(uint32(3), tensors, keys)
}

func (b *builder) tensor(name string, kind uint32, offset uint64, dims ...uint64) *builder {
	b.text(name).num(uint32(len(dims)))
	for _, d := range dims {
		b.num(d)
	}
	return b.num(kind, offset)
}

// end pads to the alignment and adds the values.
func (b *builder) end(values int) []byte {
	for b.Len()%32 != 0 {
		b.WriteByte(0)
	}
	b.Write(make([]byte, values))
	return b.Bytes()
}

func read(raw []byte) (*gguf.Header, error) {
	return gguf.ReadHeader(bytes.NewReader(raw), int64(len(raw)))
}

func TestReadHeader(t *testing.T) {
	b := start(3, 6)
	b.text("general.name").num(uint32(8)).text("tiny")
	b.text("n").num(uint32(4), uint32(7))
	b.text("f").num(uint32(12), 0.5)
	b.text("flag").num(uint32(7), uint8(1))
	b.text("list").num(uint32(9), uint32(5), uint64(2), int32(1), int32(2))
	b.text("words").num(uint32(9), uint32(8), uint64(2)).text("a").text("b")
	b.tensor("w", 1, 32, 3, 3, 4, 2).tensor("q", 8, 192, 64).tensor("s", 0, 0, 1)
	raw := b.end(192 + 68)
	h, err := read(raw)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"general.name": "tiny"}, h.Metadata)
	require.Equal(t, int64(len(raw)-192-68), h.DataStart)
	require.Equal(t, []gguf.Tensor{
		{Name: "s", Type: "F32", Shape: []int64{1}, Offset: 0, Size: 4},
		{Name: "w", Type: "F16", Shape: []int64{2, 4, 3, 3}, Offset: 32, Size: 144},
		{Name: "q", Type: "Q8_0", Shape: []int64{64}, Offset: 192, Size: 68},
	}, h.Tensors)
}

func TestAlignment(t *testing.T) {
	b := start(0, 1)
	b.text("general.alignment").num(uint32(4), uint32(1024))
	h, err := read(b.Bytes())
	require.NoError(t, err)
	require.EqualValues(t, 1024, h.DataStart)
}

func TestMalformed(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"other magic":      {[]byte("GGML1234"), "does not begin"},
		"empty":            {nil, "truncated"},
		"version":          {append([]byte("GGUF"), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "version 1"},
		"too many tensors": {start(1<<40, 0).Bytes(), "tensors"},
		"too many keys":    {start(0, 1<<40).Bytes(), "keys"},
		"long text":        {start(0, 1).num(uint64(1 << 60)).Bytes(), "a text of"},
		"unknown value":    {start(0, 1).text("k").num(uint32(99)).Bytes(), "unknown type 99"},
		"huge array":       {start(0, 1).text("k").num(uint32(9), uint32(10), uint64(1<<62)).Bytes(), "an array of"},
		"long array":       {start(0, 1).text("k").num(uint32(9), uint32(10), uint64(50)).Bytes(), "an array of"},
		"deep arrays": {
			start(0, 1).text("k").num(uint32(9), uint32(9), uint64(1), uint32(9), uint64(1), uint32(9), uint64(1), uint32(9), uint64(1)).Bytes(),
			"array",
		},
		"alignment":      {start(0, 1).text("general.alignment").num(uint32(4), uint32(0)).Bytes(), "alignment"},
		"rank":           {start(1, 0).tensor("t", 0, 0, 1, 1, 1, 1, 1).end(4), "dimensions"},
		"zero side":      {start(1, 0).tensor("t", 0, 0, 0).end(4), "impossible shape"},
		"overflow":       {start(1, 0).tensor("t", 0, 0, 1<<40, 1<<40).end(4), "impossible shape"},
		"unknown tensor": {start(1, 0).tensor("t", 99, 0, 1).end(4), "unknown type 99"},
		"odd row":        {start(1, 0).tensor("t", 8, 0, 33).end(64), "rows of 33"},
		"behind the end": {start(1, 0).tensor("t", 0, 1<<40, 1).end(4), "truncated"},
		"cut":            {start(1, 0).tensor("t", 0, 0, 2).end(4), "truncated"},
		"overlap":        {start(2, 0).tensor("a", 0, 0, 2).tensor("b", 0, 4, 2).end(16), "overlaps"},
		"twice":          {start(2, 0).tensor("a", 0, 0, 1).tensor("a", 0, 4, 1).end(16), "twice"},
		"no name":        {start(1, 0).tensor("", 0, 0, 1).end(4), "dimensions"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(c.raw)
			require.ErrorIs(t, err, gguf.ErrFormat)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(start(1, 0).tensor("w", 1, 0, 3, 3).end(32))
	f.Add(start(0, 1).text("k").num(uint32(9), uint32(8), uint64(1)).text("a").Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := read(raw)
		if err != nil {
			return
		}
		for _, x := range h.Tensors {
			require.LessOrEqual(t, h.DataStart+x.Offset+x.Size, int64(len(raw)))
		}
	})
}
