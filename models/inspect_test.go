package models_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile/torchfiletest"
	"sdworker/models"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// parameters returns the tensors of a synthetic file, without some and with
// others changed.
func parameters(t *testing.T, o synth.Options, change func(safetensors.Tensor) (safetensors.Tensor, bool)) []safetensors.Tensor {
	t.Helper()
	list, err := synth.Parameters(o)
	require.NoError(t, err)
	var out []safetensors.Tensor
	for _, p := range list {
		keep := true
		if change != nil {
			p, keep = change(p)
		}
		if keep {
			out = append(out, p)
		}
	}
	return out
}

func without(prefix string) func(safetensors.Tensor) (safetensors.Tensor, bool) {
	return func(p safetensors.Tensor) (safetensors.Tensor, bool) {
		return p, len(p.Name) < len(prefix) || p.Name[:len(prefix)] != prefix
	}
}

func TestRecognizesWhatItAccepts(t *testing.T) {
	for _, c := range []struct {
		synth synth.Kind
		kind  models.Kind
		arch  models.Arch
	}{
		{synth.Checkpoint, models.Checkpoint, models.SD1},
		{synth.Inpainting, models.Checkpoint, models.SD1Inpaint},
		{synth.LoRA, models.LoRA, models.SD1},
		{synth.LoRADiffusers, models.LoRA, models.SD1},
		{synth.VAE, models.VAE, models.SD1},
		{synth.TAESD, models.Preview, models.AnyArch},
		{synth.ESRGAN, models.Upscaler, models.AnyArch},
		{synth.ControlNet, models.ControlNet, models.SD1},
		{synth.Embedding, models.Embedding, models.SD1},
	} {
		for _, size := range []synth.Size{synth.Tiny, synth.Full} {
			t.Run(string(c.synth)+" "+string(size), func(t *testing.T) {
				path := modelstest.Write(t, filepath.Join(t.TempDir(), "m.safetensors"), nil,
					parameters(t, synth.Options{Kind: c.synth, Size: size}, nil)...)
				info, err := models.Check(path, c.kind, models.CheckOptions{})
				require.NoError(t, err)
				require.Equal(t, c.kind, info.Kind)
				require.Equal(t, c.arch, info.Arch)
				require.Equal(t, formats.Safetensors, info.Format)
				require.Equal(t, "F16", info.DType)
				require.NotZero(t, info.Values)
			})
		}
	}
}

