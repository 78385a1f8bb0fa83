package models

import (
	"cmp"
	"slices"
	"strings"

	"sdworker/convnet/clipvision"
	"sdworker/convnet/depth"
	"sdworker/convnet/ipadapter"
	"sdworker/convnet/superres"
	"sdworker/convnet/yolo"
	"sdworker/formats"
	"sdworker/formats/torchfile"
	"sdworker/models/adapter"
	"sdworker/sd1"
)

// Markers are tensor names that only one kind of file has. Order matters: a
// ControlNet contains half a UNet, a checkpoint contains a VAE.
var markers = []struct {
	kind Kind
	is   func(*Info) bool
}{
	{IPAdapter, func(i *Info) bool { return i.anyName(ipadapter.Is) }}, // those for FaceID have a LoRA in them
	{LoRA, func(i *Info) bool { return i.anyName(adapter.Recognize) }},
	{ControlNet, func(i *Info) bool {
		return !i.has(controlLoRA) && (i.hasSuffix("zero_convs.0.0.weight") || i.hasPrefix("controlnet_cond_embedding.") || i.hasPrefix("controlnet_down_blocks."))
	}},
	{Checkpoint, func(i *Info) bool {
		return i.anyName(func(n string) bool { return strings.HasPrefix(sd1.CheckpointName(n), sd1.UNetPrefix) })
	}},
	{Upscaler, func(i *Info) bool {
		return i.has("body.0.rdb1.conv1.weight") || i.has("model.1.sub.0.RDB1.conv1.0.weight") || superres.Is(i.has)
	}},
	{ImageEncoder, func(i *Info) bool { return clipvision.Is(i.has) }},
	{Depth, func(i *Info) bool { return depth.Is(i.has) }},
	{Detector, func(i *Info) bool { return yolo.Is(i.has) }},
	{Preview, func(i *Info) bool {
		return i.has("decoder.layers.0.weight") || i.has("3.conv.0.weight") && i.has("1.weight") ||
			i.has("decoder.3.conv.0.weight") && i.has("decoder.1.weight")
	}},
	{VAE, func(i *Info) bool {
		return i.hasSuffix("decoder.conv_in.weight") && i.hasSuffix("decoder.conv_out.weight")
	}},
	{Embedding, isEmbedding},
}

// recognize fills Kind, Arch and what a checkpoint predicts from names, shapes and
// metadata.
func (i *Info) recognize() {
	for _, m := range markers {
		if m.is(i) {
			i.Kind = m.kind
			break
		}
	}
	i.indexOriginal()
	switch i.Kind {
	case Checkpoint:
		i.Arch = i.checkpointArch()
		i.recognizePrediction()
	case LoRA:
		i.Arch = i.loraArch()
	case ControlNet:
		i.Arch = i.contextArch()
	case IPAdapter:
		i.Arch = cmp.Or(textWidths[ipadapter.TextWidth(i.Shapes())], OtherArch)
	case VAE:
		i.Arch = i.vaeArch()
	case Embedding:
		i.Arch = i.embeddingArch()
	case Unknown:
		i.Arch = OtherArch
	default:
	}
}

// controlLoRA names the empty tensor that marks a Control-LoRA.
const controlLoRA = "lora_controlnet"

func isEmbedding(i *Info) bool {
	if i.has(torchfile.EmbeddingKey) || i.has("clip_g") || i.has("clip_l") {
		return true
	}
	return len(i.Tensors) == 1 && i.allVectors()
}

// allVectors tells whether every tensor has the shape of a textual inversion.
func (i *Info) allVectors() bool {
	return !slices.ContainsFunc(i.Tensors, func(t formats.Tensor) bool {
		switch shape := t.Shape; len(shape) {
		case 1:
			return textWidths[shape[0]] == ""
		case 2:
			return shape[0] > 128 || textWidths[shape[1]] == ""
		}
		return true
	})
}

// textWidths maps the width of the text states to the family that uses it.
var textWidths = map[int64]Arch{768: SD1, 1024: SD2, 1280: SDXL, 2048: SDXL}

func (i *Info) checkpointArch() Arch {
	switch {
	case i.anyPart("double_blocks.", "single_transformer_blocks."):
		return Flux
	case i.anyPart("joint_blocks."):
		return SD3
	case !i.anyPart(".input_blocks.0.0.", ".conv_in."):
		return OtherArch
	}
	if i.hasPrefix("conditioner.embedders.") || i.anyPart("label_emb.", "add_embedding.", "cond_stage_model.1.", "te.1.") {
		return SDXL
	}
	arch := i.contextArch()
	if arch != SD1 {
		return arch
	}
	if !i.anyPart(".middle_block.1.", ".mid_block.attentions.") {
		return SD1Distilled
	}
	switch in, _, _ := i.convShape(sd1.UNetPrefix + "input_blocks.0.0.weight"); in {
	case 8:
		return SD1Edit
	case 9:
		return SD1Inpaint
	}
	return SD1
}

