//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models"
	"sdworker/models/synth"
)

// drawn makes a small picture with the checkpoint of a file.
func drawn(t *testing.T, checkpoint string) []uint8 {
	t.Helper()
	p := inference.NewPipeline(func(_ context.Context, path string, _ func(int, int)) (inference.Engine, error) {
		return open(t, sdcpp.Options{Checkpoint: path}), nil
	}, inference.PipelineOptions{})
	defer func() { require.NoError(t, p.Close()) }()
	res, err := p.Generate(t.Context(), &inference.Request{
		Files: inference.Files{Checkpoint: checkpoint}, Prompt: "a lovely cat", Seed: 1, Width: 64, Height: 64,
		Steps: 4, CFGScale: 2, Sampler: "Euler", BatchSize: 1, BatchNum: 1,
		Settings: inference.Settings{ClipSkip: 1, Emphasis: "Original", NoiseSource: "CPU"},
	}, inference.Hooks{})
	require.NoError(t, err)
	return res.Images[0].Pixels.Pix
}

func TestQuantizedCheckpointMakesASimilarPicture(t *testing.T) {
	source := model(t, synth.Checkpoint)
	want := drawn(t, source)
	sizes := map[string]int64{}
	for typ, least := range map[string]float64{"f16": 60, "q8_0": 30, "q4_0": 15} { // dB

		t.Run(typ, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "small.gguf")
			require.NoError(t, sdcpp.Quantize(t.Context(), source, path, typ, zerolog.Nop()))
			info, err := models.Check(path, models.Checkpoint, models.CheckOptions{})
			require.NoError(t, err)
			require.Equal(t, formats.GGUF, info.Format)
			sizes[typ] = info.Bytes
			likeness := psnr(want, drawn(t, path))
			t.Logf("%d MiB, %.1f dB", info.Bytes>>20, likeness)
			require.Greater(t, likeness, least)
		})
	}
	require.Less(t, sizes["q8_0"], sizes["f16"])
	require.Less(t, sizes["q4_0"], sizes["q8_0"])
}

func TestQuantizeLeavesNothingBehindWhenItFails(t *testing.T) {
	dir := t.TempDir()
	dst := filepath.Join(dir, "out.gguf")
	require.NoError(t, os.WriteFile(dst, []byte("what was there"), 0o600))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx       context.Context //nolint:containedctx // one of the cases has ended
		src, typ  string
		code      fault.Code
		complaint string
	}{
		{t.Context(), model(t, synth.VAE), "q9_9", fault.Invalid, "no type q9_9"},
		{t.Context(), file(t, []byte("no model")), "q8_0", fault.Invalid, "no known model format"},
		{t.Context(), filepath.Join(dir, "none"), "q8_0", fault.NotFound, "no file"},
		{canceled, model(t, synth.VAE), "q8_0", fault.Canceled, "canceled"},
	} {
		err := sdcpp.Quantize(tc.ctx, tc.src, dst, tc.typ, zerolog.Nop())
		require.Equal(t, tc.code, fault.CodeOf(err), tc.complaint)
		require.ErrorContains(t, err, tc.complaint)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	content, err := os.ReadFile(dst)
	require.NoError(t, err)
	require.Equal(t, "what was there", string(content))
}
