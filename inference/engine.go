package inference

import (
	"context"
	"slices"

	"sdworker/convnet/depth"
	"sdworker/convnet/ipadapter"
	"sdworker/formats/embedding"
	"sdworker/formats/hypernet"
	"sdworker/inference/detect"
	"sdworker/inference/footprint"
	"sdworker/inference/imageio"
	"sdworker/internal/fileid"
	"sdworker/sd1"
)

// Sizes that every Stable Diffusion 1.x checkpoint shares.
const (
	LatentChannels = sd1.LatentChannels // channels of a VAE latent
	LatentScale    = sd1.LatentScale    // pixels per latent cell, along each side
	VAEScale       = 0.18215            // UNet latent = VAE latent * VAEScale (scale_factor of v1-inference.yaml)
	TextWidth      = sd1.TextWidth      // width of a CLIP ViT-L/14 hidden state
	ChunkTokens    = sd1.ChunkTokens    // begin token, 75 prompt tokens, end token
	VocabSize      = sd1.Vocabulary     // ids from here on address TextInput.Vectors
	ImageLayers    = ipadapter.Layers   // cross attentions of the UNet
	ControlLayers  = 13                 // residuals of a ControlNet: 12 of the encoder and the middle one
)

// Engine runs the networks of one loaded Stable Diffusion 1.x checkpoint.
//
// Tensors are float32, row-major, batch first. Arguments are read only during
// the call; results belong to the caller. An Engine is not safe for concurrent
// use, except Close, which waits for the call in hand. Errors are *Error with
// code Invalid, Canceled, Exhausted, Busy (a file is being written) or Broken;
// after Broken only Close is legal. A context that ends during a call stops it where that can be done; a
// call that is done all the same succeeds, and the next one is refused.
type Engine interface {
	// Info describes the loaded checkpoint and the device it runs on.
	Info() EngineInfo

	// EncodeText returns the CLIP hidden states [n,77,768] of n chunks.
	EncodeText(ctx context.Context, in TextInput) ([]float32, error)

	// PredictNoise runs the UNet once over the whole batch and returns its
	// output [b,4,H,W] (eps, or v for a v-prediction checkpoint). A batch may
	// carry conditional and unconditional rows of several images.
	PredictNoise(ctx context.Context, in UNetInput) ([]float32, error)

	// Encode returns the unscaled moments [8,h/8,w/8] of one picture, the mean
	// before the log variance. Pixels beyond the last whole cell, at the right and
	// at the bottom, get no cell of their own, but they influence the cells beside
	// them.
	Encode(ctx context.Context, in PixelInput) ([]float32, error)

	// Decode turns one VAE latent into planar pixels [3,8h,8w], clamped to 0..1.
	Decode(ctx context.Context, in LatentInput) ([]float32, error)

	Close() error
}

// AbortPrefix begins the last line that a native engine writes to stderr before it ends
// the process, which is what it does on errors that it cannot return.
const AbortPrefix = "engine aborted: "

// EngineInfo is what an Engine tells about itself.
type EngineInfo struct {
	Checkpoint      string // path of the file
	UNetChannels    int    // input channels of the UNet: 4, or 9 for an inpainting checkpoint
	NoVAE           bool   // the checkpoint has no VAE; pictures need SetVAE first
	VPrediction     bool   // the UNet predicts v instead of eps
	ZeroTerminalSNR bool   // it was trained on noise levels that end in pure noise
	Device          string // such as "CPU" or "CUDA0 (NVIDIA H100)"
	Backend         string // what the engine is built for, such as cpu or cuda
	GPU             bool   // the device is a GPU
	HostMemory      bool   // the device's memory is that of the machine: a CPU, or a GPU on the same chip
	Fused           bool   // attention runs as one fused kernel
	WeightBytes     int64  // bytes of weights held
	MemoryBytes     int64  // of the device; of the machine's as far as the container may use it; 0 = unknown

	Networks      footprint.Networks // what the memory of a call depends on
	EngineVersion string             // the engine's pin and commit
}

// TextInput is one batch of text chunks.
type TextInput struct {
	Chunks  [][ChunkTokens]int32 // token ids; id VocabSize+i stands for Vectors[i]
	Vectors [][]float32          // textual inversion vectors, TextWidth values each
	Skip    int                  // layers from the end, 1 = last layer: A1111's "Clip skip", 1..12
}

