package modelstest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/synth"
)

// Case is a model file as people have them, with what is right.
type Case struct {
	Name    string
	Kind    models.Kind
	Problem string // part of the reason why it cannot be used, "" when it can

	VPrediction, ZeroTerminalSNR, NoVAE bool // of a checkpoint

	NoNumbers bool // values are NaN, which only reading all of them shows

	tensors  []safetensors.Tensor
	metadata map[string]string
	beside   map[string]string        // texts of files beside it, by extension
	change   func(*testing.T, string) // of the written file
}

// FileName is the name that Write gives the file.
func (c Case) FileName() string { return strings.ReplaceAll(c.Name, " ", "-") + ".safetensors" }

// Write makes the file in the folder of its kind below a root. Its values are zero,
// with which every network runs.
func (c Case) Write(t *testing.T, root string) (path string) {
	t.Helper()
	path = filepath.Join(root, catalog.FolderFor(c.Kind), c.FileName())
	Write(t, path, c.metadata, c.tensors...)
	for ext, text := range c.beside {
		require.NoError(t, os.WriteFile(strings.TrimSuffix(path, ".safetensors")+ext, []byte(text), 0o600))
	}
	if c.change != nil {
		c.change(t, path)
	}
	return path
}

// Cases are files of checkpoints, VAEs, upscalers, ControlNets and preview decoders
// of the smallest size, and broken ones of these and of LoRAs and embeddings.
func Cases(t *testing.T) []Case {
	t.Helper()
	var all []Case
	for kind, cases := range map[models.Kind][]Case{
		models.Checkpoint: checkpoints(t), models.VAE: vaes(t), models.Upscaler: upscalers(t), models.ControlNet: controlNets(t),
		models.Preview: previews(t), models.LoRA: nil, models.Embedding: nil,
	} {
		for _, c := range append(cases, broken(t, kind)...) {
			c.Kind = kind
			c.Name = string(kind) + " " + c.Name
			all = append(all, c)
		}
	}
	return all
}

type tensors = []safetensors.Tensor

// tensor is one of any type, also of those that have no size here.
func tensor(d safetensors.DType, name string, shape ...int64) safetensors.Tensor {
	return safetensors.Tensor{Name: name, DType: d, Shape: shape}
}

func parameters(t *testing.T, kind synth.Kind) tensors {
	t.Helper()
	list, err := synth.Parameters(synth.Options{Kind: kind, Size: synth.Tiny})
	require.NoError(t, err)
	return list
}

// mapped returns a list with each tensor changed; those without a name fall out.
func mapped(list tensors, change func(*safetensors.Tensor)) tensors {
	var out tensors
	for _, t := range list {
		if change(&t); t.Name != "" {
			out = append(out, t)
		}
	}
	return out
}

func without(list tensors, prefixes ...string) tensors {
	return mapped(list, func(t *safetensors.Tensor) {
		for _, p := range prefixes {
			if strings.HasPrefix(t.Name, p) {
				t.Name = ""
			}
		}
	})
}

func only(list tensors, prefix string) tensors {
	return mapped(list, func(t *safetensors.Tensor) {
		if !strings.HasPrefix(t.Name, prefix) {
			t.Name = ""
		}
	})
}

func renamed(list tensors, rename func(string) string) tensors {
	return mapped(list, func(t *safetensors.Tensor) { t.Name = rename(t.Name) })
}

// retyped stores the tensors of a prefix in another type.
func retyped(list tensors, prefix string, d safetensors.DType) tensors {
	return mapped(list, func(t *safetensors.Tensor) {
		if strings.HasPrefix(t.Name, prefix) {
			t.DType = d
		}
	})
}

func reshaped(list tensors, name string, shape ...int64) tensors {
	return mapped(list, func(t *safetensors.Tensor) {
		if t.Name == name {
			t.Shape = shape
		}
	})
}

func with(list tensors, more ...safetensors.Tensor) tensors {
	return append(append(tensors{}, list...), more...)
}

const (
	unet = "model.diffusion_model."
	vae  = "first_stage_model."
	text = "cond_stage_model.transformer."
)

