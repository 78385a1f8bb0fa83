package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/formats/safetensors"
)

// file renders a header text and some data bytes.
func file(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func read(b []byte) (*safetensors.Header, error) {
	return safetensors.ReadHeader(bytes.NewReader(b), int64(len(b)))
}

func TestReadHeader(t *testing.T) {
	h, err := read(file(`{"__metadata__":{"format":"pt"},`+
		`"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},`+
		`"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},`+
		`"empty":{"dtype":"I64","shape":[0,5],"data_offsets":[16,16]}}   `, 16))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"format": "pt"}, h.Metadata)
	require.Len(t, h.Tensors, 3)
	require.Equal(t, "a", h.Tensors[0].Name)
	b, ok := h.Lookup("b")
	require.True(t, ok)
	require.Equal(t, []int64{2, 3}, b.Shape)
	require.EqualValues(t, 12, b.Size)
	require.EqualValues(t, 16, h.DataSize())
	_, ok = h.Lookup("c")
	require.False(t, ok)
}

// A type of a later version of the format takes the bytes that its offsets say.
func TestUnknownTypesArePassedOver(t *testing.T) {
	h, err := read(file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}}`, 4))
	require.NoError(t, err)
	b, _ := h.Lookup("b")
	require.EqualValues(t, 2, b.Offset)
	_, err = read(file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 1))
	require.ErrorContains(t, err, "truncated")
}

func TestMalformed(t *testing.T) {
	one := func(entry string) string { return `{"a":` + entry + `}` }
	for _, c := range []struct {
		name, want string
		raw        []byte
	}{
		{"too short", "too short", []byte("1234567")},
		{"huge header", "announce a header of", append(bytes.Repeat([]byte{0xff}, 8), '{')},
		{"header over 100 MB", "more than the 100000000", binary.LittleEndian.AppendUint64(nil, 100_000_001)},
		{"header behind the end", "truncated", file("{}", 0)[:9]},
		{"empty header", "not a JSON object", file("", 0)},
		{"array", "not a JSON object", file("[]", 0)},
		{"cut JSON", "entry of tensor a", file(`{"a"`, 0)},
		{"second value", "text follows", file(`{}{}`, 0)},
		{"line break after", "text follows", file("{}\n", 0)},
		{"metadata not text", "metadata", file(`{"__metadata__":{"a":1}}`, 0)},
		{"entry not object", "entry of tensor a", file(one("1"), 0)},
		{"no name", "no name", file(`{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0)},
		{"long name", "longer than", file(fmt.Sprintf(`{"%s":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, strings.Repeat("n", 2000)), 0)},
		{"control character", "control", file(`{"a\u0000b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0)},
		{"long type", `has the type "FFFF`, file(one(`{"dtype":"`+strings.Repeat("F", 40)+`","shape":[1],"data_offsets":[0,1]}`), 1)},
		{"no type", `has the type ""`, file(one(`{"shape":[1],"data_offsets":[0,1]}`), 1)},
		{"no offsets", "no data_offsets", file(one(`{"dtype":"U8","shape":[1]}`), 1)},
		{"negative side", "impossible shape", file(one(`{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}`), 1)},
		{"fraction", "entry of tensor a", file(one(`{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}`), 1)},
		{"rank", "dimensions", file(one(`{"dtype":"U8","shape":[1`+strings.Repeat(",1", 32)+`],"data_offsets":[0,1]}`), 1)},
		{"overflow", "impossible shape", file(one(`{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,1]}`), 1)},
		{"backward offsets", "offsets [4, 0]", file(one(`{"dtype":"F32","shape":[1],"data_offsets":[4,0]}`), 4)},
		{"negative offsets", "offsets [-4, 0]", file(one(`{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}`), 4)},
		{"size mismatch", "needs 8 bytes, its offsets span 4", file(one(`{"dtype":"F32","shape":[2],"data_offsets":[0,4]}`), 4)},
		{"unclosed", "not JSON", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, 0)},
		{"twice", "appears twice", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1)},
		{"overlap", "overlap", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3)},
		{"gap", "belong to no tensor", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2)},
		{"truncated", "truncated", file(one(`{"dtype":"U8","shape":[9],"data_offsets":[0,9]}`), 8)},
		{"trailing bytes", "follow the last value", file(one(`{"dtype":"U8","shape":[9],"data_offsets":[0,9]}`), 10)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.raw)
			var format *safetensors.FormatError
			require.ErrorAs(t, err, &format)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestShrunkWhileReading(t *testing.T) {
	raw := file("{}", 0)
	_, err := safetensors.ReadHeader(bytes.NewReader(raw[:9]), int64(len(raw)))
	require.ErrorContains(t, err, "shorter while it was read")
}