// UNetInput is one batch of b denoising inputs.
type UNetInput struct {
	Latent   []float32 // [b,c,H,W] scaled by 1/sqrt(sigma^2+1); c is EngineInfo.UNetChannels
	H, W     int       // latent cells, that is pixels/8
	Timestep []float32 // [b], training step 0..999, fractions allowed
	Context  []float32 // [b,k*77,768] from EncodeText, the same k for all rows
	Tiling   bool      // circular padding along both axes, for seamless pictures
	Control  []ControlInput

	// Perturbed is 1 for rows in whose middle block self-attention passes on its values,
	// and 0 for the others, [b]; nil when there are none.
	Perturbed []float32
	FreeU     FreeU

	Images []ImageInput // pictures that cross attention sees beside the text
}

// ImageInput is what cross attention sees of a picture (IP-Adapter). The attention to it
// is added to that to the text.
type ImageInput struct {
	Tokens int
	Values [][]float32 // [b], of each row what ImagePrompt has; the values may be weighted

	// Region is where it is seen, as that of a ControlInput.
	Region []float32
}

// ControlInput is one ControlNet unit acting on a UNet call. The residuals it
// produces are multiplied by Rows and Layers and added to those of the others.
type ControlInput struct {
	Model  string    // path of the ControlNet file
	Hint   []float32 // planar RGB [3,8H,8W], 0..1
	Rows   []float32 // [b] strength for each row of the batch, 0 = row left alone
	Layers []float32 // [ControlLayers] strength for each residual, 12 of the encoder and the middle one

	// Region is where it acts, 0..1: maps of H by W cells and of halves, quarters and
	// eighths of these sides, rounded up, one after the other; nil = everywhere.
	Region []float32
}

// RegionSizes are the heights and widths of the maps of ControlInput.Region.
func RegionSizes(h, w int) (sizes [4][2]int) {
	for i := range sizes {
		sizes[i] = [2]int{h, w}
		h, w = (h+1)/2, (w+1)/2
	}
	return sizes
}

// PixelInput is one picture to encode.
type PixelInput struct {
	Pixels []float32 // planar RGB [3,H,W], 0..1
	H, W   int       // pixels, 8 or more
	Tiling bool
	Tiles  TileMode
}

// LatentInput is one latent to decode.
type LatentInput struct {
	Latent []float32 // [4,H,W], VAE scale: UNet latent / VAEScale
	H, W   int       // latent cells
	Tiling bool
	Tiles  TileMode
}

// TileMode says whether the VAE works on the whole picture or on overlapping
// tiles, which bounds its memory.
type TileMode int

// Tile modes.
const (
	TileAuto TileMode = iota // tiles from 1024x1024 pixels on
	TileNever
	TileAlways
)

// LoRA is one low-rank adapter with its strengths.
type LoRA struct {
	Path        string
	UNet        float64 // multiplier of the UNet part
	TextEncoder float64 // multiplier of the text encoder part
}

// The interfaces below are optional abilities of an Engine, found by type
// assertion.

// LoRAApplier switches the active adapters. The list replaces the one before; an
// empty list restores the checkpoint's own weights bit by bit. Setting the list
// that is already set costs nothing. After an error either the list before is
// active or none is; the engine knows which, so the next call corrects it.
//
// A file that is broken, or of which not everything fits, is no error, as in A1111:
// what fits acts, and so do the other files. There is one report for each LoRA of
// the list; the reports stay the same as long as the list and its files do.
type LoRAApplier interface {
	SetLoRAs(ctx context.Context, loras []LoRA) ([]LoRAReport, error)
}

// LoRAReport is what became of a LoRA.
type LoRAReport struct {
	Note       string                 // what was left out and why, "" for nothing
	Embeddings []*embedding.Embedding // textual inversions in the file, all of the text encoder's width
}

// HypernetApplier switches the hypernetworks that act in the UNet. The list replaces the
// one before; setting the list that is already set costs nothing. After an error the list
// before is active or none is; the engine knows, so the next call makes it right. The
// engine reads the networks during the call only.
type HypernetApplier interface {
	SetHypernets(ctx context.Context, list []Hypernet) error
}

// Hypernet is a hypernetwork with its strength.
type Hypernet struct {
	Network  *hypernet.Network
	Strength float64
}

// VAESwitcher replaces the VAE by the one in a file; "" restores the
// checkpoint's own. Setting the one that is already set costs nothing. After an
// error the one before is active.
type VAESwitcher interface {
	SetVAE(ctx context.Context, path string) error
}