// contextArch reads the family off the width of the text states that cross
// attention takes in.
func (i *Info) contextArch() Arch {
	if i.anyPart("label_emb.", "add_embedding.", "controlnet_x_embedder", "double_blocks.") {
		if i.anyPart("controlnet_x_embedder", "double_blocks.") {
			return Flux
		}
		return SDXL
	}
	for _, t := range i.Tensors {
		if strings.HasSuffix(t.Name, "attn2.to_k.weight") && len(t.Shape) == 2 {
			if arch, ok := textWidths[t.Shape[1]]; ok {
				return arch
			}
			return OtherArch
		}
	}
	return OtherArch
}

// foreignVAEs are published VAEs of other families by their sha256. They have the
// shapes of Stable Diffusion 1.x and nothing in their headers tells them apart, but
// their latents mean other colours.
var foreignVAEs = map[string]Arch{
	"63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e": SDXL, // stabilityai/sdxl-vae
	"235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1": SDXL, // madebyollin/sdxl-vae-fp16-fix
}

// ForeignVAE names the model family of a VAE that loads and yet paints wrong
// colours, by the sha256 of its file. ok is false for all others.
func ForeignVAE(sha256 string) (family string, ok bool) {
	arch, ok := foreignVAEs[sha256]
	return arch.label(), ok
}

func (i *Info) vaeArch() Arch {
	if strings.HasPrefix(i.Metadata["modelspec.architecture"], "stable-diffusion-xl") {
		return SDXL
	}
	for _, t := range i.Tensors {
		if strings.HasSuffix(t.Name, "decoder.conv_in.weight") && len(t.Shape) == 4 {
			if t.Shape[1] == 4 {
				return SD1 // SD 2 and SDXL share the architecture
			}
			return OtherArch
		}
	}
	return OtherArch
}

func (i *Info) embeddingArch() Arch {
	if i.has("clip_g") {
		return SDXL
	}
	shape := i.vectors().Shape
	if len(shape) == 0 {
		return OtherArch
	}
	if arch, ok := textWidths[shape[len(shape)-1]]; ok {
		return arch
	}
	return OtherArch
}

// loraArch reads the family off the trainer's note, else off names and widths.
func (i *Info) loraArch() Arch {
	if i.anyPart("double_blocks", "single_blocks", "single_transformer_blocks") {
		return Flux
	}
	if i.anyPart("lora_te2_", "text_encoder_2.", "add_embedding", "label_emb") { // lora_te1_ may be that of SD 1
		return SDXL
	}
	if i.anyPart("joint_blocks", "transformer.transformer_blocks") {
		return SD3
	}
	for _, t := range i.Tensors {
		if in, ok := inputWidth(t); ok && isContextLayer(t.Name) {
			if arch, ok := textWidths[in]; ok {
				return arch
			}
			return OtherArch
		}
	}
	switch base := i.Metadata["ss_base_model_version"]; {
	case strings.HasPrefix(base, "sd_v1"):
		return SD1
	case strings.HasPrefix(base, "sd_v2"):
		return SD2
	case strings.HasPrefix(base, "sdxl"):
		return SDXL
	}
	for _, t := range i.Tensors {
		if in, ok := inputWidth(t); ok && strings.Contains(t.Name, "self_attn") {
			if arch, ok := textWidths[in]; ok {
				return arch
			}
		}
	}
	return SD1 // nothing speaks against it; the engine skips layers it does not know
}

// isContextLayer tells whether an adapter acts on a layer that takes the text
// states in.
func isContextLayer(name string) bool {
	return strings.Contains(name, "attn2_to_k") || strings.Contains(name, "attn2_to_v") ||
		strings.Contains(name, "attn2.to_k") || strings.Contains(name, "attn2.to_v") ||
		strings.Contains(name, "attn2.processor.to_k") || strings.Contains(name, "attn2.processor.to_v")
}

// inputWidth returns the inner size of the factor that takes a layer's input.
func inputWidth(t formats.Tensor) (int64, bool) {
	if len(t.Shape) < 2 {
		return 0, false
	}
	for _, part := range []string{"lora_down.", "lora_A.", "lora.down.", "hada_w1_b"} {
		if strings.Contains(t.Name, part) {
			return t.Shape[1], true
		}
	}
	return 0, false
}

func (i *Info) has(name string) bool {
	_, ok := i.index[name]
	return ok
}

func (i *Info) anyName(match func(string) bool) bool {
	for _, t := range i.Tensors {
		if match(t.Name) {
			return true
		}
	}
	return false
}

func (i *Info) hasPrefix(p string) bool {
	return i.anyName(func(n string) bool { return strings.HasPrefix(n, p) })
}

func (i *Info) hasSuffix(s string) bool {
	return i.anyName(func(n string) bool { return strings.HasSuffix(n, s) })
}

// anyPart tells whether some name contains one of the parts, which begin at the
// start of a name where they begin with a dot.
func (i *Info) anyPart(parts ...string) bool {
	return i.anyName(func(n string) bool {
		for _, p := range parts {
			if strings.Contains("."+n, p) {
				return true
			}
		}
		return false
	})
}
