package catalog_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/disktest"
	"sdworker/models/catalog"
)

// TestHashesOnAFullDisk: a hash that cannot be kept is known all the same, and those that
// were kept before are not lost.
func TestHashesOnAFullDisk(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors", "Stable-diffusion/b.safetensors", "Stable-diffusion/c.safetensors")
	config := catalog.Config{Roots: []string{dir}, HashFile: filepath.Join(dir, "state", "hashes.json")}
	c := open(t, config)
	list := c.Checkpoints()
	first, err := c.SHA256(t.Context(), list[0].Path)
	require.NoError(t, err)
	require.Equal(t, sha(t, list[0].Path), first)
	before, err := os.ReadFile(config.HashFile)
	require.NoError(t, err)

	free := disktest.Fill(t, 10)
	second, err := c.VersionSHA256(t.Context(), list[1].ID())
	require.NoError(t, err, "as requests ask for it")
	require.Equal(t, sha(t, list[1].Path), second)
	require.Equal(t, second, c.Checkpoints()[1].SHA256)
	third, err := c.SHA256(t.Context(), list[2].Path)
	require.ErrorIs(t, err, syscall.EFBIG, "whoever hashes beforehand is told")
	require.Equal(t, sha(t, list[2].Path), third)
	free()
	after, err := os.ReadFile(config.HashFile)
	require.NoError(t, err)
	require.Equal(t, before, after)
	entries, err := os.ReadDir(filepath.Dir(config.HashFile))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing half-written stays")
	require.Equal(t, first, open(t, config).Checkpoints()[0].SHA256)
}