func checkpoints(t *testing.T) []Case {
	t.Helper()
	base := parameters(t, synth.Checkpoint)
	config := func(text string) map[string]string { return map[string]string{".yaml": text} }
	list := []Case{
		{Name: "as published", tensors: base},
		{Name: "for inpainting", tensors: parameters(t, synth.Inpainting)},
		{Name: "with what only training needs", tensors: with(base,
			tensor(safetensors.Bool, "flag", 1), tensor(safetensors.I64, text+"text_model.embeddings.position_ids", 1, 77),
			tensor(safetensors.U8, "model_ema.num_updates"), tensor(safetensors.F32, "optimizer.state.0.exp_avg", 3, 1, 2, 1, 2, 1, 2, 1, 2),
			tensor(safetensors.I8, "model_ema.diffusion_modeltime_embed0weight", 4), tensor(safetensors.U64, "global_step"),
			tensor(safetensors.F32, "note", 0), tensor(safetensors.F32, "betas", 1000))},
		{Name: "with types of later years", tensors: with(base, tensor(safetensors.U8, "x", 4)), change: func(t *testing.T, path string) {
			replace(t, path, `"x":{"dtype":"U8","shape":[4]`, `"x":{"dtype":"F4","shape":[8]`)
		}},
		{Name: "with the marker of v-prediction", tensors: with(base, tensor(safetensors.F32, "v_pred")), VPrediction: true},
		{Name: "with an empty marker", tensors: with(base, tensor(safetensors.F32, "v_pred", 0)), VPrediction: true},
		{Name: "with both markers", tensors: with(base, tensor(safetensors.F16, "v_pred", 0), tensor(safetensors.F16, "ztsnr", 0)), VPrediction: true, ZeroTerminalSNR: true},
		{Name: "with the trainer's note", tensors: base, metadata: map[string]string{"modelspec.prediction_type": "v"}, VPrediction: true},
		{Name: "with a note of epsilon over a marker", tensors: with(base, tensor(safetensors.F32, "v_pred", 0)), metadata: map[string]string{"modelspec.prediction_type": "epsilon"}},
		{Name: "with a config of v-prediction", tensors: base, VPrediction: true, beside: config(
			"model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n    parameterization: \"v\"\n")},
		{Name: "with a loosely written config", tensors: base, VPrediction: true, beside: config(
			"\ufeff# of the trainer\ndefaults: &d {linear_start: 0.00085, parameterization: V}\nmodel: {base_learning_rate: 1.0e-04, params: *d}\nmodel_: !!python/none\n")},
		{Name: "with a config that says nothing about it", tensors: with(base, tensor(safetensors.F32, "v_pred", 0)), VPrediction: true, beside: config("model:\n  params:\n    timesteps: 1000\n")},
		{Name: "with a config of eps over a marker", tensors: with(base, tensor(safetensors.F32, "v_pred", 0)), beside: config("model: {params: {parameterization: eps}}\n")},
		{Name: "with an empty config", tensors: base, beside: config("")},
		{Name: "without a VAE", tensors: without(base, vae), NoVAE: true},
		{Name: "with text encoder names of 2022", tensors: renamed(base, func(n string) string { return strings.Replace(n, text+"text_model.", text, 1) })},
		{Name: "with diffusers names", tensors: renamed(base, DiffusersName)},
		{Name: "with names of transformers 5", tensors: renamed(base, func(n string) string {
			return strings.Replace(DiffusersName(n), "text_encoder.text_model.", "text_encoder.", 1)
		})},
		{Name: "of a wrapped module", tensors: renamed(base, func(n string) string { return "module." + n })},
		{Name: "with a VAE in F32", tensors: retyped(base, vae, safetensors.F32)},
		{Name: "in BF16", tensors: retyped(base, "", safetensors.BF16)},
		{Name: "in F8 E4M3", tensors: retyped(base, "", safetensors.F8E4M3)},
		{Name: "in F8 E5M2", tensors: retyped(base, unet, safetensors.F8E5M2)},
		{Name: "with a UNet in F64", tensors: retyped(base, unet, safetensors.F64)},
		{Name: "with linear layers for convolutions", tensors: reshaped(base, unet+"input_blocks.1.1.proj_in.weight", 32, 32)},

		{Name: "for Stable Diffusion XL", tensors: with(base, tensor(safetensors.F16, unet+"label_emb.0.0.weight", 128, 2816)), Problem: "Stable Diffusion XL"},
		{Name: "without text encoder", tensors: without(base, text), Problem: "has no text encoder"},
		{Name: "without a layer", tensors: without(base, unet+"output_blocks.11.0.skip_connection."), Problem: "2 of 1130 tensors are missing"},
		{Name: "with an empty layer", tensors: reshaped(base, unet+"out.2.bias", 0), Problem: "out.2.bias is missing"},
		{Name: "with a wrong shape", tensors: reshaped(base, unet+"time_embed.2.weight", 128, 129), Problem: "of shape [128 129]"},
		{Name: "with integers for weights", tensors: retyped(base, unet+"out.2.bias", safetensors.I8), Problem: "as I8"},
		{Name: "with scaled values", tensors: with(base, tensor(safetensors.F32, unet+"out.2.scale_weight")), Problem: "scaled"},
		{Name: "with a VAE of another shape", tensors: reshaped(base, vae+"decoder.conv_in.weight", 128, 16, 3, 3), Problem: "VAE of shape"},
		{Name: "with half a VAE", tensors: without(base, vae+"encoder."), Problem: "without its encoder"},
		{Name: "with a broken config", tensors: base, beside: config("model:\n\tparams: {\n"), Problem: ".yaml, which cannot be read"},
		{Name: "that is a LoRA", tensors: parameters(t, synth.LoRA), Problem: "holds a LoRA"},
		{Name: "that is empty", change: func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) }, Problem: "is empty"},
		{Name: "that is cut", tensors: base, change: func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 1<<20)) }, Problem: "truncated"},
		{Name: "of nothing", Problem: "no tensors"},
		{Name: "in a folder of diffusers", change: func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.MkdirAll(filepath.Join(path, "unet"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(path, "model_index.json"), []byte("{}"), 0o600))
			Write(t, filepath.Join(path, "unet", "diffusion_pytorch_model.safetensors"), nil, only(renamed(base, DiffusersName), "unet.")...)
		}, Problem: "folder of diffusers, which is not loaded as it is; make one file of it with `worker models convert"},
	}
	return list
}

