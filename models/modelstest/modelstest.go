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

// F16 is a half precision tensor.
func F16(name string, shape ...int64) safetensors.Tensor {
	return safetensors.Tensor{Name: name, DType: safetensors.F16, Shape: shape}
}
