package models

import (
	"fmt"
	"slices"
	"strings"

	"sdworker/inference"
	"sdworker/models/sd1"
)

// CheckOptions says what the caller accepts beside the usual.
type CheckOptions struct {
	AllowPickle bool // .ckpt, .pt and .pth
	ExternalVAE bool // a checkpoint may come without a VAE
}

// Check inspects a file and decides whether it can be used as the given kind.
// The error says in one sentence what is wrong and what is accepted; its code is
// Invalid, or NotFound for a missing file. Only the header is read.
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

// Fits decides whether an inspected file can be used as the given kind.
func (i *Info) Fits(kind Kind, o CheckOptions) error {
	if err := i.permitted(o); err != nil {
		return err
	}
	if i.Kind != kind {
		return refuse(i.Path, "holds %s, not %s", i.content(), kind.label())
	}
	if fit := accepts(kind); len(fit) > 0 && !slices.Contains(fit, i.Arch) {
		return refuse(i.Path, "is %s for %s; accepted is %s", kind.label(), i.Arch.label(), labels(fit))
	}
	for _, problem := range []string{i.tensorProblem(), i.problem(kind, o)} {
		if problem != "" {
			return refuse(i.Path, "%s", problem)
		}
	}
	return nil
}

// Usable decides whether an inspected file can be used as what it is. One of no
// known kind is told what it is not: a checkpoint.
func (i *Info) Usable(o CheckOptions) error {
	if i.Kind == Unknown {
		return i.Fits(Checkpoint, o)
	}
	return i.Fits(i.Kind, o)
}

// Readable decides whether the engine can be trusted with an inspected file,
// whatever it holds.
func (i *Info) Readable(o CheckOptions) error {
	if err := i.permitted(o); err != nil {
		return err
	}
	if problem := i.tensorProblem(); problem != "" {
		return refuse(i.Path, "%s", problem)
	}
	return nil
}

func (i *Info) permitted(o CheckOptions) error {
	if i.Format == Pickle && !o.AllowPickle {
		return forbidden(i.Path)
	}
	return nil
}

// forbidden is the error for a pickle where none is allowed.
func forbidden(path string) *inference.Error {
	return refuse(path, "is a PyTorch pickle, which can carry hidden code; rewrite it with `worker models convert`, or allow pickle files (--allow-pickle, ALLOW_PICKLE) if you trust its source")
}

