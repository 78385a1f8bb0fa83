// Package modelstest writes small model files for tests: real headers, values
// that are holes in the file and cost no disk.
package modelstest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
)

// Write makes a safetensors file with the given tensors and zero values, and
// the folders above it. Offsets and sizes are filled in.
func Write(tb testing.TB, path string, metadata map[string]string, tensors ...safetensors.Tensor) string {
	tb.Helper()
	h, err := safetensors.Layout(metadata, tensors)
	require.NoError(tb, err)
	var b bytes.Buffer
	_, err = h.WriteTo(&b)
	require.NoError(tb, err)
	require.NoError(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(tb, os.WriteFile(path, b.Bytes(), 0o600))
	require.NoError(tb, os.Truncate(path, h.DataStart+h.DataSize()))
	return path
}

// WriteData is Write with values: data has the bytes of tensors by their names.
func WriteData(tb testing.TB, path string, metadata map[string]string, data map[string][]byte, tensors ...safetensors.Tensor) string {
	tb.Helper()
	Write(tb, path, metadata, tensors...)
	h, err := safetensors.ReadHeaderFile(path)
	require.NoError(tb, err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(tb, err)
	defer f.Close()
	for _, t := range h.Tensors {
		_, err := f.WriteAt(data[t.Name], h.DataStart+t.Offset)
		require.NoError(tb, err)
	}
	return path
}

// Data is values as a tensor of type d has them.
func Data(tb testing.TB, d safetensors.DType, values ...float32) []byte {
	tb.Helper()
	raw := make([]byte, int64(len(values))*d.Size())
	_, err := safetensors.Encode(raw, values, d)
	require.NoError(tb, err)
	return raw
}

// F16 is a half precision tensor.
func F16(name string, shape ...int64) safetensors.Tensor {
	return safetensors.Tensor{Name: name, DType: safetensors.F16, Shape: shape}
}
