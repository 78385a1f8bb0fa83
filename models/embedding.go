package models

import (
	"context"
	"os"
	"slices"
	"strings"

	"sdworker/models/safetensors"
	"sdworker/models/sd1"
	"sdworker/models/torchfile"
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

// Vectors returns the vectors of a textual inversion, each sd1.TextWidth values,
// read once per version of the file. The caller must not change them. A file for
// another family, or a broken one, is an *inference.Error with code Invalid.
func (c *Catalog) Vectors(f File) ([][]float32, error) {
	if v, ok := c.vectors.Load(f.key()); ok {
		return v.([][]float32), nil
	}
	v, err := loadVectors(f.Path, CheckOptions{AllowPickle: c.config.AllowPickle})
	if err != nil {
		return nil, err
	}
	c.vectors.Store(f.key(), v)
	return v, nil
}

// loadVectors reads emb_params, or the only tensor of the file.
func loadVectors(path string, o CheckOptions) ([][]float32, error) {
	info, err := Check(path, Embedding, o)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	defer file.Close()
	raw := make([]byte, info.vectors().Bytes)
	if _, err := file.ReadAt(raw, info.vectors().Offset); err != nil {
		return nil, readError(path, err)
	}
	values := make([]float32, info.vectors().Values())
	if err := safetensors.Decode(values, raw, safetensors.DType(info.vectors().DType)); err != nil {
		return nil, refuse(path, "cannot be read: %v", err)
	}
	return slices.Collect(slices.Chunk(values, sd1.TextWidth)), nil
}

// vectors is the tensor of an embedding that holds its vectors.
func (i *Info) vectors() Tensor {
	if t, ok := i.Lookup(torchfile.EmbeddingKey); ok {
		return t
	}
	return i.Tensors[0]
}

// EmbeddingHash returns the twelve digits that stand in "TI hashes": of the
// sha256 of the whole file, computed at the first call and remembered.
func (c *Catalog) EmbeddingHash(ctx context.Context, f File) (string, error) {
	sum, err := c.SHA256(ctx, f.Path)
	return firstDigits(sum), err
}