func TestWriteReadRoundTrip(t *testing.T) {
	types := []safetensors.DType{safetensors.F16, safetensors.F32, safetensors.U8, safetensors.I64}
	rapid.Check(t, func(t *rapid.T) {
		var tensors []safetensors.Tensor
		for i := range rapid.IntRange(0, 8).Draw(t, "tensors") {
			tensors = append(tensors, safetensors.Tensor{
				Name:  rapid.StringMatching(`[a-z."\\é<&]{0,8}`).Draw(t, "name") + fmt.Sprint(i),
				DType: rapid.SampledFrom(types).Draw(t, "type"),
				Shape: rapid.SliceOfN(rapid.Int64Range(0, 9), 0, 4).Draw(t, "shape"),
			})
		}
		metadata := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata")
		h, err := safetensors.Layout(metadata, tensors)
		require.NoError(t, err)
		var b bytes.Buffer
		n, err := h.WriteTo(&b)
		require.NoError(t, err)
		require.Equal(t, h.DataStart, n)
		require.Zero(t, n%8)
		b.Write(make([]byte, h.DataSize()))
		got, err := read(b.Bytes())
		require.NoError(t, err)
		require.Len(t, got.Tensors, len(tensors))
		for _, want := range h.Tensors {
			have, ok := got.Lookup(want.Name)
			require.True(t, ok)
			require.Equal(t, want.Offset, have.Offset)
			require.Equal(t, want.DType, have.DType)
			require.ElementsMatch(t, want.Shape, have.Shape)
		}
	})
}

func TestLayoutRefuses(t *testing.T) {
	for name, list := range map[string][]safetensors.Tensor{
		"unknown type": {{Name: "a", DType: "F4", Shape: []int64{1}}},
		"no name":      {{DType: safetensors.F16, Shape: []int64{1}}},
		"reserved":     {{Name: "__metadata__", DType: safetensors.F16, Shape: []int64{1}}},
		"negative":     {{Name: "a", DType: safetensors.F16, Shape: []int64{-1}}},
		"twice":        {{Name: "a", DType: safetensors.F16}, {Name: "a", DType: safetensors.F16}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := safetensors.Layout(nil, list)
			require.Error(t, err)
		})
	}
}

func TestFileFloats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	h, err := safetensors.Layout(nil, []safetensors.Tensor{
		{Name: "half", DType: safetensors.F16, Shape: []int64{3}},
		{Name: "brain", DType: safetensors.BF16, Shape: []int64{1}},
		{Name: "single", DType: safetensors.F32, Shape: []int64{1}},
		{Name: "double", DType: safetensors.F64, Shape: []int64{1}},
		{Name: "long", DType: safetensors.I64, Shape: []int64{1}},
	})
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = h.WriteTo(&b)
	require.NoError(t, err)
	raw := b.Bytes()
	for _, v := range []float32{1, -2.5, 0x1p-24} {
		raw = binary.LittleEndian.AppendUint16(raw, safetensors.FloatToHalf(v))
	}
	raw = binary.LittleEndian.AppendUint16(raw, 0x3fc0)
	raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(0.1))
	raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(0.5))
	raw = binary.LittleEndian.AppendUint64(raw, 7)
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for name, want := range map[string][]float32{
		"half": {1, -2.5, 0x1p-24}, "brain": {1.5}, "single": {0.1}, "double": {0.5},
	} {
		got, _, err := f.Float32s(name)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	_, _, err = f.Float32s("long")
	require.ErrorContains(t, err, "no floating point")
	_, _, err = f.Float32s("none")
	require.ErrorContains(t, err, `no tensor "none"`)
}

