package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
)

// A checkpoint without a VAE is ready, and paints with one that is chosen.
func TestACheckpointWithoutAVAE(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Description: inference.EngineInfo{NoVAE: true}}
	})
	req := txt2img(nil)
	require.NoError(t, b.Load(t.Context(), req.Files, inference.Hooks{}))
	_, err := b.Generate(t.Context(), req, inference.Hooks{})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "has no VAE of its own")
	req.Files.VAE = "/models/VAE/x.safetensors"
	require.Len(t, b.run(t, req).Images, 1)
}

// The marker of a checkpoint acts as the option does.
func TestZeroTerminalSNROfACheckpoint(t *testing.T) {
	plain, marked := newBench(t, nil), newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Description: inference.EngineInfo{ZeroTerminalSNR: true}}
	})
	option := txt2img(func(r *inference.Request) { r.Settings.ZeroTerminalSNR = true })
	want := plain.run(t, option).Images[0].Pixels
	require.Equal(t, want, marked.run(t, txt2img(nil)).Images[0].Pixels)
	require.NotEqual(t, want, plain.run(t, txt2img(nil)).Images[0].Pixels)
}
