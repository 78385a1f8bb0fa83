package convert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/convert"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// pipeline is a folder as diffusers saves one: file names of each component, over which
// its tensors are spread.
type pipeline struct {
	unet, text, vae []string
	scheduler       string
	change          func(name string, t *safetensors.Tensor)
}

func (p pipeline) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	all, err := synth.Parameters(synth.Options{Size: synth.Tiny})
	require.NoError(t, err)
	for component, files := range map[string][]string{"unet": p.unet, "text_encoder": p.text, "vae": p.vae} {
		spread := make([][]safetensors.Tensor, len(files))
		n := 0
		for _, x := range all {
			name, ok := strings.CutPrefix(modelstest.DiffusersName(x.Name), component+".")
			if !ok || len(files) == 0 {
				continue
			}
			x.Name = name
			if p.change != nil {
				p.change(component+"."+name, &x)
			}
			spread[n%len(files)] = append(spread[n%len(files)], x)
			n++
		}
		for i, file := range files {
			path := filepath.Join(dir, component, file)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			if strings.HasSuffix(file, ".bin") { // stands for one that must not be chosen
				require.NoError(t, os.WriteFile(path, []byte("no pickle"), 0o600))
				continue
			}
			modelstest.Write(t, path, nil, spread[i]...)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model_index.json"), []byte(`{"_class_name": "StableDiffusionPipeline"}`), 0o600))
	if p.scheduler != "" {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "scheduler"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "scheduler", "scheduler_config.json"), []byte(p.scheduler), 0o600))
	}
	return dir
}

var (
	onePiece = []string{"diffusion_pytorch_model.safetensors"}
	oneText  = []string{"model.safetensors"}
)

// A folder of diffusers becomes a checkpoint with the original names that holds what it
// held, and says what it was trained for.
func TestFolderOfDiffusers(t *testing.T) {
	shards := []string{"diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"}
	for name, c := range map[string]struct {
		from      pipeline
		v, zero   bool
		withoutVA bool
	}{
		"in shards, for v-prediction": {pipeline{shards, oneText, onePiece, `{"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}`, nil}, true, true, false},
		"in half precision, no VAE": {pipeline{
			[]string{"diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "diffusion_pytorch_model.fp16-00002-of-00002.safetensors"},
			[]string{"model.fp16.safetensors"},
			nil, `{"prediction_type": "epsilon"}`, nil,
		}, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "one.safetensors")
			_, err := convert.Write(t.Context(), c.from.write(t), dst, convert.Options{Prune: true})
			require.NoError(t, err)
			info, err := models.Check(dst, models.Checkpoint, models.CheckOptions{})
			require.NoError(t, err)
			require.Equal(t, c.v, info.VPrediction)
			require.Equal(t, c.zero, info.ZeroTerminalSNR)
			require.Equal(t, c.withoutVA, !info.HasVAE())
			want, err := synth.Parameters(synth.Options{Size: synth.Tiny})
			require.NoError(t, err)
			for _, w := range want {
				if c.withoutVA && strings.HasPrefix(w.Name, "first_stage_model.") {
					continue
				}
				_, ok := info.Lookup(w.Name)
				require.True(t, ok, w.Name)
			}
		})
	}
}

// The values of a folder come from the best of its files and go where they belong.
func TestFolderOfDiffusersKeepsValues(t *testing.T) {
	p := pipeline{unet: onePiece, text: oneText}
	dir := p.write(t)
	mark := func(file, tensor string, value float32) {
		f, err := safetensors.Open(filepath.Join(dir, file))
		require.NoError(t, err)
		x, ok := f.Lookup(tensor)
		require.True(t, ok)
		at := f.DataStart + x.Offset
		require.NoError(t, f.Close())
		out, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
		require.NoError(t, err)
		raw := make([]byte, x.DType.Size())
		_, err = safetensors.Encode(raw, []float32{value}, x.DType)
		require.NoError(t, err)
		_, err = out.WriteAt(raw, at)
		require.NoError(t, err)
		require.NoError(t, out.Close())
	}
	mark("unet/diffusion_pytorch_model.safetensors", "down_blocks.1.resnets.0.conv1.bias", 3)
	mark("text_encoder/model.safetensors", "text_model.final_layer_norm.bias", 5)
	for _, other := range []string{"diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "unet", other), []byte("not chosen"), 0o600))
	}
	dst := filepath.Join(t.TempDir(), "one.safetensors")
	_, err := convert.Write(t.Context(), dir, dst, convert.Options{Prune: true})
	require.NoError(t, err)
	require.Equal(t, float32(3), floats(t, dst, "model.diffusion_model.input_blocks.4.0.in_layers.2.bias")[0])
	require.Equal(t, float32(5), floats(t, dst, "cond_stage_model.transformer.text_model.final_layer_norm.bias")[0])
}

func TestFoldersOfDiffusersThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		from pipeline
		want string
	}{
		"no UNet":                     {pipeline{nil, oneText, nil, "", nil}, "has no weights in unet"},
		"a lost shard":                {pipeline{[]string{"diffusion_pytorch_model-00001-of-00002.safetensors"}, oneText, nil, "", nil}, "lacks 1 files"},
		"pickle, broken":              {pipeline{[]string{"diffusion_pytorch_model.bin"}, oneText, nil, "", nil}, "diffusion_pytorch_model.bin"},
		"a scheduler that is no JSON": {pipeline{onePiece, oneText, nil, "{", nil}, "scheduler"},
		"another family": {pipeline{onePiece, oneText, nil, "", func(name string, x *safetensors.Tensor) {
			if strings.HasSuffix(name, "attn2.to_k.weight") {
				x.Shape = []int64{x.Shape[0], 2048}
			}
		}}, "Stable Diffusion XL; accepted is"},
		"saved with a LoRA inside": {pipeline{onePiece, oneText, nil, "", func(name string, x *safetensors.Tensor) {
			if module, ok := strings.CutSuffix(x.Name, ".attn1.to_k.weight"); ok {
				x.Name = module + ".attn1.to_k.base_layer.weight"
			}
			if module, ok := strings.CutSuffix(x.Name, ".attn1.to_v.weight"); ok {
				x.Name = module + ".attn1.to_v.lora_A.default.weight"
			}
		}}, "into which PEFT put a LoRA"},
	} {
		t.Run(name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "one.safetensors")
			dir := c.from.write(t)
			if c.from.unet == nil {
				require.NoError(t, os.MkdirAll(filepath.Join(dir, "unet"), 0o755))
			}
			_, err := convert.Write(t.Context(), dir, dst, convert.Options{})
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			require.NoFileExists(t, dst)
		})
	}
}
