// Package sdapitest has stand-ins for what a sdapi.Server is made of: a catalog
// of model files that do not exist and a generator that draws without a model.
package sdapitest

import (
	"context"
	"strings"

	"sdworker/api/sdapi/generation"
	"sdworker/formats/embedding"
	"sdworker/internal/fileid"
	"sdworker/models"
	"sdworker/models/catalog"
)

// Catalog lists files that were told, and knows their hashes.
type Catalog struct {
	*catalog.Catalog
	// Sum computes the sha256 of files that have none, unless nil.
	Sum func(ctx context.Context, path string) (string, error)
}

var _ generation.Hashes = (*Catalog)(nil)

// file describes a file by its kind and its path below the folders of the kind.
func file(kind models.Kind, folder, name string) catalog.Made {
	return catalog.Made{File: catalog.File{Kind: kind, Path: "/models/" + folder + name, Name: name}}
}

// Checkpoint describes a checkpoint by its path below the model folder and its
// sha256 ("" for none).
func Checkpoint(name, sum string) catalog.Made {
	f := file(models.Checkpoint, "", name)
	f.SHA256 = sum
	return f
}

// NewCatalog has two checkpoints and [Files]: what the recorded infotexts were made
// with.
func NewCatalog() *Catalog {
	return &Catalog{Catalog: catalog.Of(Files(
		Checkpoint("v1-5-pruned-emaonly.safetensors", "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa"),
		Checkpoint("other.safetensors", "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516"),
	)...)}
}

// Files are checkpoints, two LoRAs, two embeddings and files of every other kind.
func Files(checkpoints ...catalog.Made) []catalog.Made {
	barry := file(models.LoRA, "Lora/", "bar.safetensors")
	barry.Metadata = map[string]string{"ss_output_name": "barry", "nested": `{"a":1.5}`}
	style := file(models.Embedding, "embeddings/", "style.pt")
	style.Content = &embedding.Embedding{Name: "style", Vectors: 2, Shape: 768, Step: new(1500), CheckpointName: new("v1-5")}
	large := file(models.Embedding, "embeddings/", "large.pt")
	large.Content = &embedding.Embedding{Name: "large", Vectors: 1, Shape: 1024}
	canny := file(models.ControlNet, "ControlNet/", "canny.safetensors")
	canny.OldHash = "01234567"
	return append(checkpoints,
		file(models.VAE, "VAE/", "sharp.safetensors"),
		file(models.LoRA, "Lora/", "foo.safetensors"),
		barry, style, large,
		file(models.Upscaler, "ESRGAN/", "R-ESRGAN 4x+.pth"),
		canny,
		file(models.Detector, "adetailer/", "face_yolov8n.pt"),
		file(models.Detector, "adetailer/", "hand_yolov8n.pt"),
	)
}

// VersionSHA256 is the hash that the catalog has for a checkpoint, that of Sum, or
// one digit 64 times.
func (c *Catalog) VersionSHA256(ctx context.Context, id fileid.ID) (string, error) {
	for _, f := range c.Checkpoints() {
		if f.Path == id.Path && f.SHA256 != "" {
			return f.SHA256, nil
		}
	}
	if c.Sum != nil {
		return c.Sum(ctx, id.Path)
	}
	return strings.Repeat("a", 64), nil
}

// LoRAHash is the same for every LoRA.
func (c *Catalog) LoRAHash(context.Context, fileid.ID) (string, error) { return "0123456789ab", nil }

// EmbeddingHash is the same for every embedding.
func (c *Catalog) EmbeddingHash(context.Context, fileid.ID) (string, error) {
	return "0123456789ab", nil
}
