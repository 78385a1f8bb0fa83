// Package sdapitest has stand-ins for what a sdapi.Server is made of: a catalog
// of model files that do not exist and a generator that draws without a model.
package sdapitest

import (
	"context"
	"path"
	"slices"
	"strings"

	"sdworker/api/sdapi"
	"sdworker/internal/fileid"
)

// Catalog is a sdapi.Catalog of the files that it lists.
type Catalog struct {
	CheckpointFiles []sdapi.Checkpoint
	VAEFiles        []sdapi.VAE
	LoRAFiles       []sdapi.LoRA
	EmbeddingFiles  []sdapi.Embedding
	UpscalerFiles   []sdapi.Upscaler
	ControlFiles    []sdapi.ControlNet

	ShortHash string // of every LoRA and embedding
	// Hash computes the sha256 of files that have none, unless nil.
	Hash      func(ctx context.Context, path string) (string, error)
	Refreshed int // calls of Refresh
}

var _ sdapi.Catalog = (*Catalog)(nil)

// Checkpoint describes a checkpoint by its path below the model folder and its
// sha256 ("" for none), as catalog.File does.
func Checkpoint(rel, sum string) sdapi.Checkpoint {
	stem := strings.TrimSuffix(rel, path.Ext(rel))
	c := sdapi.Checkpoint{Path: "/models/" + rel, Title: rel, ModelName: strings.ReplaceAll(stem, "/", "_"), Name: path.Base(stem), SHA256: sum}
	if sum != "" {
		c.Title += " [" + c.ShortHash() + "]"
	}
	return c
}

// NewCatalog has two checkpoints, two LoRAs and one file of every other kind:
// what the recorded infotexts were made with.
func NewCatalog() *Catalog {
	return &Catalog{
		CheckpointFiles: []sdapi.Checkpoint{
			Checkpoint("v1-5-pruned-emaonly.safetensors", "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa"),
			Checkpoint("other.safetensors", "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516"),
		},
		VAEFiles:       []sdapi.VAE{{Path: "/models/VAE/sharp.safetensors", Name: "sharp.safetensors"}},
		LoRAFiles:      []sdapi.LoRA{{Path: "/models/Lora/foo.safetensors", Name: "foo", Alias: "foo"}, {Path: "/models/Lora/bar.safetensors", Name: "bar", Alias: "barry", Metadata: map[string]any{"ss_output_name": "barry", "nested": map[string]any{"a": 1.5}}}},
		EmbeddingFiles: []sdapi.Embedding{{Path: "/models/embeddings/style.pt", Name: "style", Vectors: 2, Width: 768, Step: new(1500), CheckpointName: new("v1-5")}, {Path: "/models/embeddings/large.pt", Name: "large", Vectors: 1, Width: 1024}},
		UpscalerFiles:  []sdapi.Upscaler{{Path: "/models/ESRGAN/R-ESRGAN 4x+.pth", Name: "R-ESRGAN 4x+", Scale: 4}},
		ControlFiles:   []sdapi.ControlNet{{Path: "/models/ControlNet/canny.safetensors", Title: "canny [01234567]"}},
		ShortHash:      "0123456789ab",
	}
}

// Checkpoints lists CheckpointFiles.
func (c *Catalog) Checkpoints() []sdapi.Checkpoint { return c.CheckpointFiles }

// Checkpoint finds by title, name, hash or path below the folder.
func (c *Catalog) Checkpoint(name string) (sdapi.Checkpoint, bool) {
	return find(c.CheckpointFiles, func(f sdapi.Checkpoint) bool {
		return slices.Contains([]string{f.Title, f.ModelName, f.Name, f.ShortHash(), f.SHA256, strings.TrimPrefix(f.Path, "/models/")}, name) && name != ""
	})
}

// ClosestCheckpoint finds by part of a title.
func (c *Catalog) ClosestCheckpoint(name string) (sdapi.Checkpoint, bool) {
	return find(c.CheckpointFiles, func(f sdapi.Checkpoint) bool { return name != "" && strings.Contains(f.Title, name) })
}

// DefaultCheckpoint is the first one.
func (c *Catalog) DefaultCheckpoint() (sdapi.Checkpoint, bool) {
	return find(c.CheckpointFiles, func(sdapi.Checkpoint) bool { return true })
}

// VAEs lists VAEFiles.
func (c *Catalog) VAEs() []sdapi.VAE { return c.VAEFiles }

// VAEFor finds a file by name; no other setting has one.
func (c *Catalog) VAEFor(_ sdapi.Checkpoint, setting string) (sdapi.VAE, bool) {
	return find(c.VAEFiles, func(f sdapi.VAE) bool { return f.Name == setting })
}

// LoRAs lists LoRAFiles.
func (c *Catalog) LoRAs() []sdapi.LoRA { return c.LoRAFiles }

// LoRA finds by name or alias.
func (c *Catalog) LoRA(name string) (string, bool) {
	f, ok := find(c.LoRAFiles, func(f sdapi.LoRA) bool { return f.Name == name || f.Alias == name })
	return f.Path, ok
}

// Embeddings lists EmbeddingFiles.
func (c *Catalog) Embeddings() []sdapi.Embedding { return c.EmbeddingFiles }

// Upscalers lists UpscalerFiles.
func (c *Catalog) Upscalers() []sdapi.Upscaler { return c.UpscalerFiles }

// ControlNets lists ControlFiles.
func (c *Catalog) ControlNets() []sdapi.ControlNet { return c.ControlFiles }

// ControlNet finds by title, or name alone.
func (c *Catalog) ControlNet(name string) (sdapi.ControlNet, bool) {
	return find(c.ControlFiles, func(f sdapi.ControlNet) bool { return f.Title == name || strings.HasPrefix(f.Title, name+" [") })
}

// PreviewDecoder has none.
func (c *Catalog) PreviewDecoder() string { return "" }

// SHA256 is the hash that the catalog has for a checkpoint, that of Hash, or one
// digit 64 times.
func (c *Catalog) SHA256(ctx context.Context, id fileid.ID) (string, error) {
	f, ok := find(c.CheckpointFiles, func(f sdapi.Checkpoint) bool { return f.Path == id.Path })
	if ok && f.SHA256 != "" {
		return f.SHA256, nil
	}
	if c.Hash != nil {
		return c.Hash(ctx, id.Path)
	}
	return strings.Repeat("a", 64), nil
}

// LoRAHash is ShortHash.
func (c *Catalog) LoRAHash(context.Context, fileid.ID) (string, error) { return c.ShortHash, nil }

// EmbeddingHash is ShortHash.
func (c *Catalog) EmbeddingHash(context.Context, fileid.ID) (string, error) { return c.ShortHash, nil }

// Refresh counts.
func (c *Catalog) Refresh() error {
	c.Refreshed++
	return nil
}

func find[T any](list []T, is func(T) bool) (found T, ok bool) {
	at := slices.IndexFunc(list, is)
	if at < 0 {
		return found, false
	}
	return list[at], true
}
