package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sdworker/formats/embedding"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// EmbeddingFile is a textual inversion with what its file says.
type EmbeddingFile struct {
	File
	Content embedding.Embedding // without Values; of 0 vectors when the file says nothing or holds no numbers
}

// Embeddings returns the textual inversions in A1111's order, of any model family; of
// two with the same name the first root's wins. A look at the folders comes first,
// since any word of a prompt may name a new one. Each version of a file is read once.
func (c *Catalog) Embeddings() []EmbeddingFile {
	_ = c.RefreshIfChanged() // a folder that cannot be read was reported before
	list := c.List(models.Embedding)
	slices.SortStableFunc(list, func(a, b File) int {
		return strings.Compare(strings.ToLower(a.Stem()), strings.ToLower(b.Stem()))
	})
	list = slices.CompactFunc(list, func(a, b File) bool { return a.Stem() == b.Stem() })
	out := make([]EmbeddingFile, len(list))
	for i, f := range list {
		out[i] = EmbeddingFile{f, c.embedding(f)}
	}
	return out
}

// embedding describes a textual inversion.
func (c *Catalog) embedding(f File) embedding.Embedding {
	key := f.ID()
	if known, ok := c.embeddings.Load(key); ok {
		return known.(embedding.Embedding)
	}
	e := embedding.Embedding{Name: f.Stem()}
	// What a PyTorch file or a picture says of its training is inside.
	if inner, err := embedding.Read(f.Path); err == nil {
		e = *inner
		e.Values = nil
	} else if info, inspected := models.Inspect(f.Path); inspected == nil && !errors.Is(err, embedding.ErrNoNumbers) {
		e.Vectors, e.Shape = info.Vectors()
	}
	c.embeddings.Store(key, e)
	return e
}

// EmbeddingHash returns the twelve digits that stand in "TI hashes": of the
// sha256 of the whole file, computed at the first call and remembered.
func (c *Catalog) EmbeddingHash(ctx context.Context, id fileid.ID) (string, error) {
	sum, err := c.versionSum(ctx, id, sumOfFile)
	return firstDigits(sum), err
}