func TestRefusals(t *testing.T) {
	f := modelstest.F16
	checkpoint := synth.Options{}
	for _, c := range []struct {
		name    string
		kind    models.Kind
		tensors []safetensors.Tensor
		want    string
	}{
		{"SD2", models.Checkpoint, []safetensors.Tensor{
			f("model.diffusion_model.input_blocks.0.0.weight", 320, 4, 3, 3),
			f("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 320, 1024),
			f("cond_stage_model.model.token_embedding.weight", 49408, 1024),
		}, "Stable Diffusion 2.x; accepted is Stable Diffusion 1.x"},
		{"SDXL", models.Checkpoint, []safetensors.Tensor{
			f("model.diffusion_model.input_blocks.0.0.weight", 320, 4, 3, 3),
			f("model.diffusion_model.label_emb.0.0.weight", 1280, 2816),
			f("conditioner.embedders.1.model.token_embedding.weight", 49408, 1280),
		}, "Stable Diffusion XL"},
		{"SDXL without encoders", models.Checkpoint, []safetensors.Tensor{
			f("model.diffusion_model.input_blocks.0.0.weight", 320, 4, 3, 3),
			f("model.diffusion_model.label_emb.0.0.weight", 1280, 2816),
		}, "Stable Diffusion XL"},
		{"Flux", models.Checkpoint, []safetensors.Tensor{f("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", 9, 9)}, "for Flux"},
		{"Flux transformer", models.Checkpoint, []safetensors.Tensor{f("double_blocks.0.img_attn.qkv.weight", 9, 9)}, "a Flux model"},
		{"SD3", models.Checkpoint, []safetensors.Tensor{f("model.diffusion_model.joint_blocks.0.x.weight", 9, 9)}, "Stable Diffusion 3"},
		{"edit", models.Checkpoint, []safetensors.Tensor{
			f("model.diffusion_model.input_blocks.0.0.weight", 320, 8, 3, 3), f("model.diffusion_model.middle_block.1.norm.weight", 1280),
			f("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 320, 768),
		}, "InstructPix2Pix"},
		{"distilled", models.Checkpoint, []safetensors.Tensor{
			f("model.diffusion_model.input_blocks.0.0.weight", 320, 4, 3, 3),
			f("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 320, 768),
		}, "distilled"},
		{"other transformer", models.Checkpoint, []safetensors.Tensor{f("model.diffusion_model.cap_embedder.0.weight", 9)}, "another model family"},
		{"no text encoder", models.Checkpoint, parameters(t, checkpoint, without("cond_stage_model.")), "no text encoder"},
		{"VAE of 16 channels", models.Checkpoint, parameters(t, checkpoint, func(p safetensors.Tensor) (safetensors.Tensor, bool) {
			if p.Name == "first_stage_model.decoder.conv_in.weight" {
				p.Shape = []int64{512, 16, 3, 3}
			}
			return p, true
		}), "VAE of shape"},
		{"one tensor missing", models.Checkpoint, parameters(t, checkpoint, without("model.diffusion_model.out.2.bias")), "tensor model.diffusion_model.out.2.bias is missing"},
		{"block missing", models.Checkpoint, parameters(t, checkpoint, without("model.diffusion_model.output_blocks.11")), "tensors are missing, the first is"},
		{"wrong shape", models.Checkpoint, parameters(t, checkpoint, func(p safetensors.Tensor) (safetensors.Tensor, bool) {
			if p.Name == "model.diffusion_model.time_embed.2.weight" {
				p.Shape = []int64{p.Shape[0], p.Shape[1] + 1}
			}
			return p, true
		}), "time_embed.2.weight of shape [128 129] where Stable Diffusion 1.x has [128 128]"},
		{"odd width", models.Checkpoint, parameters(t, checkpoint, func(p safetensors.Tensor) (safetensors.Tensor, bool) {
			if p.Name == "model.diffusion_model.input_blocks.0.0.weight" {
				p.Shape = []int64{33, 4, 3, 3}
			}
			return p, true
		}), "first layer is missing or misshapen"},
		{"type the engine lacks", models.Checkpoint, parameters(t, checkpoint, func(p safetensors.Tensor) (safetensors.Tensor, bool) {
			if p.Name == "model.diffusion_model.out.2.bias" {
				p.DType = safetensors.I8
			}
			return p, true
		}), "as I8, which the engine cannot read"},
		{"LoRA as checkpoint", models.Checkpoint, parameters(t, synth.Options{Kind: synth.LoRA}, nil), "holds a LoRA, not a checkpoint"},
		{"checkpoint as LoRA", models.LoRA, parameters(t, checkpoint, nil), "holds a checkpoint, not a LoRA"},
		{"UNet alone", models.Checkpoint, []safetensors.Tensor{f("input_blocks.0.0.weight", 320, 4, 3, 3)}, "a UNet alone"},
		{"text encoder alone", models.Checkpoint, []safetensors.Tensor{f("text_model.embeddings.token_embedding.weight", 49408, 768)}, "a text encoder alone"},
		{"text encoder of transformers 5", models.Checkpoint, []safetensors.Tensor{f("embeddings.token_embedding.weight", 49408, 768), f("embeddings.position_embedding.weight", 77, 768)}, "a text encoder alone"},
		{"Control-LoRA", models.ControlNet, []safetensors.Tensor{
			f("lora_controlnet", 0), f("input_blocks.1.1.transformer_blocks.0.attn1.to_q.up", 320, 4), f("zero_convs.0.0.weight", 320, 320, 1, 1),
		}, "holds a Control-LoRA"},
		{"first T2I-Adapters", models.ControlNet, []safetensors.Tensor{f("body.0.block1.weight", 320, 320, 3, 3), f("conv_in.weight", 320, 192, 3, 3)}, "holds a T2I-Adapter"},
		{"two textual inversions", models.Embedding, []safetensors.Tensor{f("<cat>", 768), f("<dog>", 4, 768)}, "several textual inversions in one file"},
		{"IP-Adapter", models.ControlNet, []safetensors.Tensor{f("image_proj.proj.weight", 9, 9)}, "an IP-Adapter"},
		{"nothing", models.Checkpoint, nil, "no tensors"},
		{"SDXL LoRA", models.LoRA, []safetensors.Tensor{
			f("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", 4, 2048),
			f("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight", 640, 4),
		}, "Stable Diffusion XL"},
		{"SD2 LoRA", models.LoRA, []safetensors.Tensor{
			f("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", 4, 1024),
			f("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", 1024, 4),
		}, "Stable Diffusion 2.x"},
		{"Flux LoRA", models.LoRA, []safetensors.Tensor{f("transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight", 4, 3072)}, "Flux"},
		{"LoRA half", models.LoRA, []safetensors.Tensor{f("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", 4, 768)}, "lack a part"},
		{"LoRA ranks", models.LoRA, []safetensors.Tensor{f("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", 4, 768), f("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", 3072, 8)}, "do not fit"},
		{"SD2 embedding", models.Embedding, []safetensors.Tensor{f("emb_params", 4, 1024)}, "Stable Diffusion 2.x"},
		{"SDXL embedding", models.Embedding, []safetensors.Tensor{f("clip_l", 4, 768), f("clip_g", 4, 1280)}, "Stable Diffusion XL"},
		{"Flux VAE", models.VAE, []safetensors.Tensor{f("decoder.conv_in.weight", 512, 16, 3, 3), f("decoder.conv_out.weight", 3, 128, 3, 3)}, "another model family"},
		{"incomplete VAE", models.VAE, parameters(t, synth.Options{Kind: synth.VAE}, without("encoder.mid")), "missing"},
		{"upscaler cut off", models.Upscaler, []safetensors.Tensor{f("conv_first.weight", 32, 3, 3, 3), f("body.0.rdb1.conv1.weight", 32, 32, 3, 3)}, "is incomplete: tensor body.0.rdb1.conv2.weight is missing"},
		{"incomplete upscaler", models.Upscaler, parameters(t, synth.Options{Kind: synth.ESRGAN, Size: synth.Full}, without("body.3.")), "is incomplete: tensor body.3.rdb1.conv1.weight is missing"},
		{"YOLO of another version", models.Detector, []safetensors.Tensor{f("model.0.conv.weight", 16, 3, 3, 3), f("model.1.conv.weight", 32, 16, 3, 3), f("model.23.cv2.0.0.conv.weight", 64, 64, 3, 3)}, "is a YOLO model of another kind; accepted are YOLOv8"},
		{"preview of 16 channels", models.Preview, []safetensors.Tensor{f("decoder.layers.0.weight", 64, 16, 3, 3)}, "of shape [64 16 3 3]"},
		{"preview with old names, cut", models.Preview, []safetensors.Tensor{f("1.weight", 64, 4, 3, 3), f("3.conv.0.weight", 64, 64, 3, 3)}, "is incomplete"},
		{"diffusers ControlNet", models.ControlNet, []safetensors.Tensor{f("controlnet_cond_embedding.conv_in.weight", 16, 3, 3, 3), f("conv_in.weight", 320, 4, 3, 3), f("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", 320, 768)}, "is incomplete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := modelstest.Write(t, filepath.Join(t.TempDir(), "m.safetensors"), nil, c.tensors...)
			_, err := models.Check(path, c.kind, models.CheckOptions{})
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			require.ErrorContains(t, err, c.want)
			require.Contains(t, fault.Message(err), path)
		})
	}
}

// The text encoder of Stable Diffusion 1.x is kohya's te1, too, as for A1111.
func TestLoRAOfTE1(t *testing.T) {
	f := modelstest.F16
	list := []safetensors.Tensor{
		f("lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", 4, 768),
		f("lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", 768, 4),
	}
	path := modelstest.Write(t, filepath.Join(t.TempDir(), "te1.safetensors"), nil, list...)
	_, err := models.Check(path, models.LoRA, models.CheckOptions{})
	require.NoError(t, err)
	path = modelstest.Write(t, filepath.Join(t.TempDir(), "xl.safetensors"), nil, append(list, f("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", 4, 1280))...)
	_, err = models.Check(path, models.LoRA, models.CheckOptions{})
	require.ErrorContains(t, err, "Stable Diffusion XL")
}

func TestOptionsOpenDoors(t *testing.T) {
	dir := t.TempDir()
	bare := modelstest.Write(t, filepath.Join(dir, "bare.safetensors"), nil, parameters(t, synth.Options{}, without("first_stage_model."))...)
	bareInfo, err := models.Check(bare, models.Checkpoint, models.CheckOptions{})
	require.NoError(t, err)
	require.False(t, bareInfo.HasVAE())

	pickle := "../formats/torchfile/testdata/embedding.pt"
	_, err = models.Check(pickle, models.Embedding, models.CheckOptions{})
	require.ErrorContains(t, err, "is a PyTorch pickle")
	info, err := models.Check(pickle, models.Embedding, models.CheckOptions{AllowPickle: true})
	require.NoError(t, err)
	require.Equal(t, formats.Pickle, info.Format)
	require.Equal(t, "500", info.Metadata["step"])
	_, err = models.Check("../formats/torchfile/testdata/strided.pt", models.Checkpoint, models.CheckOptions{AllowPickle: true})
	require.ErrorContains(t, err, "holds no model")
}

// Extra tensors of every trainer and year are no reason to refuse.
func TestExtrasAreIgnored(t *testing.T) {
	list := parameters(t, synth.Options{}, nil)
	list = append(list,
		safetensors.Tensor{Name: "alphas_cumprod", DType: safetensors.F32, Shape: []int64{1000}},
		safetensors.Tensor{Name: "cond_stage_model.transformer.text_model.embeddings.position_ids", DType: safetensors.I64, Shape: []int64{1, 77}},
		modelstest.F16("model_ema.diffusion_modeltime_embed0weight", 4),
		modelstest.F16("v_pred"))
	slices.Reverse(list)
	path := modelstest.Write(t, filepath.Join(t.TempDir(), "m.safetensors"), nil, list...)
	info, err := models.Check(path, models.Checkpoint, models.CheckOptions{})
	require.NoError(t, err)
	require.True(t, info.VPrediction)
}

// A pickle can name the same values again and again: a small file of many gigabytes.
func TestValuesNamedManyTimes(t *testing.T) {
	first := map[string]string{} // names of storages by shape
	var list []torchfiletest.Tensor
	for _, p := range parameters(t, synth.Options{Kind: synth.ESRGAN, Size: synth.Full}, nil) {
		x := torchfiletest.Tensor{Name: p.Name, Storage: "HalfStorage", Shape: p.Shape, Values: p.Elements()}
		shape := fmt.Sprint(p.Shape)
		if x.Of = first[shape]; x.Of == "" {
			first[shape] = p.Name
			x.Data = bytes.NewReader(make([]byte, 2*x.Values))
		}
		list = append(list, x)
	}
	path := filepath.Join(t.TempDir(), "x.pth")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, torchfiletest.Write(f, list...))
	_, err = models.Check(path, models.Upscaler, models.CheckOptions{AllowPickle: true})
	require.ErrorContains(t, err, "names the same values many times")
}

// An upscaler by two has one layer less.
func TestUpscalerByTwo(t *testing.T) {
	list := parameters(t, synth.Options{Kind: synth.ESRGAN}, without("conv_up2"))
	_, err := models.Check(modelstest.Write(t, filepath.Join(t.TempDir(), "m.safetensors"), nil, list...), models.Upscaler, models.CheckOptions{})
	require.NoError(t, err)
}

func TestNewerNamesOfTheVAEAttention(t *testing.T) {
	list := parameters(t, synth.Options{Kind: synth.VAE}, func(p safetensors.Tensor) (safetensors.Tensor, bool) {
		for _, rename := range [][2]string{{"attn_1.q.", "attn_1.to_q."}, {"attn_1.k.", "attn_1.to_k."}, {"attn_1.v.", "attn_1.to_v."}, {"attn_1.proj_out.", "attn_1.to_out.0."}} {
			if bytes.Contains([]byte(p.Name), []byte(rename[0])) {
				p.Name = string(bytes.Replace([]byte(p.Name), []byte(rename[0]), []byte(rename[1]), 1))
				p.Shape = p.Shape[:min(2, len(p.Shape))]
			}
		}
		return p, true
	})
	path := modelstest.Write(t, filepath.Join(t.TempDir(), "m.safetensors"), nil, list...)
	_, err := models.Check(path, models.VAE, models.CheckOptions{})
	require.NoError(t, err)
}

func TestNoModelAtAll(t *testing.T) {
	good := modelstest.Write(t, filepath.Join(t.TempDir(), "good.safetensors"), nil, modelstest.F16("a", 100))
	whole, err := os.ReadFile(good)
	require.NoError(t, err)
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "is empty"},
		{"LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer"},
		{"web page", "\n <!DOCTYPE html><html><body>Log in", "is a web page"},
		{"JSON", `{"error":"Repository not found"}`, "is JSON text"},
		{"gzip", "\x1f\x8b\x08\x00", "compressed archive"},
		{"zeros", string(make([]byte, 4096)), "begins with zeros"},
		{"text", "hello", "no known model format"},
		{"one byte", "x", "no known model format"},
		{"truncated", string(whole[:len(whole)-1]), "is truncated"},
		{"cut header", string(whole[:20]), "truncated"},
		{"old ggml", "tjgg\x03\x00\x00\x00", "old ggml format"},
		{"broken pickle", "PK\x03\x04 and more", "broken or truncated"},
		{"GGUF cut", "GGUF\x03\x00", "is truncated"},
		{"GGUF version", "GGUF\x09\x00\x00\x00" + string(make([]byte, 16)), "version 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.safetensors")
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			_, err := models.Inspect(path)
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err = models.Inspect(filepath.Join(t.TempDir(), "none"))
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	_, err = models.Inspect(t.TempDir())
	require.ErrorContains(t, err, "is a folder")
}

