package sdapi

import "sdworker/api/sdapi/pyjson"

// Catalog finds model files on disk. Its methods are safe for concurrent use and
// return what the last refresh found, in list order.
type Catalog interface {
	Checkpoints() []Checkpoint
	VAEs() []VAE
	LoRAs() []LoRA
	Embeddings() []Embedding
	Upscalers() []Upscaler
	ControlNets() []ControlNet

	// PreviewDecoder is the path of the TAESD decoder, "" when there is none.
	PreviewDecoder() string

	// Hash returns the sha256 of a file in hex. It may take seconds the first
	// time that a large file is asked for.
	Hash(path string) (string, error)

	// Refresh looks at the folders again.
	Refresh() error
}

// Checkpoint is a Stable Diffusion model file.
type Checkpoint struct {
	Path   string // absolute
	Rel    string // below its model folder, with slashes
	SHA256 string // hex; "" until the file was hashed

	OldHash string // 8 hex digits of A1111's first hash, "" when not computed
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
	Hash     string         // short hash for the infotext, 12 hex digits; "" when unknown
	Metadata *pyjson.Object // of the safetensors header
}

// Embedding is a textual inversion file.
type Embedding struct {
	Path           string
	Name           string
	Vectors, Width int    // Width is 768 for Stable Diffusion 1.x
	Hash           string // short hash for the infotext, 12 hex digits
	Step           *int64 // of its training, when recorded
	Checkpoint     string // short hash of the checkpoint it was trained on, "" when not recorded
	CheckpointName string
}

// Upscaler is an image upscaler with a model file.
type Upscaler struct {
	Path  string
	Name  string
	Scale float64
}

// ControlNet is a ControlNet file.
type ControlNet struct {
	Path string
	Name string // file name without extension
	Hash string // 8 hex digits, "" until known
}
