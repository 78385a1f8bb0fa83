package main

import (
	"context"
	"path"
	"sync"

	"sdworker/api/sdapi"
	"sdworker/formats/embedding"
	"sdworker/internal/fileid"
	"sdworker/models"
	"sdworker/models/catalog"
)

// apiCatalog shows the model files to the API in its own terms. Its lists leave out
// what cannot be used; a look-up by name finds that, too, since using it says what
// is wrong.
type apiCatalog struct {
	*catalog.Catalog
	embeddings sync.Map // fileid.ID -> sdapi.Embedding
}

var _ sdapi.Catalog = (*apiCatalog)(nil)

// newCatalog looks at the disk once.
func newCatalog(cfg catalog.Config) (*apiCatalog, error) {
	c := &apiCatalog{Catalog: catalog.New(cfg)}
	return c, c.Refresh()
}

// again looks a file up, and once more after a look at the folders when it is
// not there: files count from the moment they appear.
func again[T any](c *apiCatalog, lookup func() (T, bool)) (T, bool) {
	if f, ok := lookup(); ok {
		return f, true
	}
	_ = c.RefreshIfChanged() // a folder that cannot be read was reported before
	return lookup()
}

func asCheckpoint(f catalog.File) sdapi.Checkpoint {
	return sdapi.Checkpoint{
		Path: f.Path, Title: f.Title(), ModelName: f.ModelName(), Name: f.Stem(), SHA256: f.SHA256, Config: models.ConfigBeside(f.Path),
	}
}

func (c *apiCatalog) Checkpoints() []sdapi.Checkpoint {
	var out []sdapi.Checkpoint
	for _, f := range c.Usable(c.Catalog.Checkpoints()) {
		out = append(out, asCheckpoint(f))
	}
	return out
}

func (c *apiCatalog) Checkpoint(name string) (sdapi.Checkpoint, bool) {
	f, ok := again(c, func() (catalog.File, bool) { return c.Catalog.Checkpoint(name) })
	return asCheckpoint(f), ok
}

func (c *apiCatalog) ClosestCheckpoint(name string) (sdapi.Checkpoint, bool) {
	f, ok := again(c, func() (catalog.File, bool) { return c.Catalog.ClosestCheckpoint(name) })
	return asCheckpoint(f), ok
}

func (c *apiCatalog) DefaultCheckpoint() (sdapi.Checkpoint, bool) {
	f, ok := again(c, c.Default)
	return asCheckpoint(f), ok
}

func asVAE(f catalog.File) sdapi.VAE { return sdapi.VAE{Path: f.Path, Name: path.Base(f.Name)} }

func (c *apiCatalog) VAEs() []sdapi.VAE {
	var out []sdapi.VAE
	for _, f := range c.Usable(c.Catalog.VAEs()) {
		out = append(out, asVAE(f))
	}
	return out
}

func (c *apiCatalog) VAEFor(checkpoint sdapi.Checkpoint, setting string) (sdapi.VAE, bool) {
	f, ok := c.file(models.Checkpoint, checkpoint.Path)
	if !ok { // its file is gone while it is loaded
		f = catalog.File{Kind: models.Checkpoint, Path: checkpoint.Path, Name: path.Base(checkpoint.Path)}
	}
	vae, ok := again(c, func() (catalog.File, bool) { return c.Catalog.VAEFor(f, setting) })
	return asVAE(vae), ok
}

// file finds a listed file by its path.
func (c *apiCatalog) file(kind models.Kind, path string) (catalog.File, bool) {
	for _, f := range c.List(kind) {
		if f.Path == path {
			return f, true
		}
	}
	return catalog.File{}, false
}

func (c *apiCatalog) LoRAs() []sdapi.LoRA {
	var out []sdapi.LoRA
	for _, f := range c.Catalog.LoRAs() {
		if c.Problem(f.File) != nil {
			continue
		}
		out = append(out, sdapi.LoRA{Path: f.Path, Name: f.Stem(), Alias: f.Alias, Metadata: f.Metadata})
	}
	return out
}

func (c *apiCatalog) LoRA(name string) (path string, ok bool) {
	f, ok := again(c, func() (catalog.File, bool) { return c.Catalog.LoRA(name) })
	return f.Path, ok
}

func (c *apiCatalog) Embeddings() []sdapi.Embedding {
	_ = c.RefreshIfChanged() // any word of a prompt may name a new one
	var out []sdapi.Embedding
	for _, f := range c.Catalog.Embeddings() {
		if e := c.embedding(f); e.Vectors > 0 { // of any family, as in A1111, whose list names what does not fit
			out = append(out, e)
		}
	}
	return out
}

// embedding describes a textual inversion by its header, read once for each
// version of the file.
func (c *apiCatalog) embedding(f catalog.File) sdapi.Embedding {
	key := f.ID()
	if known, ok := c.embeddings.Load(key); ok {
		return known.(sdapi.Embedding)
	}
	e := sdapi.Embedding{Path: f.Path, Name: f.Stem()}
	// What a PyTorch file or a picture says of its training is inside.
	inner, err := embedding.Read(f.Path)
	if err == nil {
		e.Name, e.Vectors, e.Width = inner.Name, inner.Vectors, inner.Shape
		e.Step, e.Checkpoint, e.CheckpointName = inner.Step, inner.Checkpoint, inner.CheckpointName
	} else if info, err := models.Inspect(f.Path); err == nil {
		e.Vectors, e.Width = info.Vectors()
	}
	c.embeddings.Store(key, e)
	return e
}

func (c *apiCatalog) Upscalers() []sdapi.Upscaler {
	_ = c.RefreshIfChanged() // files count from the moment they appear
	var out []sdapi.Upscaler
	for _, f := range c.Usable(c.List(models.Upscaler)) {
		out = append(out, sdapi.Upscaler{Path: f.Path, Name: f.Stem(), Scale: 4}) // A1111 shows 4 for every ESRGAN
	}
	return out
}

func (c *apiCatalog) ControlNets() []sdapi.ControlNet {
	var out []sdapi.ControlNet
	for _, f := range c.Usable(c.List(models.ControlNet)) {
		out = append(out, sdapi.ControlNet{Path: f.Path, Title: c.ControlNetName(f)})
	}
	return out
}

func (c *apiCatalog) ControlNet(name string) (sdapi.ControlNet, bool) {
	f, ok := again(c, func() (catalog.File, bool) { return c.Catalog.ControlNet(name) })
	return sdapi.ControlNet{Path: f.Path, Title: c.ControlNetName(f)}, ok
}

func (c *apiCatalog) PreviewDecoder() string {
	f, _ := c.Catalog.PreviewDecoder()
	return f.Path
}

// SHA256 implements sdapi.Catalog; that of catalog.Catalog takes what is there now.
func (c *apiCatalog) SHA256(ctx context.Context, id fileid.ID) (string, error) {
	return c.VersionSHA256(ctx, id)
}
