package convert_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/convert"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store writes tensors with values.
func store(t *testing.T, path string, metadata map[string]string, d safetensors.DType, values map[string][]float32) string {
	t.Helper()
	var list []safetensors.Tensor
	data := map[string][]byte{}
	for name, v := range values {
		list = append(list, safetensors.Tensor{Name: name, DType: d, Shape: []int64{int64(len(v))}})
		data[name] = modelstest.Data(t, d, v...)
	}
	return modelstest.WriteData(t, path, metadata, data, list...)
}

func floats(t *testing.T, path, name string) []float32 {
	t.Helper()
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	v, _, err := f.Float32s(name)
	require.NoError(t, err)
	return v
}

func TestTypes(t *testing.T) {
	dir := t.TempDir()
	values := []float32{0, 1, -2.5, 0.1, 65504, 1e-7}
	src := store(t, filepath.Join(dir, "s"), map[string]string{"note": "kept", "sshs_model_hash": "gone"}, safetensors.F32, map[string][]float32{"a": values})
	for _, d := range []safetensors.DType{safetensors.F16, safetensors.BF16, safetensors.F32, ""} {
		dst := filepath.Join(dir, "d"+string(d))
		var done, total int64
		res, err := convert.Write(context.Background(), src, dst, convert.Options{DType: d, Progress: func(a, b int64) { done, total = a, b }})
		require.NoError(t, err)
		require.Equal(t, 1, res.Tensors)
		require.Equal(t, total, done)
		want := make([]float32, len(values))
		as := d
		if as == "" {
			as = safetensors.F32
		}
		raw := make([]byte, int64(len(values))*as.Size())
		_, err = safetensors.Encode(raw, values, as)
		require.NoError(t, err)
		require.NoError(t, safetensors.Decode(want, raw, as))
		require.Equal(t, want, floats(t, dst, "a"))
		h, err := safetensors.ReadHeaderFile(dst)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"note": "kept", "format": "pt"}, h.Metadata)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	big := store(t, filepath.Join(dir, "big"), nil, safetensors.F32, map[string][]float32{"a": {70000}})
	gguf := filepath.Join(dir, "m.gguf")
	require.NoError(t, os.WriteFile(gguf, append([]byte("GGUF\x03\x00\x00\x00"), make([]byte, 64)...), 0o600))
	lora := modelstest.Write(t, filepath.Join(dir, "l"), nil, modelstest.F16("lora_te_text_model_encoder_layers_0_mlp_fc2.lora_down.weight", 4, 768))
	ema := modelstest.Write(t, filepath.Join(dir, "e"), nil, modelstest.F16("model.diffusion_model.x", 1))
	before, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, c := range []struct {
		src  string
		o    convert.Options
		code fault.Code
		want string
	}{
		{big, convert.Options{DType: safetensors.F16}, fault.Invalid, "values that F16 cannot hold"},
		{big, convert.Options{DType: "Q8_0"}, fault.Invalid, "written as GGUF by the engine"},
		{gguf, convert.Options{}, fault.Invalid, "only safetensors"},
		{"../../formats/torchfile/testdata/strided.pt", convert.Options{}, fault.Invalid, "in order"},
		{filepath.Join(dir, "none"), convert.Options{}, fault.NotFound, "no file"},
		{lora, convert.Options{VAE: lora}, fault.Invalid, "no checkpoint"},
		{ema, convert.Options{VAE: lora}, fault.Invalid, "not a VAE"},
	} {
		_, err := convert.Write(context.Background(), c.src, filepath.Join(dir, "out"), c.o)
		require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, c.want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = convert.Write(ctx, ema, filepath.Join(dir, "out"), convert.Options{})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, after, len(before), "nothing is left behind")
}

func TestPruneAndRename(t *testing.T) {
	dir := t.TempDir()
	src := store(t, filepath.Join(dir, "s"), nil, safetensors.F32, map[string][]float32{
		"model.diffusion_model.input_blocks.0.0.weight": {1},
		"model_ema.diffusion_modelinput_blocks00weight": {2},
		"optimizer.state": {3},
		"cond_stage_model.transformer.embeddings.token_embedding.weight": {4},
		"cond_stage_model.transformer.final_layer_norm.bias":             {5},
		"first_stage_model.decoder.conv_in.weight":                       {6},
		"v_pred": {7},
		"cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.bias": {8},
	})
	res, err := convert.Write(context.Background(), src, src, convert.Options{DType: safetensors.F16, Prune: true}) // in place
	require.NoError(t, err)
	require.Equal(t, 2, res.Dropped)
	h, err := safetensors.ReadHeaderFile(src)
	require.NoError(t, err)
	require.Len(t, h.Tensors, 6)
	require.Equal(t, []float32{4}, floats(t, src, "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"))
	require.Equal(t, []float32{5}, floats(t, src, "cond_stage_model.transformer.text_model.final_layer_norm.bias"))
	_, ok := h.Lookup("model_ema.diffusion_modelinput_blocks00weight")
	require.False(t, ok)
}

