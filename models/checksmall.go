package models

import (
	"fmt"
	"strconv"
	"strings"

	"sdworker/models/sd1"
)

// embeddingProblem demands vectors of the text encoder's width.
func (i *Info) embeddingProblem() string {
	t := i.vectors()
	if len(t.Shape) == 0 || len(t.Shape) > 2 || t.Shape[len(t.Shape)-1] != sd1.TextWidth {
		return fmt.Sprintf("holds vectors of shape %v; accepted are [n,%d]", t.Shape, sd1.TextWidth)
	}
	return ""
}

// upscalerProblem demands an RRDB network of the size that the engine builds:
// three channels, 64 features.
func (i *Info) upscalerProblem() string {
	const features = 64
	in, out, ok := i.convShape("conv_first.weight")
	original := !ok
	if original {
		in, out, ok = i.convShape("model.0.weight")
	}
	switch {
	case !ok:
		return "has a first layer that is missing or misshapen"
	case in != 3:
		return fmt.Sprintf("takes pictures of %d channels, as RealESRGAN x2plus does; accepted are ESRGAN models of 3 channels, such as the x4 ones", in)
	case out != features:
		return fmt.Sprintf("has %d features; accepted are ESRGAN models of %d", out, features)
	case original:
		return "" // the names of the first ESRGAN: the engine renames them
	}
	blocks := 0
	for _, t := range i.Tensors {
		rest, _ := strings.CutPrefix(t.Name, "body.")
		number, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(number); err == nil && n < len(i.Tensors) {
			blocks = max(blocks, n+1)
		}
	}
	var all, want sd1.Net
	all.ESRGAN(blocks)
	for _, p := range all {
		if !strings.HasPrefix(p.Name, "conv_up") || i.has(p.Name) { // x1 and x2 models lack them
			want = append(want, p)
		}
	}
	return i.lacks(want)
}

// previewProblem demands the decoder of TAESD under the names of its diffusers
// file.
func (i *Info) previewProblem() string {
	if !i.has("decoder.layers.0.weight") {
		return "uses the names of TAESD's first files; use the one for diffusers (`worker models pull taesd`)"
	}
	var all, want sd1.Net
	all.TAESD()
	for _, p := range all {
		if strings.HasPrefix(p.Name, "decoder.") {
			want = append(want, p)
		}
	}
	return i.lacks(want)
}
