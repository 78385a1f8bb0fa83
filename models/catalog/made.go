package catalog

import (
	"time"

	"sdworker/formats/embedding"
)

// Made is a file of a catalog that was told what there is. Its Path need not exist.
type Made struct {
	File
	OldHash  string               // eight digits
	Metadata map[string]string    // of the header of a LoRA
	Content  *embedding.Embedding // of an embedding
}

// Of returns a catalog of the given files. It never looks at the disk, takes every
// file for usable, every checkpoint for one with a VAE and every image encoder for that of
// an IP-Adapter. It is for tests of what
// uses a catalog.
func Of(files ...Made) *Catalog {
	c := New(Config{AllowPickle: true})
	c.told = true
	c.Tell(files...)
	return c
}

// Tell replaces the files of a catalog that [Of] made.
func (c *Catalog) Tell(files ...Made) {
	list := make([]File, len(files))
	for i, f := range files {
		id := f.ID()
		c.verdicts.Store(verdictKey{file: id}, verdict{hasVAE: true})
		c.oldSums.Store(id, f.OldHash)
		c.headers.Store(id, f.Metadata)
		if f.Content != nil {
			c.embeddings.Store(id, *f.Content)
		}
		list[i] = f.File
	}
	c.current.Store(newSnapshot(list, nil, time.Time{}))
}
