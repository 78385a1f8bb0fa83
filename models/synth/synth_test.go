package synth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/formats/safetensors"
	"sdworker/models/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The full count is the published one; the tiny checkpoint has 326 MiB.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		name     string
		options  synth.Options
		tensors  int
		elements int64
	}{
		{"full checkpoint", synth.Options{Size: synth.Full}, 1130, 1_066_235_307},
		{"tiny checkpoint", synth.Options{}, 1130, 170_690_955},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := synth.Parameters(c.options)
			require.NoError(t, err)
			var n int64
			for _, p := range list {
				n += p.Elements()
			}
			require.Len(t, list, c.tensors)
			require.Equal(t, c.elements, n)
		})
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func TestSameBytesWhateverTheCPUs(t *testing.T) {
	dir := t.TempDir()
	one, many := filepath.Join(dir, "one"), filepath.Join(dir, "many")
	o := synth.Options{Kind: synth.VAE, Seed: 7}
	was := runtime.GOMAXPROCS(1)
	err := synth.Write(context.Background(), one, o)
	runtime.GOMAXPROCS(5)
	err2 := synth.Write(context.Background(), many, o)
	runtime.GOMAXPROCS(was)
	require.NoError(t, err)
	require.NoError(t, err2)
	require.Equal(t, digest(t, one), digest(t, many))

	o.Seed = 8
	require.NoError(t, synth.Write(context.Background(), many, o))
	require.NotEqual(t, digest(t, one), digest(t, many))
}

func TestStatistics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vae")
	require.NoError(t, synth.Write(context.Background(), path, synth.Options{Kind: synth.VAE}))
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for _, c := range []struct {
		name            string
		mean, deviation float64
	}{
		{"encoder.mid.block_1.norm1.weight", 1, 0},
		{"encoder.mid.block_1.norm1.bias", 0, 0.02},
		{"encoder.mid.block_1.conv1.weight", 0, 1 / math.Sqrt(512*9)},
		{"encoder.mid.attn_1.q.weight", 0, 1 / math.Sqrt(512)},
	} {
		values, tensor, err := f.Float32s(c.name)
		require.NoError(t, err)
		var sum, squares float64
		for _, v := range values {
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
		n := float64(tensor.Elements())
		mean := sum / n
		deviation := math.Sqrt(squares/n - mean*mean)
		tolerance := 4 / math.Sqrt(n) * max(c.deviation, 1e-9)
		require.InDelta(t, c.mean, mean, tolerance, c.name)
		require.InDelta(t, c.deviation, deviation, tolerance+1e-9, c.name)
	}
}

func TestEveryKindIsValid(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range synth.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			if kind == synth.Checkpoint || kind == synth.Inpainting {
				list, err := synth.Parameters(synth.Options{Kind: kind})
				require.NoError(t, err)
				require.Len(t, list, 1130)
				return
			}
			path := filepath.Join(dir, string(kind))
			require.NoError(t, synth.Write(context.Background(), path, synth.Options{Kind: kind}))
			h, err := safetensors.ReadHeaderFile(path)
			require.NoError(t, err)
			require.NotEmpty(t, h.Tensors)
			require.Zero(t, h.DataStart%8)
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := synth.Write(ctx, filepath.Join(dir, "x"), synth.Options{})
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	require.ErrorContains(t, synth.Write(context.Background(), filepath.Join(dir, "x"), synth.Options{Kind: "novel"}), "unknown kind")
	require.ErrorContains(t, synth.Write(context.Background(), filepath.Join(dir, "x"), synth.Options{Size: "huge"}), "unknown size")
}
