package models

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sdworker/convnet/superres"
	"sdworker/formats"
	"sdworker/sd1"
)

// Weight is one parameter of a network and the tensor that fills it.
type Weight struct {
	Name   string  // in the original code, which the engine goes by
	Shape  []int64 // of the parameter, slowest axis first; the tensor has as many values
	Tensor formats.Tensor
}

// originalName returns what the original code calls a tensor of a kind's files.
func (k Kind) originalName(name string) string {
	switch k {
	case Checkpoint:
		return sd1.CheckpointName(name)
	case VAE:
		return sd1.VAEName(name)
	case ControlNet:
		return sd1.ControlNetName(name)
	case Upscaler:
		return sd1.UpscalerName(name)
	case Preview:
		return sd1.PreviewName(name)
	default:
		return name
	}
}

// index finds tensors by their original names, once the kind is known. A tensor
// that has the name itself goes before one that is renamed to it, and one without
// values before none.
func (i *Info) indexOriginal() {
	i.original = make(map[string]int, len(i.Tensors))
	rename := i.Kind.originalName
	if i.Kind == Upscaler {
		rename = i.upscalerNames()
	}
	for at, t := range i.Tensors {
		name := rename(t.Name)
		if known, ok := i.original[name]; ok && (t.Bytes == 0 || i.Tensors[known].Name == name && i.Tensors[known].Bytes > 0) {
			continue
		}
		i.original[name] = at
	}
}

// parameter finds a tensor by its original name.
func (i *Info) parameter(name string) (formats.Tensor, bool) {
	at, ok := i.original[name]
	if !ok {
		return formats.Tensor{}, false
	}
	return i.Tensors[at], true
}

// weights looks closer at a file of the right kind and family: it returns what
// the engine reads of it, or a predicate that says what is wrong.
func (i *Info) weights(kind Kind) ([]Weight, string) {
	var want sd1.Net
	problem := ""
	switch kind {
	case Checkpoint:
		want, problem = i.checkpointNet()
	case VAE:
		want, problem = i.vaeNet("")
	case ControlNet:
		want, problem = i.controlNet()
	case Upscaler:
		want, problem = i.upscalerNet()
	case Preview:
		want, problem = i.previewNet()
	case Detector:
		want, problem = i.detectorNet()
	case IPAdapter:
		want, problem = i.ipAdapterNet()
	case ImageEncoder:
		want, problem = i.imageEncoderNet()
	case Depth:
		want, problem = i.depthNet()
	case LoRA:
		return nil, i.loraProblem()
	case Embedding:
		return nil, i.embeddingProblem()
	case Unknown:
	}
	if problem != "" {
		return nil, problem
	}
	return i.fill(want)
}

// fill finds the tensor of every parameter. Other tensors in the file do not
// matter.
func (i *Info) fill(want sd1.Net) ([]Weight, string) {
	for _, t := range i.Tensors {
		for _, suffix := range []string{".scale_weight", ".weight_scale"} {
			if strings.HasSuffix(t.Name, suffix) {
				return nil, fmt.Sprintf("stores scaled values (%s), which are not read here; use the file in F16", t.Name)
			}
		}
	}
	list := make([]Weight, 0, len(want))
	missing, first := 0, ""
	for _, p := range want {
		t, ok := i.parameter(p.Name)
		if !ok || t.Bytes == 0 {
			if missing == 0 {
				first = p.Name
			}
			missing++
			continue
		}
		switch {
		case !slices.Equal(trimOnes(t.Shape), trimOnes(p.Shape)):
			return nil, fmt.Sprintf("has a tensor %s of shape %v where Stable Diffusion 1.x has %v", t.Name, t.Shape, p.Shape)
		case !i.Format.EngineReads(t.DType):
			return nil, fmt.Sprintf("stores tensor %s as %s, which the engine cannot read; convert it to F16", t.Name, t.DType)
		case t.Strided:
			return nil, fmt.Sprintf("stores tensor %s out of order, which the engine does not notice", t.Name)
		}
		list = append(list, Weight{p.Name, p.Shape, t})
	}
	stored := int64(0)
	for _, w := range list {
		stored += w.Tensor.Bytes
	}
	switch {
	case missing == 0 && i.Format != formats.Safetensors && stored > i.Bytes: // which other formats allow
		return nil, "names the same values many times, and so has more of them than the file"
	case missing == 0:
		return list, ""
	case missing == 1:
		return nil, fmt.Sprintf("is incomplete: tensor %s is missing", first)
	}
	return nil, fmt.Sprintf("is incomplete: %d of %d tensors are missing, the first is %s", missing, len(want), first)
}

