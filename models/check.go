package models

import (
	"slices"
	"strings"

	"sdworker/fault"
	"sdworker/formats"
)

// CheckOptions says what the caller accepts beside the usual.
type CheckOptions struct {
	AllowPickle bool // .ckpt, .pt and .pth
}

// Check inspects a file and decides whether it can be used as the given kind.
// The error says in one sentence what is wrong and what is accepted; its code is
// Invalid, or NotFound for a missing file. Only the header is read, and the few
// values of an embedding.
//
// It is the one judge: lists, `worker models` and the engine ask here, and what it
// lets pass works.
func Check(path string, kind Kind, o CheckOptions) (*Info, error) {
	info, err := Inspect(path)
	if err != nil {
		return nil, err
	}
	if err := info.Fits(kind, o); err != nil {
		return nil, err
	}
	return info, nil
}

// Fits decides whether an inspected file can be used as the given kind. A
// checkpoint may lack a VAE, see [Info.HasVAE].
func (i *Info) Fits(kind Kind, o CheckOptions) error {
	_, err := i.Weights(kind, o)
	return err
}

// Weights returns what the engine reads of a file of the given kind, or the error
// of Fits. It is nil for adapters and embeddings, which are read as a whole.
func (i *Info) Weights(kind Kind, o CheckOptions) ([]Weight, error) {
	if err := i.permitted(o); err != nil {
		return nil, err
	}
	if i.Kind != kind {
		return nil, refuse(i.Path, "holds %s, not %s", i.content(), kind.label())
	}
	if fit := accepts(kind); len(fit) > 0 && !slices.Contains(fit, i.Arch) {
		return nil, refuse(i.Path, "is %s for %s; accepted is %s", kind.label(), i.Arch.label(), labels(fit))
	}
	weights, problem := i.weights(kind)
	if problem != "" {
		return nil, refuse(i.Path, "%s", problem)
	}
	return weights, nil
}

// Usable decides whether an inspected file can be used as what it is.
func (i *Info) Usable(o CheckOptions) error {
	if i.Kind == Unknown {
		if err := i.permitted(o); err != nil {
			return err
		}
		return refuse(i.Path, "holds %s, which is not used here", i.content())
	}
	return i.Fits(i.Kind, o)
}

func (i *Info) permitted(o CheckOptions) error {
	if i.Format == formats.Pickle && !o.AllowPickle && !i.Kind.AlwaysPickle() {
		return Forbidden(i.Path)
	}
	return nil
}

// Forbidden is the error for a pickle where none is allowed.
func Forbidden(path string) *fault.Error {
	return refuse(path, "is a PyTorch pickle, which can carry hidden code; rewrite it with `worker models convert`, or allow pickle files (--allow-pickle, ALLOW_PICKLE) if you trust its source")
}

// content names what a file holds, for a message.
func (i *Info) content() string {
	switch {
	case i.Kind == LoRA && i.anyPart(".base_layer."):
		return "a network into which PEFT put a LoRA (save it after fuse_lora() and unload_lora_weights() of diffusers)"
	case i.Kind != Unknown:
		return i.Kind.label()
	case i.has("text_model.embeddings.token_embedding.weight"), i.has("embeddings.token_embedding.weight"): // transformers 4 and 5
		return "a text encoder alone"
	case i.has("input_blocks.0.0.weight"), i.has("conv_in.weight") && i.hasPrefix("down_blocks."):
		return "a UNet alone, without text encoder and VAE"
	case i.anyPart("ip_adapter.", "image_proj."):
		return "a part of an IP-Adapter"
	case i.anyPart("double_blocks.", "single_transformer_blocks."):
		return "a Flux model"
	case i.anyPart("motion_modules."):
		return "a motion module of AnimateDiff"
	case i.has(controlLoRA):
		return "a Control-LoRA, which changes a checkpoint into a ControlNet"
	case i.anyPart(".adapter.", ".body.0.resnets."), i.has("body.0.block1.weight") && i.has("conv_in.weight"):
		return "a T2I-Adapter"
	case i.anyPart("relative_position_bias_table", ".residual_group."):
		return "an upscaler of the transformer kind (SwinIR, HAT, DAT)"
	case len(i.Tensors) > 1 && i.allVectors():
		return "several textual inversions in one file"
	case i.hasPrefix("decoder.") && i.anyPart(".decoder.conv_in.", ".decoder.up."):
		return "a part of a VAE"
	case len(i.Tensors) == 0:
		return "no tensors"
	}
	return "no model that is known here"
}

// accepts lists the families that a kind runs with; nil means any.
func accepts(kind Kind) []Arch {
	switch kind {
	case Checkpoint:
		return []Arch{SD1, SD1Inpaint}
	case VAE, LoRA, Embedding, ControlNet, IPAdapter:
		return []Arch{SD1}
	default:
		return nil
	}
}

func labels(list []Arch) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.label()
	}
	return strings.Join(texts, " or ")
}
