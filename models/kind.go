// Package models says what a model file is: checkpoint, VAE, LoRA, embedding,
// ControlNet, IP-Adapter, upscaler or the small decoder for previews, of which family, and
// whether it can be used here. Where the files are, package catalog knows.
package models

import (
	"strings"

	"sdworker/formats"
)

// Kind is what a file is for.
type Kind string

// Kinds.
const (
	Checkpoint   Kind = "checkpoint"
	VAE          Kind = "vae"
	LoRA         Kind = "lora"
	Embedding    Kind = "embedding" // textual inversion
	ControlNet   Kind = "controlnet"
	IPAdapter    Kind = "ip-adapter"
	ImageEncoder Kind = "image-encoder" // of CLIP, which IP-Adapters see pictures with
	Depth        Kind = "depth"         // Depth Anything, a preprocessor of ControlNet
	Upscaler     Kind = "upscaler"      // ESRGAN, compact Real-ESRGAN, SPAN
	Preview      Kind = "preview"       // TAESD
	Detector     Kind = "detector"      // YOLO, which finds faces and other objects
	Unknown      Kind = "unknown"
)

// Kinds lists the kinds that there are folders for.
func Kinds() []Kind {
	return []Kind{Checkpoint, VAE, LoRA, Embedding, ControlNet, IPAdapter, ImageEncoder, Depth, Upscaler, Preview, Detector}
}

// label is how a message names a file of this kind.
func (k Kind) label() string {
	switch k {
	case Checkpoint:
		return "a checkpoint"
	case VAE:
		return "a VAE"
	case LoRA:
		return "a LoRA"
	case Embedding:
		return "a textual inversion embedding"
	case ControlNet:
		return "a ControlNet"
	case IPAdapter:
		return "an IP-Adapter"
	case ImageEncoder:
		return "an image encoder of CLIP"
	case Depth:
		return "a Depth Anything network"
	case Upscaler:
		return "an upscaler"
	case Preview:
		return "a TAESD preview decoder"
	case Detector:
		return "a YOLO detector"
	default:
		return "no model that is known here"
	}
}

// Arch is the model family a file was made for.
type Arch string

// Families. Only SD1 and SD1Inpaint run here.
const (
	SD1          Arch = "sd1"
	SD1Inpaint   Arch = "sd1-inpaint"   // UNet with 9 input channels
	SD1Edit      Arch = "sd1-edit"      // instruct-pix2pix, 8 input channels
	SD1Distilled Arch = "sd1-distilled" // UNet without a middle block
	SD2          Arch = "sd2"
	SDXL         Arch = "sdxl"
	SD3          Arch = "sd3"
	Flux         Arch = "flux"
	OtherArch    Arch = "other"
	AnyArch      Arch = "any" // the kind does not depend on a family
)

func (a Arch) label() string {
	switch a {
	case SD1:
		return "Stable Diffusion 1.x"
	case SD1Inpaint:
		return "Stable Diffusion 1.x inpainting"
	case SD1Edit:
		return "an InstructPix2Pix edit model"
	case SD1Distilled:
		return "a distilled Stable Diffusion 1.x with a shortened UNet"
	case SD2:
		return "Stable Diffusion 2.x"
	case SDXL:
		return "Stable Diffusion XL"
	case SD3:
		return "Stable Diffusion 3"
	case Flux:
		return "Flux"
	default:
		return "another model family"
	}
}

// AlwaysPickle tells that pickled files of a kind are taken without permission, as data:
// many of those that people have exist as nothing else.
func (k Kind) AlwaysPickle() bool { return k == Detector || k == ImageEncoder || k == Depth }

// Named tells whether files of a name are looked for in the folders of a kind, as
// A1111 does.
func (k Kind) Named(name string) bool {
	switch k {
	case Checkpoint:
		return formats.OfNameFor(formats.Checkpoint, name) != "" && !strings.HasSuffix(formats.Stem(strings.ToLower(name)), ".vae")
	case Embedding:
		return formats.OfNameFor(formats.Embedding, name) != ""
	default:
		return formats.OfNameFor(formats.Network, name) != ""
	}
}
