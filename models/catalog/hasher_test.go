package catalog

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file is read once however many ask for its hash, and to the end when the one
// who asked first has left.
func TestHashIsComputedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o600))
	c := New(Config{})
	begun, release := make(chan struct{}), make(chan struct{})
	var readings atomic.Int32
	slow := sumOfFile
	slow.start = func(*os.File) (int64, error) {
		if readings.Add(1) == 1 {
			close(begun)
		}
		<-release
		return 0, nil
	}
	ctx, leave := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		_, err := c.remember(ctx, path, slow)
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-begun
	leave()
	wait.Wait()
	for range 8 {
		wait.Go(func() {
			sum, err := c.remember(t.Context(), path, slow)
			assert.NoError(t, err)
			assert.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sum)
		})
	}
	close(release)
	wait.Wait()
	require.EqualValues(t, 1, readings.Load())
}

// After Close nothing is read or written any more, also of a file whose reading had begun.
func TestCloseWaitsForHashing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o600))
	c := New(Config{HashFile: filepath.Join(dir, "state", "hashes.json")})
	begun, release := make(chan struct{}), make(chan struct{})
	slow := sumOfFile
	slow.start = func(*os.File) (int64, error) {
		close(begun)
		<-release
		return 0, nil
	}
	ctx, leave := context.WithCancel(t.Context())
	var caller, closing sync.WaitGroup
	caller.Go(func() {
		_, err := c.remember(ctx, path, slow)
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-begun
	leave()
	caller.Wait()
	var ended atomic.Bool
	closing.Go(func() {
		c.Close()
		ended.Store(true)
	})
	<-c.hasher.life.Done()
	require.False(t, ended.Load(), "the file is still open")
	close(release)
	closing.Wait()
	require.NoDirExists(t, filepath.Join(dir, "state"))
	_, err := c.SHA256(t.Context(), path)
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, filepath.Join(dir, "state"))
}
