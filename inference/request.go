package inference

import (
	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
	"sdworker/internal/fileid"
)

// Request is one job, complete: the doors resolve names, defaults, styles and
// random seeds before it is made, so that the pipeline asks nobody. It holds
// plain values only and can cross a process border.
type Request struct {
	// Prompt and NegativePrompt are the texts with styles merged and comments
	// removed. Extra network tags are still inside.
	Prompt, NegativePrompt string

	Seed            int64 // of the first image, never negative
	Subseed         int64 // variation seed, never negative
	SubseedStrength float64
	SeedResizeW     int // pixels; both above 0 switch seed resize on
	SeedResizeH     int

	Sampler   string  // exact A1111 name
	Scheduler string  // name or label; "" means Automatic
	Steps     int     // 1..MaxSteps
	CFGScale  float64 // classifier-free guidance scale
	Width     int     // pixels, a multiple of 8
	Height    int     // pixels, a multiple of 8
	BatchSize int     // images that share each UNet call
	BatchNum  int     // how often a batch is made: A1111's n_iter
	Tiling    bool    // seamless along both axes

	// DenoisingStrength acts on img2img and the hires pass, 0..1.
	DenoisingStrength float64

	Init    *Init         // img2img when set
	Hires   *Hires        // second pass of txt2img when set
	Control []ControlUnit // ControlNet units

	Files    Files
	Settings Settings
	Preview  Preview
}

// Images is how many pictures the request asks for.
func (r *Request) Images() int { return r.BatchSize * r.BatchNum }

// Files are the model files that a request needs, resolved to paths.
type Files struct {
	Checkpoint string            // path of the checkpoint
	VAE        string            // path of a VAE that replaces the checkpoint's; "" = its own
	LoRAs      map[string]string // name or alias as written in a tag -> path
	Embeddings map[string]string // name -> path of all textual inversion files that may be used
	TAESD      string            // path of the preview decoder; "" = none
	Upscalers  map[string]string // upscaler name -> path of its model
}

// Init is the img2img part of a request.
type Init struct {
	Images     []imageio.RGB // 1..BatchSize pictures, alpha already flattened; one is used for all
	ResizeMode int           // 0 stretch, 1 crop, 2 fill, 3 latent stretch

	// Width and Height are the pixels that pictures are resized to, for sizes that
	// are no multiples of 8: A1111 cuts the latent, not the picture. 0 means those of
	// the request.
	Width, Height int

	// NoiseMultiplier scales the start noise: A1111's initial_noise_multiplier.
	NoiseMultiplier float64

	Mask *Mask // inpainting when set
}

// Mask is the inpainting part of a request.
type Mask struct {
	Image        imageio.Gray // white = repaint, before inversion and blur
	Invert       bool
	BlurX, BlurY int // sigma in pixels
	Round        bool
	Fill         int // 0 fill, 1 original, 2 latent noise, 3 latent nothing
	OnlyMasked   bool
	Padding      int // pixels around the masked area
}

// Hires is the second pass of txt2img. Its sizes come from
// imageio.HiresSize or its kin, at the border.
type Hires struct {
	Width, Height          int     // pixels the first pass is scaled to, before the crop
	TruncateX, TruncateY   int     // latent cells cut off after scaling, in all
	Steps                  int     // 0 = Request.Steps
	Upscaler               string  // latent mode or image upscaler
	Sampler, Scheduler     string  // never ""; the border copies the first pass's
	Prompt, NegativePrompt string  // never ""-means-same; the border copies
	Checkpoint             string  // path; "" = the first pass's
	CFGScale               float64 // guidance scale of the second pass
}

// ControlUnit is one ControlNet unit.
type ControlUnit struct {
	Model        string // path of the ControlNet file
	Module       string // preprocessor: none, canny, invert ...
	Image        imageio.RGB
	Weight       float64
	ResizeMode   int     // 0 stretch, 1 crop, 2 fill
	Start, End   float64 // fraction of the steps during which it acts
	Mode         ControlMode
	PixelPerfect bool
	Resolution   int // of the preprocessor, pixels of the short side
	ThresholdA   float64
	ThresholdB   float64
	LowRes       bool // acts in the first pass
	HighRes      bool // acts in the hires pass
	ReturnMap    bool // append the preprocessor's picture to the result
}

// ControlMode balances prompt against control picture.
type ControlMode int

// Control modes of the ControlNet extension.
const (
	ControlBalanced ControlMode = iota
	ControlPrompt
	ControlNet
)

// Settings are the A1111 options that shape a picture, those of sampling
// included. DefaultSettings holds A1111's defaults.
type Settings struct {
	sampler.Options

	ClipSkip             int     // CLIP_stop_at_last_layers, 1..12
	Emphasis             string  // None, Ignore, Original, No norm
	CommaBacktrack       int     // comma_padding_backtrack, tokens
	NoiseSource          string  // randn_source: GPU, CPU or NV
	ENSD                 int64   // eta_noise_seed_delta
	ColorCorrection      bool    // img2img_color_correction
	OverlayInpaint       bool    // overlay_inpaint
	ConditionWeight      float64 // inpainting_mask_weight: how far an inpainting checkpoint's picture loses what is masked, 0..1
	PadCondUncond        bool    // pad_cond_uncond
	PadCondUncondV0      bool    // pad_cond_uncond_v0
	OldEditingTimelines  bool    // use_old_scheduling
	DisableExtraNetworks bool    // request field disable_extra_networks: tags are cut but do nothing
	UpscalerForImg2Img   string  // upscaler_for_img2img
}

// DefaultSettings returns A1111's defaults.
func DefaultSettings() Settings {
	return Settings{
		Options:         sampler.DefaultOptions(),
		ClipSkip:        1,
		Emphasis:        "Original",
		CommaBacktrack:  20,
		NoiseSource:     "GPU",
		OverlayInpaint:  true,
		ConditionWeight: 1,
	}
}

// Preview says when a picture of the unfinished latent is made.
type Preview struct {
	Every  int    // steps; 0 = never
	Method string // "approx" (a linear map of the latent), "taesd" or "full"
}

// Limits of a single request, far beyond what A1111's own page allows.
const (
	MaxSteps  = 1000
	MaxSide   = 8192 // pixels
	MaxImages = 1024 // images of one job

	MaxPromptBytes  = 128 << 10 // of one prompt as it was sent
	MaxPromptParts  = 64        // joined by AND; each is a row of every UNet call
	MaxTextChunks   = 64        // of 75 tokens in one text
	MaxPromptChunks = 1024      // in all texts that a prompt becomes by its editing
)

// Result is what a job produced.
type Result struct {
	Images      []Image
	Maps        []imageio.RGB // preprocessed ControlNet pictures
	Interrupted bool          // ended early by Interrupt; Images holds what there was
	Skipped     bool

	UsedLoRAs      []string    // names, in the order of their tags
	UsedEmbeddings []string    // names, in the order of first use, without those inside LoRAs
	Files          []fileid.ID // versions of the model files that made the pictures, where the engine tells
	Inpainting     bool        // the checkpoint takes mask and masked picture beside the latent
	PaddedConds    bool        // prompts of unequal length were padded: infotext "Pad conds"
	Comments       []string    // what was ignored or replaced, for the client
	Timings        Timings
}

// Image is one finished picture with what is particular to it.
type Image struct {
	Pixels  imageio.RGB
	Seed    int64
	Subseed int64
}

// Timings are the wall-clock seconds a job spent per phase.
type Timings struct {
	Queue, Load, Encode, Sample, Decode, Upscale, Total float64
}
