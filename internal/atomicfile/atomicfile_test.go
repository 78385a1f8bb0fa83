package atomicfile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/internal/atomicfile"
	"sdworker/internal/disktest"
)

// names are all files of a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	for _, text := range []string{"old and long", "new"} {
		require.NoError(t, atomicfile.Write(path, []byte(text)))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, atomicfile.Mode, info.Mode())
	require.Equal(t, []string{"a.json"}, names(t, dir))
}

func TestWriteInTheWorkingFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, atomicfile.Write("x", []byte("1")))
	require.Equal(t, []string{"x"}, names(t, "."))
}

func TestUnfinishedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.gguf")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	f, err := atomicfile.Create(path)
	require.NoError(t, err)
	require.Equal(t, dir, filepath.Dir(f.Name()), "on the same file system")
	require.Equal(t, ".gguf", filepath.Ext(f.Name()))
	_, err = f.WriteString("half")
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	f.Discard()
	require.Equal(t, []string{"model.gguf"}, names(t, dir))

	f, err = atomicfile.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Commit())
	f.Discard() // as a deferred call does
	require.Equal(t, []string{"model.gguf"}, names(t, dir))
}

func TestNothingIsLeftOfAFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a folder")
	require.NoError(t, os.Mkdir(path, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(path, "inside"), nil, 0o600))
	require.Error(t, atomicfile.Write(path, []byte("x")), "a folder cannot be replaced by a file")
	require.Equal(t, []string{"a folder"}, names(t, dir))
	require.Error(t, atomicfile.Write(filepath.Join(dir, "no folder", "x"), nil))
}

func TestWriteNewReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"1", "2", "3"} {
		require.NoError(t, atomicfile.WriteNew(filepath.Join(dir, "a.png"), []byte(text)))
	}
	require.ElementsMatch(t, []string{"a.png", "a-1.png", "a-1-1.png"}, names(t, dir))
	got, err := os.ReadFile(filepath.Join(dir, "a.png"))
	require.NoError(t, err)
	require.Equal(t, "1", string(got))
}

func TestFullDisk(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	require.NoError(t, atomicfile.Write(path, []byte("old")))
	free := disktest.Fill(t, 10)
	for _, write := range []func(string, []byte) error{atomicfile.Write, atomicfile.WriteNew} {
		require.ErrorIs(t, write(path, make([]byte, 20)), syscall.EFBIG)
	}
	free()
	require.Equal(t, []string{"a.json"}, names(t, dir))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
}