// FileKeeper tells which versions of its files an engine works with. Between two
// calls of Renew it works with one version of each that it has loaded, whatever
// happens to the files.
type FileKeeper interface {
	// Renew looks at the files again: those that were replaced under their names
	// are read at their next use. It reports false when the checkpoint's own was,
	// which takes a new engine. What is gone from the disk stays in use.
	Renew() bool

	// Files lists the versions of checkpoint, VAE and adapters that are active.
	Files() []fileid.ID
}

// PreviewDecoder decodes a UNet-scale latent [4,h,w] with a small approximate
// decoder (TAESD) into planar pixels [3,8h,8w], 0..1. The file is loaded at
// first use and kept.
type PreviewDecoder interface {
	DecodePreview(ctx context.Context, taesd string, latent []float32, h, w int) ([]float32, error)
}

// PixelUpscaler enlarges planar pixels [3,h,w] with an ESRGAN-class model by the
// model's own factor. Its files are loaded at first use and kept.
type PixelUpscaler interface {
	UpscalePixels(ctx context.Context, model UpscalerModel, pixels []float32, h, w int) (out []float32, factor int, err error)
}

// ObjectDetector finds objects in a picture with a YOLOv8 model: those whose confidence
// is above the given one, 0..1, the most confident first. The file is loaded at first
// use and kept.
type ObjectDetector interface {
	Detect(ctx context.Context, model string, m imageio.RGB, confidence float64) ([]detect.Found, error)
}

// ImagePrompter tells what an IP-Adapter shows of pictures. The files are loaded for the
// call; what was made of the last pictures is kept.
type ImagePrompter interface {
	ImagePrompt(ctx context.Context, in ImagePromptInput) (ImagePrompt, error)
}

// ImagePromptInput is a picture with the files that look at it.
type ImagePromptInput struct {
	Adapter, Encoder string    // paths of an IP-Adapter and of the image encoder that it was made for
	Pixels           []float32 // [3,224,224], less the mean and by the deviation of CLIP's pictures
}

// ImagePrompt is what cross attention gets of a picture: for each of ImageLayers layers,
// as package ipadapter numbers them, keys [Tokens,channels] and then values.
type ImagePrompt struct {
	Tokens   int
	Channels []int     // of each layer
	Seen     []float32 // for the prompt
	Unseen   []float32 // for the negative prompt: what the adapter makes of no picture
}

// Weighted returns keys and values with the values of layer i times weight(i), which is
// what a weight of the attention comes to.
func (p *ImagePrompt) Weighted(values []float32, weight func(layer int) float64) []float32 {
	out := slices.Clone(values)
	at := 0
	for i, channels := range p.Channels {
		n := p.Tokens * channels
		scaled := out[at+n : at+2*n]
		for k := range scaled {
			scaled[k] *= float32(weight(i))
		}
		at += 2 * n
	}
	return out
}

// DepthEstimator tells how near things in a picture are, with Depth Anything: values
// [h,w] of any scale, larger where it is nearer. The file is loaded for the call.
type DepthEstimator interface {
	Depth(ctx context.Context, in DepthInput) ([]float32, error)
}

// DepthInput is a picture with the network that looks at it.
type DepthInput struct {
	Model     string // path
	Version   depth.Version
	Positions depth.Positions
	Pixels    []float32 // [3,H,W], less the mean and by the deviation of ImageNet's pictures
	H, W      int       // multiples of depth.Patch
}

// Profiler tells where the time of an engine's calls goes.
type Profiler interface {
	// Profile makes calls and sums up what their operations took. They run one after
	// the other meanwhile, which takes longer where a device would overlap them.
	Profile(ctx context.Context, calls func(context.Context) error) ([]Operation, error)

	// PeakFLOPS measures what the processor could do at most, in f32 operations a
	// second; 0 where that is not known.
	PeakFLOPS(ctx context.Context) (float64, error)
}

// Operation is all operations of one kind and shape.
type Operation struct {
	Kind    string  `json:"kind"`  // such as "convolution 3x3", "linear", "attention"
	Shape   string  `json:"shape"` // for people
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_s"` // of all threads together
	// FLOPs of the direct arithmetic, a multiplication and an addition being two; 0 for
	// what is no product. A kernel that needs fewer seems faster than the processor.
	FLOPs float64 `json:"flops"`
}
