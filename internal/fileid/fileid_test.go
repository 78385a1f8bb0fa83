package fileid_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/internal/fileid"
)

func TestReplaced(t *testing.T) {
	write := func(path, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	for name, change := range map[string]func(t *testing.T, path string){
		"overwritten": func(_ *testing.T, path string) { write(path, "two") },
		"cut":         func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 1)) },
		"another of the same size and time in its place": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			write(path+".new", "two")
			require.NoError(t, os.Chtimes(path+".new", info.ModTime(), info.ModTime()))
			require.NoError(t, os.Rename(path+".new", path))
		},
		"a link that leads elsewhere": func(t *testing.T, path string) {
			write(path+".other", "one")
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Symlink(path+".other", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			write(path, "one")
			id, err := fileid.Stat(path)
			require.NoError(t, err)
			require.False(t, id.Replaced())
			// Times have the grain of the kernel's clock.
			require.Eventually(t, func() bool { change(t, path); return id.Replaced() }, time.Minute, 10*time.Millisecond)
		})
	}
	path := filepath.Join(t.TempDir(), "file")
	write(path, "one")
	id, err := fileid.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.False(t, id.Replaced(), "a file that is gone")
}

func BenchmarkReplaced(b *testing.B) {
	id, err := fileid.Stat("fileid.go")
	require.NoError(b, err)
	for b.Loop() {
		id.Replaced()
	}
}
