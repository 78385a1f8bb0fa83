package convert_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/internal/disktest"
	"sdworker/models/convert"
)

// TestFullDisk: a model that finds no room leaves no file, and one of its name stays as it was.
func TestFullDisk(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	dir := t.TempDir()
	src := store(t, filepath.Join(dir, "s"), nil, safetensors.F32, map[string][]float32{"a": make([]float32, 100_000)})
	dst := filepath.Join(dir, "d")
	require.NoError(t, os.WriteFile(dst, []byte("of before"), 0o600))
	for _, room := range []uint64{0, 100, 64 << 10} {
		free := disktest.Fill(t, room)
		_, err := convert.Write(t.Context(), src, dst, convert.Options{DType: safetensors.F16})
		free()
		require.ErrorIs(t, err, syscall.EFBIG)
		text, err := os.ReadFile(dst)
		require.NoError(t, err)
		require.Equal(t, "of before", string(text))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 2)
	}
	_, err := convert.Write(t.Context(), src, dst, convert.Options{DType: safetensors.F16})
	require.NoError(t, err)
}
