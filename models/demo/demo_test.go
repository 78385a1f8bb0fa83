package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/formats/safetensors"
	"sdworker/inference/clip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// The file is the same on every machine: its digest is part of the program.
func TestFamily(t *testing.T) {
	place := Place{t.TempDir()}
	was := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(was)
	require.NoError(t, place.Ensure(t.Context()))
	require.Equal(t, Digest, digest(t, place.Path(Checkpoint)), "after a change of weights or of the expansion put this digest into place.go")
	h, err := safetensors.ReadHeaderFile(place.Path(Checkpoint))
	require.NoError(t, err)
	require.Len(t, h.Tensors, 1130)
	t.Run("text encoder", func(t *testing.T) { testTextEncoder(t, place.Path(Checkpoint)) })

	// What is there stays; what is gone comes back.
	require.NoError(t, os.WriteFile(place.Path(Checkpoint), []byte("mine"), 0o600))
	require.NoError(t, os.Remove(place.Path(Embedding)))
	require.NoError(t, place.Ensure(t.Context()))
	raw, err := os.ReadFile(place.Path(Checkpoint))
	require.NoError(t, err)
	require.Equal(t, "mine", string(raw))
	require.FileExists(t, place.Path(Embedding))
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Write(ctx, Checkpoint, filepath.Join(dir, "x")), context.Canceled)
	require.ErrorContains(t, Write(t.Context(), "demo-novel", filepath.Join(dir, "x")), "unknown kind")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// Every spelling must be one token of CLIP's vocabulary, or no prompt reaches it.
func TestEverySpellingIsAToken(t *testing.T) {
	v := testVocabulary(t)
	for _, lists := range []map[string][]string{v.Objects, v.Places, v.Colours, {"": v.Separators}, {"": v.Barriers}} {
		for _, words := range lists {
			for _, word := range words {
				require.Len(t, clip.Tokenize(word), 1, word)
			}
		}
	}
}

func testVocabulary(t *testing.T) *vocabulary {
	t.Helper()
	s, err := model()
	require.NoError(t, err)
	v, err := s.vocabulary()
	require.NoError(t, err)
	require.NotEmpty(t, slices.Collect(maps.Keys(v.Objects)))
	return v
}
