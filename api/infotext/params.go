package infotext

import "sdworker/inference"

// Params are the facts about one picture that its text tells. Defaults are
// resolved: options stand in where a request was silent. An empty string or a nil
// pointer leaves its key out.
type Params struct {
	// Request is what was painted. Fields below that it has, too, are told otherwise
	// than they are used.
	Request *inference.Request

	Scheduler     *string  // as the request sent it
	Eta           *float64 // as the request sent it; nil: the option of the sampler's kind
	ImageCFGScale *float64 // InstructPix2Pix models only
	Seed          int64    // of this picture
	VariationSeed int64    // of this picture
	Width, Height int      // as requested, not as rounded

	FaceRestoration string // name of the model, when faces are restored
	ModelHash       string // 10 hex digits; empty with option add_model_hash_to_info off
	Model           string
	FP8Weight       string // option fp8_storage, when in use
	CacheFP16       *bool  // option cache_fp16_weight, when FP8 is in use
	VAEHash         string // of a VAE that was chosen, not the checkpoint's own
	VAE             string

	ConditionalMaskWeight *float64 // checkpoints with inpainting channels only
	TokenMergingRatio     float64  // in effect for the first pass
	TokenMergingRatioHR   float64  // in effect for the second pass
	InitImageHash         string

	Scripts    []Entry // what always-on scripts add, in their order
	Hires      *Hires  // with Request.Hires
	Loras      []Hash  // in the order of their tags, the hires pass last
	Embeddings []Hash
	Encoded    []string // the texts the text encoder saw, prompt editing resolved
	Sampling   Sampling
	Refiner    *Refiner

	RefinerBySteps bool   // option refiner_switch_by_sample_steps
	HiresRefiner   string // option hires_fix_refiner_pass, off its default

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

// Hires are the facts about the second pass of a text-to-image job that its request
// does not have as they were sent.
type Hires struct {
	Checkpoint       string  // "name [10 hex digits]", when the request named one
	Sampler          *string // nil or empty: that of the first pass
	Scheduler        *string // nil: that of the first pass
	Scale            float64
	ResizeX, ResizeY int // any of them set replaces Scale
	Upscaler         *string
}

// Sampling are facts about the sampling beside the settings of the request; each is
// recorded where it has an effect and is not at its default. The etas and the S
// values are those of the options, also where a request had others: so does A1111.
type Sampling struct {
	EtaAncestral, EtaDDIM  float64 // defaults 1 and 0
	SChurn, STmin, STmax   float64
	SNoise                 float64 // default 1
	PadConds, PadCondsV0   bool    // where the prompts were padded to one length
	OldTimelines           bool    // option use_old_scheduling, where it changes a prompt
	VAEEncoder, VAEDecoder string  // where one was used; default "Full"
}

// Refiner is a checkpoint that took over during sampling.
type Refiner struct {
	Checkpoint string   // "name [10 hex digits]"
	SwitchAt   *float64 // as the request sent it
}
