package models

import (
	"sdworker/formats"
	"sdworker/formats/torchfile"
)

// Vectors returns how many vectors a textual inversion has, and how many values
// each, those for both text encoders of Stable Diffusion XL together; 0 and 0 when
// its tensor has another shape.
func (i *Info) Vectors() (n, width int) {
	g, large := i.Lookup("clip_g")
	l, small := i.Lookup("clip_l")
	if large && small && len(g.Shape) == 2 && len(l.Shape) == 2 {
		return int(g.Shape[0]), int(g.Shape[1] + l.Shape[1])
	}
	switch shape := i.vectors().Shape; len(shape) {
	case 1:
		return 1, int(shape[0])
	case 2:
		return int(shape[0]), int(shape[1])
	}
	return 0, 0
}

// vectors is the tensor of an embedding that holds its vectors.
func (i *Info) vectors() formats.Tensor {
	if t, ok := i.Lookup(torchfile.EmbeddingKey); ok || len(i.Tensors) == 0 {
		return t
	}
	return i.Tensors[0]
}