func TestOtherTypesStay(t *testing.T) {
	dir := t.TempDir()
	src := modelstest.Write(t, filepath.Join(dir, "s"), nil, safetensors.Tensor{Name: "position_ids", DType: safetensors.I64, Shape: []int64{1, 77}}, modelstest.F16("a"))
	_, err := convert.Write(context.Background(), src, filepath.Join(dir, "d"), convert.Options{DType: safetensors.F32})
	require.NoError(t, err)
	h, err := safetensors.ReadHeaderFile(filepath.Join(dir, "d"))
	require.NoError(t, err)
	ids, _ := h.Lookup("position_ids")
	require.Equal(t, safetensors.I64, ids.DType)
	scalar, _ := h.Lookup("a")
	require.Equal(t, safetensors.F32, scalar.DType)
	require.Empty(t, scalar.Shape)
}

// The tiny checkpoint with another VAE is a valid checkpoint that holds the
// other VAE's values, to the bit, and keeps all others.
func TestBakeVAE(t *testing.T) {
	dir := t.TempDir()
	checkpoint, vae, dst := filepath.Join(dir, "c"), filepath.Join(dir, "v"), filepath.Join(dir, "d")
	require.NoError(t, synth.Write(context.Background(), checkpoint, synth.Options{}))
	require.NoError(t, synth.Write(context.Background(), vae, synth.Options{Kind: synth.VAE, Seed: 9}))
	var calls atomic.Int64
	res, err := convert.Write(context.Background(), checkpoint, dst, convert.Options{DType: safetensors.F16, Prune: true, VAE: vae, Progress: func(int64, int64) { calls.Add(1) }})
	require.NoError(t, err)
	require.Equal(t, 1130, res.Tensors)
	require.Equal(t, 248, res.Dropped)
	require.NotZero(t, calls.Load())
	_, err = models.Check(dst, models.Checkpoint, models.CheckOptions{})
	require.NoError(t, err)
	for _, name := range []string{"decoder.conv_in.weight", "encoder.mid.attn_1.q.weight"} {
		require.Equal(t, floats(t, vae, name), floats(t, dst, "first_stage_model."+name))
	}
	name := "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight"
	require.Equal(t, floats(t, checkpoint, name), floats(t, dst, name))
}

// Blocks end in the middle of large tensors.
func TestLargeTensor(t *testing.T) {
	dir := t.TempDir()
	values := make([]float32, 3<<20+7)
	for i := range values {
		values[i] = float32(i % 2048)
	}
	src := store(t, filepath.Join(dir, "s"), nil, safetensors.F32, map[string][]float32{"a": values, strings.Repeat("b", 3): {1}})
	dst := filepath.Join(dir, "d")
	_, err := convert.Write(context.Background(), src, dst, convert.Options{DType: safetensors.F16})
	require.NoError(t, err)
	require.Equal(t, values, floats(t, dst, "a"))
}

// A PyTorch file becomes a safetensors file with the same values.
func TestPickle(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "d.safetensors")
	for _, name := range []string{"zip.ckpt", "old.ckpt"} {
		res, err := convert.Write(context.Background(), filepath.Join("../../formats/torchfile/testdata", name), dst, convert.Options{DType: safetensors.F32})
		require.NoError(t, err)
		require.Equal(t, 8, res.Tensors)
		require.Equal(t, []float32{-2.5, -1.5, -0.5, 0.5, 1.5, 2.5}, floats(t, dst, "a"))
		require.Equal(t, []float32{1, -2, 0.5, 65504}, floats(t, dst, "half"))
		require.Equal(t, []float32{3}, floats(t, dst, "scalar"))
		require.Equal(t, []float32{0.5, 1.5, 2.5}, floats(t, dst, "view"))
	}
	_, err := convert.Write(context.Background(), "../../formats/torchfile/testdata/embedding.pt", dst, convert.Options{})
	require.NoError(t, err)
	_, err = models.Check(dst, models.Embedding, models.CheckOptions{})
	require.NoError(t, err)
}