func vaes(t *testing.T) []Case {
	t.Helper()
	base := parameters(t, synth.VAE)
	list := []Case{
		{Name: "as published", tensors: with(base, tensor(safetensors.F32, "loss.logvar"), tensor(safetensors.Bool, "flag", 1), tensor(safetensors.F32, "model_ema.decay"))},
		{Name: "as part of a checkpoint", tensors: renamed(base, func(n string) string { return vae + n })},
		{Name: "of one file of diffusers", tensors: renamed(base, func(n string) string { return "vae." + DiffusersVAEName(n) })},
		{Name: "with diffusers names", tensors: renamed(base, DiffusersVAEName)},
		{Name: "with the first diffusers names", tensors: renamed(base, func(n string) string {
			return strings.NewReplacer("to_q.", "query.", "to_k.", "key.", "to_v.", "value.", "to_out.0.", "proj_attn.").Replace(DiffusersVAEName(n))
		})},
		{Name: "with linear attention", tensors: mapped(base, func(t *safetensors.Tensor) {
			if strings.Contains(t.Name, "attn_1.") && len(t.Shape) == 4 {
				t.Shape = t.Shape[:2]
			}
		})},
		{Name: "in F32", tensors: retyped(base, "", safetensors.F32)},

		{Name: "without encoder", tensors: without(base, "encoder.", "quant_conv."), Problem: "without its encoder"},
		{Name: "for Stable Diffusion XL by its note", tensors: base, metadata: map[string]string{"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}, Problem: "a VAE for Stable Diffusion XL"},
		{Name: "of 16 channels", tensors: reshaped(base, "decoder.conv_in.weight", 128, 16, 3, 3), Problem: "another model family"},
		{Name: "that lacks a layer", tensors: without(base, "decoder.norm_out."), Problem: "2 of 248 tensors are missing"},
		{Name: "that is an upscaler", tensors: parameters(t, synth.ESRGAN), Problem: "holds an upscaler"},
		{Name: "that is cut", tensors: base, change: func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 1<<20)) }, Problem: "truncated"},
	}
	return list
}

