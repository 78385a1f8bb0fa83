package diskread_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/models/diskread"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is longer than two blocks and not a multiple of one.
func content(t *testing.T) (string, []byte) {
	t.Helper()
	b := make([]byte, 10<<20+12345)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path, b
}

func TestStream(t *testing.T) {
	path, want := content(t)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for _, offset := range []int64{0, 7, 4 << 20, int64(len(want)), int64(len(want)) + 9} {
		var got bytes.Buffer
		stats, err := diskread.Stream(context.Background(), f, offset, func(b []byte) error {
			got.Write(b)
			return nil
		})
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[min(offset, int64(len(want))):], got.Bytes()))
		require.EqualValues(t, got.Len(), stats.Bytes)
	}
}

func TestStreamStops(t *testing.T) {
	path, _ := content(t)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	enough := errors.New("enough")
	_, err = diskread.Stream(context.Background(), f, 0, func([]byte) error { return enough })
	require.ErrorIs(t, err, enough)

	ctx, cancel := context.WithCancel(context.Background())
	_, err = diskread.Stream(ctx, f, 0, func([]byte) error {
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)

	closed, err := os.Open(path)
	require.NoError(t, err)
	closed.Close()
	_, err = diskread.Stream(context.Background(), closed, 0, func([]byte) error { return nil })
	require.ErrorIs(t, err, os.ErrClosed)
}
