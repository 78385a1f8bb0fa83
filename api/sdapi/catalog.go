package sdapi

import (
	"context"

	"sdworker/internal/fileid"
)

// Catalog finds model files on disk. Its methods are safe for concurrent use and
// answer from what the last refresh found; lists are in A1111's order and hold what
// can be used. What is named is found all the same, and refused with a reason by
// who opens it.
type Catalog interface {
	Checkpoints() []Checkpoint
	// Checkpoint finds a checkpoint by one of the exact names that
	// sd_model_checkpoint accepts, ClosestCheckpoint by part of its title too.
	Checkpoint(name string) (Checkpoint, bool)
	ClosestCheckpoint(name string) (Checkpoint, bool)
	// DefaultCheckpoint is the one to use when none is chosen, or the chosen one
	// is not there; it reports false when there is none at all.
	DefaultCheckpoint() (Checkpoint, bool)

	VAEs() []VAE
	// VAEFor is the VAE that goes with a checkpoint under a value of option
	// sd_vae; it reports false when the checkpoint's own is used.
	VAEFor(checkpoint Checkpoint, setting string) (VAE, bool)

	LoRAs() []LoRA
	// LoRA finds the file of a name as a tag in a prompt has it.
	LoRA(name string) (path string, ok bool)

	Embeddings() []Embedding
	Upscalers() []Upscaler

	ControlNets() []ControlNet
	ControlNet(name string) (ControlNet, bool)

	// PreviewDecoder is the path of the TAESD decoder, "" when there is none.
	PreviewDecoder() string

	// SHA256 is the hash of a version of a file in hex, LoRAHash and EmbeddingHash
	// are the 12 digits of infotexts. The first call for a large file may take
	// seconds. They fail for a version that was replaced before it was hashed.
	SHA256(ctx context.Context, id fileid.ID) (string, error)
	LoRAHash(ctx context.Context, id fileid.ID) (string, error)
	EmbeddingHash(ctx context.Context, id fileid.ID) (string, error)

	// Refresh looks at the folders again.
	Refresh() error
}

// Checkpoint is a Stable Diffusion model file with A1111's names for it.
type Checkpoint struct {
	Path      string // absolute
	Title     string // file name below its folder, with the short hash once known
	ModelName string // the same without extension, "_" for slashes
	Name      string // base name without extension
	SHA256    string // hex; "" until the file was hashed
	Config    string // path of a yaml file beside it, "" for none
}

// ShortHash is the hash that A1111 shows, "" until the file was hashed.
func (c Checkpoint) ShortHash() string { return short(c.SHA256) }

// short cuts a sha256 to the 10 digits of infotexts.
func short(sum string) string { return sum[:min(10, len(sum))] }

// ShortTitle is the name with hash that infotexts carry for a second model.
func (c Checkpoint) ShortTitle() string {
	if c.SHA256 == "" {
		return c.Name
	}
	return c.Name + " [" + c.ShortHash() + "]"
}

// VAE is a file that can replace a checkpoint's own VAE.
type VAE struct {
	Path string
	Name string // file name with extension
}

// LoRA is a low-rank adapter file.
type LoRA struct {
	Path     string
	Name     string         // file name without extension
	Alias    string         // ss_output_name of its metadata, else Name
	Metadata map[string]any // of the safetensors header, JSON values
}

// Embedding is a textual inversion file.
type Embedding struct {
	Path           string
	Name           string
	Vectors, Width int // Width is 768 for Stable Diffusion 1.x, and no other can be used

	// What its training noted in the file, nil where it did not.
	Step           *int
	Checkpoint     *string // short hash
	CheckpointName *string
}

// Upscaler is an image upscaler with a model file.
type Upscaler struct {
	Path  string
	Name  string
	Scale float64
}

// ControlNet is a ControlNet file.
type ControlNet struct {
	Path  string
	Title string // base name without extension, with an 8-digit hash in brackets
}