// HasVAE tells whether a checkpoint brings its own VAE. One that does not works
// with any that is chosen.
func (i *Info) HasVAE() bool {
	_, ok := i.parameter(sd1.VAEPrefix + "decoder.conv_in.weight")
	return ok
}

func (i *Info) checkpointNet() (sd1.Net, string) {
	if i.badConfig != "" {
		return nil, i.badConfig
	}
	if _, ok := i.parameter(sd1.CLIPPrefix + "embeddings.token_embedding.weight"); !ok {
		return nil, "has no text encoder; a complete checkpoint is needed"
	}
	in, width, ok := i.convShape(sd1.UNetPrefix + "input_blocks.0.0.weight")
	if !ok || width%32 != 0 {
		return nil, "has a UNet whose first layer is missing or misshapen"
	}
	var want sd1.Net
	want.CLIP(sd1.CLIPPrefix)
	want.UNet(sd1.UNetPrefix, width, in)
	if !i.HasVAE() {
		return want, ""
	}
	vae, problem := i.vaeNet(sd1.VAEPrefix)
	return append(want, vae...), problem
}

func (i *Info) vaeNet(prefix string) (sd1.Net, string) {
	in, top, ok := i.convShape(prefix + "decoder.conv_in.weight")
	switch {
	case !ok:
		return nil, "has a VAE whose first layer is missing or misshapen"
	case in != 4 || top%128 != 0:
		return nil, fmt.Sprintf("has a VAE of shape [%d,%d], not one of Stable Diffusion 1.x", top, in)
	}
	if _, ok := i.parameter(prefix + "encoder.conv_in.weight"); !ok {
		return nil, "has a VAE without its encoder, which pictures are made into latents with; use the whole VAE"
	}
	var want sd1.Net
	want.VAE(prefix, top/4)
	return want, ""
}

func (i *Info) controlNet() (sd1.Net, string) {
	if _, ok := i.parameter("difference"); ok {
		return nil, "holds the difference to a base model, which is not added here; use the whole ControlNet"
	}
	_, width, ok := i.convShape("input_blocks.0.0.weight")
	if !ok || width%32 != 0 {
		return nil, "has a first layer that is missing or misshapen"
	}
	var want sd1.Net
	want.ControlNet("", width)
	return want, ""
}

// upscalerNames renames the tensors of an upscaler; the layers behind the blocks
// of the first ESRGAN's files depend on the highest number there is.
func (i *Info) upscalerNames() func(string) string {
	last := 0
	layer := func(name string) (number int, leaf string, ok bool) {
		rest, ok := strings.CutPrefix(name, "model.")
		if !ok {
			return 0, "", false
		}
		digits, leaf, ok := strings.Cut(rest, ".")
		number, err := strconv.Atoi(digits)
		return number, leaf, ok && err == nil
	}
	for _, t := range i.Tensors {
		if n, _, ok := layer(t.Name); ok {
			last = max(last, n)
		}
	}
	tail := sd1.UpscalerTail(last)
	return func(name string) string {
		name = sd1.UpscalerName(name)
		if n, leaf, ok := layer(name); ok && tail[n] != "" {
			return tail[n] + "." + leaf
		}
		return name
	}
}

func (i *Info) upscalerNet() (sd1.Net, string) {
	if i.has("model.13.weight") {
		return nil, "enlarges by 8; accepted are models that enlarge by 1 to 4"
	}
	m, problem := superres.Build(i.Shapes())
	if problem != "" {
		return nil, problem
	}
	return parameters(m.Net), ""
}

// previewNet demands the decoder of TAESD.
func (i *Info) previewNet() (sd1.Net, string) {
	var all, want sd1.Net
	all.TAESD()
	for _, p := range all {
		if strings.HasPrefix(p.Name, "decoder.") {
			want = append(want, p)
		}
	}
	return want, ""
}

// convShape returns the channels of a convolution, or ok false.
func (i *Info) convShape(name string) (in, out int64, ok bool) {
	t, found := i.parameter(name)
	if !found || len(t.Shape) != 4 || t.Shape[0] <= 0 || t.Shape[1] <= 0 {
		return 0, 0, false
	}
	return t.Shape[1], t.Shape[0], true
}

// trimOnes drops sides of 1 at the end: a 1x1 convolution and a linear layer
// hold the same values.
func trimOnes(shape []int64) []int64 {
	for len(shape) > 1 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}
