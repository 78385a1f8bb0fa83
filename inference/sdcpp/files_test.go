package sdcpp

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

func write(t *testing.T, tensors ...safetensors.Tensor) string {
	t.Helper()
	return modelstest.Write(t, filepath.Join(t.TempDir(), "model.safetensors"), nil, tensors...)
}

func tiny(t *testing.T, kind synth.Kind) string {
	t.Helper()
	parameters, err := synth.Parameters(synth.Options{Kind: kind, Size: synth.Tiny})
	require.NoError(t, err)
	var tensors []safetensors.Tensor
	for _, p := range parameters {
		tensors = append(tensors, modelstest.F16(p.Name, p.Shape...))
	}
	return write(t, tensors...)
}

func TestFilesOfAnotherArchitectureAreRefusedBeforeTheEngineSeesThem(t *testing.T) {
	f := modelstest.F16
	for _, tc := range []struct {
		path string
		want string
	}{
		{write(t, f("model.diffusion_model.input_blocks.0.0.weight", 320, 4, 3, 3), f("model.diffusion_model.label_emb.0.0.weight", 1280, 2816)), "Stable Diffusion XL; accepted is Stable Diffusion 1.x"},
		{write(t, f("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", 9, 9)), "for Flux; accepted is Stable Diffusion 1.x"},
		{tiny(t, synth.LoRA), "holds a LoRA, not a checkpoint"},
		{write(t), "no tensors"},
	} {
		_, err := new(checker).check(tc.path, models.Checkpoint)
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
		require.ErrorContains(t, err, tc.want)
		require.ErrorContains(t, err, tc.path)
	}
}

func TestAFileIsCheckedAgainWhenItChanged(t *testing.T) {
	path := tiny(t, synth.Checkpoint)
	var c checker
	for range 2 {
		_, err := c.check(path, models.Checkpoint)
		require.NoError(t, err)
	}
	require.NoError(t, os.Truncate(path, 1<<10))
	_, err := c.check(path, models.Checkpoint)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.NoError(t, os.Remove(path))
	_, err = c.check(path, models.Checkpoint)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
}

func TestAFileIsJudgedForItsPurpose(t *testing.T) {
	var c checker
	path := tiny(t, synth.VAE)
	f, err := c.check(path, models.VAE)
	require.NoError(t, err)
	require.NotEmpty(t, f.weights)
	_, err = c.check(path, models.LoRA)
	require.ErrorContains(t, err, "holds a VAE, not a LoRA")
	_, err = c.check(filepath.Join("testdata", "reference"), models.VAE)
	require.ErrorContains(t, err, "is a folder")
}

func TestPickleNeedsPermission(t *testing.T) {
	path := filepath.Join("..", "..", "formats", "torchfile", "testdata", "embedding.pt")
	_, err := new(checker).check(path, models.Embedding)
	require.ErrorContains(t, err, "pickle")
	_, err = (&checker{pickle: true}).check(path, models.Embedding)
	require.NoError(t, err)
}

func TestHostMemoryHeedsTheContainersLimit(t *testing.T) {
	limit := func(text string) string {
		path := filepath.Join(t.TempDir(), "limit")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	require.EqualValues(t, 100, hostMemory(100, []string{"/nonexistent", limit("max\n")}))
	require.EqualValues(t, 60, hostMemory(100, []string{limit("60\n"), limit("9223372036854771712\n")}))
}