func TestOpenRefusesFolders(t *testing.T) {
	_, err := safetensors.Open(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
}

// Every binary16 value survives the way to float32 and back.
func TestHalfExact(t *testing.T) {
	for h := range 1 << 16 {
		f := safetensors.HalfToFloat(uint16(h))
		if math.IsNaN(float64(f)) {
			require.True(t, math.IsNaN(float64(safetensors.HalfToFloat(safetensors.FloatToHalf(f)))))
			continue
		}
		require.Equal(t, uint16(h), safetensors.FloatToHalf(f))
	}
}

func TestHalfRounding(t *testing.T) {
	for _, c := range []struct {
		in   float32
		want uint16
	}{
		{1 + 0x1p-11, 0x3c00},           // tie to even, down
		{1 + 3*0x1p-11, 0x3c02},         // tie to even, up
		{1 + 0x1p-11 + 0x1p-20, 0x3c01}, // above the tie
		{65504, 0x7bff},
		{65519, 0x7bff},
		{65520, 0x7c00},
		{-1e9, 0xfc00},
		{0x1p-25, 0},
		{0x1.8p-25, 1},
		{0x1p-24, 1},
		{-0x1p-14, 0x8400},
		{0x1.ff8p-15, 0x03ff},
		{0x1.ffcp-15, 0x0400}, // the largest subnormal, and the step over it
		{float32(math.Inf(1)), 0x7c00},
	} {
		require.Equal(t, c.want, safetensors.FloatToHalf(c.in), "%g", c.in)
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, 4))
	f.Add(file(`{"__metadata__":{"k":"v"}}`, 0))
	f.Add(file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := read(raw)
		if err != nil {
			return
		}
		var end int64
		for _, tensor := range h.Tensors {
			require.Equal(t, end, tensor.Offset)
			if size := tensor.DType.Size(); size > 0 { // of a type that is known
				require.Equal(t, tensor.Elements()*size, tensor.Size)
			}
			end += tensor.Size
		}
		require.EqualValues(t, len(raw), h.DataStart+end)
	})
}

func TestEightBitFloats(t *testing.T) {
	for _, c := range []struct {
		d    safetensors.DType
		bits byte
		want float64
	}{
		{safetensors.F8E4M3, 0x00, 0},
		{safetensors.F8E4M3, 0x01, 0x1p-9},
		{safetensors.F8E4M3, 0x38, 1},
		{safetensors.F8E4M3, 0xb8, -1},
		{safetensors.F8E4M3, 0x7e, 448},
		{safetensors.F8E4M3, 0x7f, math.NaN()},
		{safetensors.F8E5M2, 0x01, 0x1p-16},
		{safetensors.F8E5M2, 0x3c, 1},
		{safetensors.F8E5M2, 0x7b, 57344},
		{safetensors.F8E5M2, 0x7c, math.Inf(1)},
		{safetensors.F8E5M2, 0xfc, math.Inf(-1)},
		{safetensors.F8E5M2, 0x7d, math.NaN()},
	} {
		var got [1]float32
		require.NoError(t, safetensors.Decode(got[:], []byte{c.bits}, c.d))
		if math.IsNaN(c.want) {
			require.True(t, math.IsNaN(float64(got[0])), "%s %#x", c.d, c.bits)
			continue
		}
		require.Equal(t, math.Float32bits(float32(c.want)), math.Float32bits(got[0]), "%s %#x", c.d, c.bits)
	}
}

func TestEncode(t *testing.T) {
	values := []float32{1, 1e9, float32(math.Inf(1)), float32(math.NaN()), 3.4e38}
	for d, want := range map[safetensors.DType]int{safetensors.F16: 2, safetensors.BF16: 1, safetensors.F32: 0} {
		raw := make([]byte, int64(len(values))*d.Size())
		overflows, err := safetensors.Encode(raw, values, d)
		require.NoError(t, err)
		require.Equal(t, want, overflows, d)
		back := make([]float32, len(values))
		require.NoError(t, safetensors.Decode(back, raw, d))
		require.Equal(t, []float32{1}, back[:1])
		require.True(t, math.IsNaN(float64(back[3])))
	}
	_, err := safetensors.Encode(make([]byte, 3), values, safetensors.F16)
	require.Error(t, err)
	_, err = safetensors.Encode(make([]byte, len(values)), values, safetensors.U8)
	require.Error(t, err)
}