func ggufFile(names map[string][]uint64) []byte {
	return ggufFileOf(1, 1, 2, names) // F16
}

// ggufFileOf writes tensors of a type with so many bytes for each block of values.
func ggufFileOf(kind uint32, block, size uint64, names map[string][]uint64) []byte {
	le := binary.LittleEndian
	b := append([]byte("GGUF"), 3, 0, 0, 0)
	b = le.AppendUint64(b, uint64(len(names)))
	b = le.AppendUint64(b, 1)
	text := func(s string) {
		b = le.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	text("general.name")
	b = le.AppendUint32(b, 8)
	text("tiny")
	offset := uint64(0)
	for name, dims := range names {
		text(name)
		b = le.AppendUint32(b, uint32(len(dims)))
		n := uint64(1)
		for _, d := range dims {
			b = le.AppendUint64(b, d)
			n *= d
		}
		b = le.AppendUint32(b, kind)
		b = le.AppendUint64(b, offset)
		offset += (n/block*size + 31) / 32 * 32
	}
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, make([]byte, offset)...)
}

func TestGGUF(t *testing.T) {
	raw := ggufFile(map[string][]uint64{
		"model.diffusion_model.input_blocks.0.0.weight":                                 {3, 3, 4, 32},
		"model.diffusion_model.middle_block.1.norm.weight":                              {128},
		"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": {768, 32},
	})
	info, err := models.InspectReader(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.Equal(t, formats.GGUF, info.Format)
	require.Equal(t, models.SD1, info.Arch)
	require.Equal(t, "tiny", info.Metadata["general.name"])
	first, ok := info.Lookup("model.diffusion_model.input_blocks.0.0.weight")
	require.True(t, ok)
	require.Equal(t, []int64{32, 4, 3, 3}, first.Shape)
	require.ErrorContains(t, info.Fits(models.Checkpoint, models.CheckOptions{}), "no text encoder")

	_, err = models.InspectReader(bytes.NewReader(raw[:len(raw)-64]), int64(len(raw)-64))
	require.ErrorContains(t, err, "truncated")
}

func FuzzInspect(f *testing.F) {
	f.Add(ggufFile(map[string][]uint64{"a": {3, 4}}))
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		info, err := models.InspectReader(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		for _, kind := range []models.Kind{models.Checkpoint, models.VAE, models.LoRA, models.ControlNet, models.Embedding, models.Upscaler, models.Preview} {
			_ = info.Fits(kind, models.CheckOptions{})
		}
	})
}