func upscalers(t *testing.T) []Case {
	t.Helper()
	base := parameters(t, synth.ESRGAN)
	f := safetensors.F32
	list := []Case{
		{Name: "by 4", tensors: base},
		{Name: "by 2", tensors: without(base, "conv_up2.")},
		{Name: "by 1", tensors: without(base, "conv_up1.", "conv_up2.")},
		{Name: "of the first code", tensors: renamed(base, firstUpscalerName)},

		{Name: "of the compact kind", tensors: tensors{
			tensor(f, "body.0.weight", 64, 3, 3, 3), tensor(f, "body.0.bias", 64), tensor(f, "body.1.weight", 64),
			tensor(f, "body.2.weight", 48, 64, 3, 3), tensor(f, "body.2.bias", 48),
		}},
		{Name: "of RealESRGAN x2plus", tensors: reshaped(base, "conv_first.weight", 64, 12, 3, 3)},

		{Name: "of 7 channels", tensors: reshaped(base, "conv_first.weight", 64, 7, 3, 3), Problem: "of shape [64 7 3 3]"},
		{Name: "of 27 channels", tensors: reshaped(base, "conv_first.weight", 64, 27, 3, 3), Problem: "takes pictures of 27 channels"},
		{Name: "of two widths", tensors: reshaped(base, "conv_first.weight", 32, 3, 3, 3), Problem: "has a tensor conv_first.bias of shape [64]"},
		{Name: "of ESRGAN plus", tensors: with(base, tensor(f, "body.0.rdb1.conv1x1.weight", 32, 64, 1, 1)), Problem: "ESRGAN+"},
		{Name: "of SwinIR", tensors: tensors{tensor(f, "layers.0.residual_group.blocks.0.attn.relative_position_bias_table", 225, 6)}, Problem: "transformer kind"},
		{Name: "ESRGAN+ of the first code", tensors: with(renamed(base, firstUpscalerName), tensor(f, "model.1.sub.0.RDB1.conv1x1.weight", 32, 64, 1, 1)), Problem: "is an ESRGAN+ model"},
		{Name: "by 8", tensors: with(renamed(base, firstUpscalerName), tensor(f, "model.13.weight", 3, 64, 3, 3)), Problem: "enlarges by 8"},
		{Name: "that lacks a block", tensors: with(without(base, "body.0."), tensor(f, "body.0.rdb1.conv1.weight", 32, 64, 3, 3)), Problem: "missing"},
	}
	return list
}

func controlNets(t *testing.T) []Case {
	t.Helper()
	base := parameters(t, synth.ControlNet)
	bare := renamed(base, func(n string) string { return strings.TrimPrefix(n, "control_model.") })
	return []Case{
		{Name: "as published", tensors: base},
		{Name: "without prefix", tensors: bare},
		{Name: "with diffusers names", tensors: renamed(bare, diffusersControlName)},
		{Name: "in a whole checkpoint", tensors: with(parameters(t, synth.Checkpoint), base...)},

		{Name: "of a difference", tensors: with(bare, tensor(safetensors.F32, "difference", 0)), Problem: "difference"},
		{Name: "for another width of text", tensors: mapped(bare, func(t *safetensors.Tensor) {
			if strings.HasSuffix(t.Name, "attn2.to_k.weight") {
				t.Shape = []int64{t.Shape[0], 1024}
			}
		}), Problem: "Stable Diffusion 2"},
		{Name: "that is an adapter", tensors: tensors{tensor(safetensors.F32, "image_proj.proj.weight", 9, 9)}, Problem: "IP-Adapter"},
	}
}

func previews(t *testing.T) []Case {
	t.Helper()
	base := parameters(t, synth.TAESD)
	return []Case{
		{Name: "taesd as published", tensors: base},
		{Name: "taesd of the first names", tensors: renamed(only(base, "decoder."), firstPreviewName)},
		{Name: "taesd of the first names with a prefix", tensors: renamed(only(base, "decoder."), func(n string) string { return "decoder." + firstPreviewName(n) })},

		{Name: "taesd of 16 channels", tensors: reshaped(base, "decoder.layers.0.weight", 64, 16, 3, 3), Problem: "of shape [64 16 3 3]"},
		{Name: "taesd without a layer", tensors: without(base, "decoder.layers.18."), Problem: "missing"},
	}
}

// firstUpscalerName is what ESRGAN's first code calls a layer of an upscaler by 4 with
// one block.
func firstUpscalerName(name string) string {
	layer, leaf := name[:strings.LastIndexByte(name, '.')], name[strings.LastIndexByte(name, '.')+1:]
	if n, ok := map[string]string{
		"conv_first": "0", "conv_body": "1.sub.1", "conv_up1": "3", "conv_up2": "6", "conv_hr": "8", "conv_last": "10",
	}[layer]; ok {
		return "model." + n + "." + leaf
	}
	return "model.1.sub." + strings.Replace(strings.TrimPrefix(layer, "body."), "rdb", "RDB", 1) + ".0." + leaf
}

// firstPreviewName numbers the layers of TAESD's decoder as its own code does, where
// the clamp of its input is a layer.
func firstPreviewName(name string) string {
	number, rest, _ := strings.Cut(strings.TrimPrefix(name, "decoder.layers."), ".")
	n, _ := strconv.Atoi(number)
	return strconv.Itoa(n+1) + "." + rest
}

// replace changes a text in a file's header for another one of the same length.
func replace(t *testing.T, path, from, to string) {
	t.Helper()
	require.Len(t, to, len(from))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	head := make([]byte, 1<<20)
	n, err := f.ReadAt(head, 0)
	require.NoError(t, err)
	at := bytes.Index(head[:n], []byte(from))
	require.Positive(t, at)
	_, err = f.WriteAt([]byte(to), int64(at))
	require.NoError(t, err)
}
