package catalog

import (
	"context"
	"slices"
	"strings"

	"sdworker/internal/fileid"
	"sdworker/models"
)

// Embeddings returns the textual inversions in A1111's order; of two with the
// same name the first root's wins.
func (c *Catalog) Embeddings() []File {
	list := c.List(models.Embedding)
	slices.SortStableFunc(list, func(a, b File) int {
		return strings.Compare(strings.ToLower(a.Stem()), strings.ToLower(b.Stem()))
	})
	return slices.CompactFunc(list, func(a, b File) bool { return a.Stem() == b.Stem() })
}

// EmbeddingHash returns the twelve digits that stand in "TI hashes": of the
// sha256 of the whole file, computed at the first call and remembered.
func (c *Catalog) EmbeddingHash(ctx context.Context, id fileid.ID) (string, error) {
	sum, err := c.versionSum(ctx, id, sumOfFile)
	return firstDigits(sum), err
}
