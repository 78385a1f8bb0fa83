package models

import (
	"context"
	"slices"
	"strings"

	"sdworker/formats"
	"sdworker/formats/torchfile"
	"sdworker/internal/fileid"
)

// Embeddings returns the textual inversions in A1111's order; of two with the
// same name the first root's wins.
func (c *Catalog) Embeddings() []File {
	list := c.List(Embedding)
	slices.SortStableFunc(list, func(a, b File) int {
		return strings.Compare(strings.ToLower(a.Stem()), strings.ToLower(b.Stem()))
	})
	return slices.CompactFunc(list, func(a, b File) bool { return a.Stem() == b.Stem() })
}

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

// EmbeddingHash returns the twelve digits that stand in "TI hashes": of the
// sha256 of the whole file, computed at the first call and remembered.
func (c *Catalog) EmbeddingHash(ctx context.Context, id fileid.ID) (string, error) {
	sum, err := c.versionSum(ctx, id, sumOfFile)
	return firstDigits(sum), err
}
