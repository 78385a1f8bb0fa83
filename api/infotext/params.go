package infotext

// Params are the facts about one picture that its text tells. Defaults are
// resolved: options stand in where a request was silent. An empty string or a nil
// pointer leaves its key out.
type Params struct {
	Prompt         string // after styles and comments, with LoRA tags
	NegativePrompt string

	Steps         int
	Sampler       string
	Scheduler     *string  // as the request sent it
	Eta           *float64 // as the request sent it; nil: the option of the sampler's kind
	CFGScale      float64
	ImageCFGScale *float64 // InstructPix2Pix models only
	Seed          int64    // of this picture
	Width, Height int      // as requested, not as rounded

	FaceRestoration string // name of the model, when faces are restored
	ModelHash       string // 10 hex digits; empty with option add_model_hash_to_info off
	Model           string
	FP8Weight       string // option fp8_storage, when in use
	CacheFP16       *bool  // option cache_fp16_weight, when FP8 is in use
	VAEHash         string // of a VAE that was chosen, not the checkpoint's own
	VAE             string

	VariationSeed     int64 // of this picture
	VariationStrength float64
	SeedResizeW       int // 0 or less: no seed resizing
	SeedResizeH       int

	DenoisingStrength     *float64 // image-to-image and hires only
	ConditionalMaskWeight *float64 // checkpoints with inpainting channels only
	ClipSkip              int
	ENSD                  int64   // option eta_noise_seed_delta
	TokenMergingRatio     float64 // in effect for the first pass
	TokenMergingRatioHR   float64 // in effect for the second pass
	InitImageHash         string
	RNG                   string // option randn_source
	NGMS                  float64
	Tiling                bool

	Scripts     []Entry // what always-on scripts add, in their order
	Hires       *Hires
	Inpaint     *Inpaint
	Loras       []Hash // in the order of their tags, the hires pass last
	Embeddings  []Hash
	Emphasis    string   // option emphasis
	Encoded     []string // the texts the text encoder saw, prompt editing resolved
	NoiseFactor *float64 // initial noise multiplier of image-to-image
	Sampling    Sampling
	Refiner     *Refiner

	Version string // empty with option add_version_to_infotext off
	User    string
}

// Entry is one key and its value: a string, bool, int, int64, float64 or nil,
// which leaves the key out.
type Entry struct {
	Key   string
	Value any
}

// Hash is the short hash of a LoRA or embedding file, 12 hex digits.
type Hash struct{ Name, Hash string }

// Hires are the facts about the second pass of a text-to-image job.
type Hires struct {
	Checkpoint       string  // "name [10 hex digits]", when the request named one
	Sampler          *string // as the request sent it; nil or empty: that of the first pass
	Scheduler        *string // as the request sent it; nil: that of the first pass
	Prompt           string  // final texts; equal to the main ones when not given
	NegativePrompt   string
	Scale            float64
	ResizeX, ResizeY int     // as requested; any of them set replaces Scale
	Steps            int     // 0: those of the first pass
	Upscaler         *string // as the request sent it
}

// Inpaint are the facts about the mask of an image-to-image job. A blank mask
// with OnlyMasked is no mask in A1111: leave Inpaint nil then.
type Inpaint struct {
	Inverted     bool
	BlurX, BlurY int
	OnlyMasked   bool // inpaint_full_res
	Padding      int
	Content      int // inpainting_fill, 0 to 3
}

// Sampling are option values; each is recorded where it has an effect and is not
// at its default.
type Sampling struct {
	EtaAncestral, EtaDDIM   float64 // defaults 1 and 0
	EtaTCD                  float64 // default 0.3
	StepCache               float64 // option step_cache, 0 = off
	SigmaMin, SigmaMax, Rho float64 // 0: the scheduler's own
	DiscardPenultimate      bool    // option always_discard_next_to_last_sigma
	SGMNoiseMultiplier      bool
	ExtraNoise              float64 // option img2img_extra_noise
	SChurn, STmin, STmax    float64
	SNoise                  float64 // default 1
	PadConds, PadCondsV0    bool    // where the prompts were padded to one length
	OldTimelines            bool    // option use_old_scheduling, where it changes a prompt
	DowncastAlphas          bool    // option use_downcasted_alpha_bar
	ZeroTerminalSNR         bool    // option sd_noise_schedule at this value
	VAEEncoder, VAEDecoder  string  // where one was used; default "Full"
}

// Refiner is a checkpoint that took over during sampling.
type Refiner struct {
	Checkpoint string   // "name [10 hex digits]"
	SwitchAt   *float64 // as the request sent it
}