// content names what a file holds, for a message.
func (i *Info) content() string {
	if i.Kind != Unknown {
		return i.Kind.label()
	}
	switch {
	case i.has("text_model.embeddings.token_embedding.weight"):
		return "a text encoder alone"
	case i.has("input_blocks.0.0.weight"), i.has("conv_in.weight") && i.hasPrefix("down_blocks."):
		return "a UNet alone, without text encoder and VAE"
	case i.anyPart("ip_adapter.", "image_proj."):
		return "an IP-Adapter"
	case i.anyPart("double_blocks.", "single_transformer_blocks."):
		return "a Flux model"
	case i.anyPart("motion_modules."):
		return "a motion module of AnimateDiff"
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
	case VAE, LoRA, Embedding, ControlNet:
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

// tensorProblem looks for tensors that the engine cannot read; it returns a
// predicate, or "" when there are none.
func (i *Info) tensorProblem() string {
	if i.Kind == LoRA {
		return "" // read here, not by the engine
	}
	for _, t := range i.Tensors {
		if t.Strided {
			return fmt.Sprintf("stores tensor %s out of order, which the engine does not notice", t.Name)
		}
		if i.Format != GGUF && !engineReads[t.DType] {
			return fmt.Sprintf("stores tensor %s as %s, which the engine cannot read; convert it to F16", t.Name, t.DType)
		}
		if len(t.Shape) > maxEngineRank {
			return fmt.Sprintf("has a tensor %s of %d dimensions, more than the engine's %d", t.Name, len(t.Shape), maxEngineRank)
		}
	}
	return ""
}

// problem looks closer at a file of the right kind and family; it returns a
// predicate, or "" when nothing is wrong.
func (i *Info) problem(kind Kind, o CheckOptions) string {
	switch kind {
	case Checkpoint:
		return i.checkpointProblem(o)
	case VAE:
		return i.vaeProblem()
	case LoRA:
		return i.loraProblem()
	case ControlNet:
		return i.controlNetProblem()
	case Embedding:
		return i.embeddingProblem()
	case Upscaler:
		return i.upscalerProblem()
	case Preview:
		return i.previewProblem()
	default:
		return ""
	}
}

// What the engine's safetensors reader takes (safetensors_io.cpp); it passes
// over U8 and gives up on a whole file for anything else.
var engineReads = map[string]bool{
	"F16": true, "BF16": true, "F32": true, "F64": true, "F8_E4M3": true, "F8_E5M2": true,
	"I32": true, "I64": true, "U8": true,
}

const maxEngineRank = 5

func (i *Info) checkpointProblem(o CheckOptions) string {
	if i.hasPrefix("unet.") { // diffusers names in one file: the engine renames them
		return ""
	}
	if i.hasPrefix("cond_stage_model.transformer.embeddings.") {
		return "names its text encoder as files of 2022 did; rewrite it with `worker models convert`"
	}
	if !i.hasPrefix("cond_stage_model.") {
		return "has no text encoder; a complete checkpoint is needed"
	}
	var want sd1.Net
	want.CLIP(sd1.CLIPPrefix)
	in, width, ok := i.convShape(sd1.UNetPrefix + "input_blocks.0.0.weight")
	if !ok || width%32 != 0 {
		return "has a UNet whose first layer is missing or misshapen"
	}
	want.UNet(sd1.UNetPrefix, width, in)
	decoderIn, top, ok := i.convShape(sd1.VAEPrefix + "decoder.conv_in.weight")
	switch {
	case ok && decoderIn == 4 && top%128 == 0:
		want.VAE(sd1.VAEPrefix, top/4)
	case ok:
		return fmt.Sprintf("has a VAE of shape [%d,%d], not one of Stable Diffusion 1.x", top, decoderIn)
	case !o.ExternalVAE:
		return "has no VAE; a complete checkpoint is needed: add a VAE with `worker models convert --vae`"
	}
	return i.lacks(want)
}

func (i *Info) vaeProblem() string {
	if i.anyPart("decoder.mid_block.") { // diffusers names: the engine renames them
		return ""
	}
	in, top, ok := i.convShape("decoder.conv_in.weight")
	if !ok || in != 4 || top%128 != 0 {
		return "is a VAE with other names than a VAE file has; accepted are the names of the ldm and diffusers files"
	}
	var want sd1.Net
	want.VAE("", top/4)
	return i.lacks(want)
}

func (i *Info) controlNetProblem() string {
	if i.anyPart(".down_blocks.") {
		return "uses diffusers names, which the engine does not read; use the file for A1111 (control_v11p_sd15_... .safetensors)"
	}
	prefix := ""
	if i.hasPrefix("control_model.") {
		prefix = "control_model."
	}
	_, width, ok := i.convShape(prefix + "input_blocks.0.0.weight")
	if !ok || width%32 != 0 {
		return "has a first layer that is missing or misshapen"
	}
	var want sd1.Net
	want.ControlNet(prefix, width)
	return i.lacks(want)
}

// convShape returns the channels of a convolution, or ok false.
func (i *Info) convShape(name string) (in, out int64, ok bool) {
	t, found := i.Lookup(name)
	if !found || len(t.Shape) != 4 || t.Shape[0] <= 0 || t.Shape[1] <= 0 {
		return 0, 0, false
	}
	return t.Shape[1], t.Shape[0], true
}

// lacks compares the file with what a network needs.
func (i *Info) lacks(want sd1.Net) string {
	missing, first := 0, ""
	for _, p := range want {
		t, ok := i.find(p.Name)
		if !ok {
			if missing == 0 {
				first = p.Name
			}
			missing++
			continue
		}
		if !slices.Equal(trimOnes(t.Shape), trimOnes(p.Shape)) {
			return fmt.Sprintf("has a tensor %s of shape %v where Stable Diffusion 1.x has %v", p.Name, t.Shape, p.Shape)
		}
	}
	switch missing {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("is incomplete: tensor %s is missing", first)
	}
	return fmt.Sprintf("is incomplete: %d of %d tensors are missing, the first is %s", missing, len(want), first)
}

// find looks a tensor up under its usual name, or under the one that newer
// diffusers versions give the attention of the VAE.
func (i *Info) find(name string) (Tensor, bool) {
	if t, ok := i.Lookup(name); ok {
		return t, true
	}
	prefix, layer, ok := strings.Cut(name, ".attn_1.")
	if !ok {
		return Tensor{}, false
	}
	old, rest, _ := strings.Cut(layer, ".")
	renamed := map[string]string{"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}[old]
	return i.Lookup(prefix + ".attn_1." + renamed + "." + rest)
}

// trimOnes drops sides of 1 at the end: a 1x1 convolution and a linear layer
// hold the same values.
func trimOnes(shape []int64) []int64 {
	for len(shape) > 1 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}
