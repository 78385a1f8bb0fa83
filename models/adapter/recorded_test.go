package adapter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/models/adapter"
)

// tolerance is the largest difference to the right weight, relative to the largest
// value of the weight.
const tolerance = 2e-3

// values are an array with its shape.
type values struct {
	shape []int64
	data  []float32
}

// merged applies every change of a file to copies of the base weights, each row on
// its own where the kind allows that.
func merged(t *testing.T, f *adapter.File, content []byte, base map[string]values, strength float32) map[string]values {
	t.Helper()
	out := map[string]values{}
	for name, b := range base {
		out[name] = values{b.shape, slices.Clone(b.data)}
	}
	for _, c := range f.Changes {
		w, ok := out[c.Tensor]
		require.True(t, ok, "no weight %s", c.Tensor)
		var arena adapter.Arena
		d, err := c.Prepare(adapter.Plain{}, bytes.NewReader(content), w.shape, &arena)
		if c.Optional && errors.As(err, new(*adapter.UnfitError)) {
			continue
		}
		require.NoError(t, err, c.Tensor)
		rows := int(w.shape[0])
		run := 7
		if d.Rows > 0 {
			run = d.Rows
		}
		cols := len(w.data) / rows
		for from := 0; from < rows; from += run {
			to := min(from+run, rows)
			require.NoError(t, d.Apply(w.data[from*cols:to*cols], from, to, strength, &arena))
		}
	}
	return out
}

func requireClose(t *testing.T, want, got values, name string) {
	t.Helper()
	require.Len(t, got.data, len(want.data), name)
	largest, worst := 0.0, 0.0
	for i, w := range want.data {
		largest = max(largest, math.Abs(float64(w)))
		worst = max(worst, math.Abs(float64(w-got.data[i])))
	}
	require.LessOrEqual(t, worst, tolerance*largest, name)
}

// file writes a safetensors file of float32 arrays and parses it.
func parse(t *testing.T, metadata map[string]string, arrays map[string]values) (*adapter.File, []byte) {
	t.Helper()
	var list []safetensors.Tensor
	for name, a := range arrays {
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: a.shape})
	}
	header, err := safetensors.Layout(metadata, list)
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = header.WriteTo(&b)
	require.NoError(t, err)
	for _, tensor := range header.Tensors {
		raw := make([]byte, tensor.Size)
		_, err := safetensors.Encode(raw, arrays[tensor.Name].data, safetensors.F32)
		require.NoError(t, err)
		b.Write(raw)
	}
	f, err := adapter.OpenSafetensors(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	return f, b.Bytes()
}

// The weights are those with which the modules of LyCORIS and PEFT acted when their
// files were saved (testdata/record.py).
func TestRecorded(t *testing.T) {
	content, err := os.ReadFile("testdata/recorded.tensors")
	require.NoError(t, err)
	header, err := safetensors.ReadHeader(bytes.NewReader(content), int64(len(content)))
	require.NoError(t, err)
	type recording struct {
		tensors    []*adapter.Tensor
		base, want map[string]values
	}
	cases := map[string]*recording{}
	for _, h := range header.Tensors {
		parts := strings.SplitN(h.Name, "|", 3)
		c := cases[parts[0]]
		if c == nil {
			c = &recording{base: map[string]values{}, want: map[string]values{}}
			cases[parts[0]] = c
		}
		if parts[1] == "file" {
			c.tensors = append(c.tensors, &adapter.Tensor{Name: parts[2], DType: h.DType, Shape: h.Shape, Raw: header.DataStart + h.Offset})
			continue
		}
		data, err := safetensors.ReadFloat32s(bytes.NewReader(content), header.DataStart+h.Offset, h.Elements(), h.DType)
		require.NoError(t, err)
		map[string]map[string]values{"base": c.base, "want": c.want}[parts[1]][parts[2]] = values{h.Shape, data}
	}
	require.Len(t, cases, 102)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var metadata map[string]string
			if text := header.Metadata[name]; text != "" {
				require.NoError(t, json.Unmarshal([]byte(text), &metadata))
			}
			f := adapter.Parse(c.tensors, metadata)
			if config := metadata["adapter_config"]; config != "" {
				f.Configure([]byte(config))
			}
			require.Empty(t, f.Summary())
			got := merged(t, f, content, c.base, 1)
			for tensor, want := range c.want {
				requireClose(t, want, got[tensor], tensor)
			}
			require.Equal(t, c.base, merged(t, f, content, c.base, 0), "strength 0")
		})
	}
}
