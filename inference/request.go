package inference

import (
	"math"

	"sdworker/fault"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/prompt"
	"sdworker/inference/regions"
	"sdworker/inference/sampler"
	"sdworker/internal/fileid"
)

// Request is one job, complete: names, defaults, styles and random seeds are
// resolved before it is made, so that the pipeline has nothing to look up. It holds
// plain values only and can cross a process border.
type Request struct {
	// Prompt and NegativePrompt are the texts with styles merged and comments
	// removed. Extra network tags are still inside.
	Prompt, NegativePrompt string

	Seed            int64 // of the first image, never negative
	Subseed         int64 // variation seed, never negative
	SubseedOpen     bool  // the client left the variation seed to chance
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
	Refiner *Refiner      // takes over during sampling when set
	Control []ControlUnit // ControlNet units
	Regions *regions.Spec // how Prompt is divided among areas of the picture; nil = not at all
	Details []DetailUnit  // what is repainted in every finished picture, in turn

	// MapsOnly makes no pictures: Result.Maps are what the preprocessors make of the units'
	// pictures, at their own resolution.
	MapsOnly bool

	// DetailsOnly leaves img2img out: the units work on the first init image.
	DetailsOnly bool

	Files    Files
	Settings Settings
	Preview  Preview
}

// Kind is "img2img" for a request that begins with a picture, else "txt2img".
func (r *Request) Kind() string {
	if r.Init != nil {
		return "img2img"
	}
	return "txt2img"
}

// Images is how many pictures the request asks for.
func (r *Request) Images() int { return r.BatchSize * r.BatchNum }

// Files are the model files that a request needs, resolved to paths.
type Files struct {
	Checkpoint string                   // path of the checkpoint
	VAE        string                   // path of a VAE that replaces the checkpoint's; "" = its own
	LoRAs      map[string]string        // name or alias as written in a tag -> path
	Hypernets  map[string]string        // name as written in a tag -> path
	Embeddings map[string]string        // name -> path of all textual inversion files that may be used
	TAESD      string                   // path of the preview decoder; "" = none
	Upscalers  map[string]UpscalerModel // by the upscalers' names
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
	Padding      int          // pixels around the masked area
	Soft         *latent.Soft // soft inpainting when set
}

// Hires is the second pass of txt2img. Whoever makes the request computes its
// sizes, by imageio.Hires and the functions beside it.
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

// MapsOf is the request for what the preprocessors of units make of their pictures.
func MapsOf(files Files, units ...ControlUnit) *Request {
	return &Request{
		MapsOnly: true, Files: files, Control: units, Settings: DefaultSettings(), Steps: 1, BatchSize: 1, BatchNum: 1, Width: LatentScale, Height: LatentScale,
	}
}

// ControlUnit is one ControlNet unit.
type ControlUnit struct {
	Model        string // path of the file, a ControlNet or an IP-Adapter
	Encoder      string // path of the image encoder that an IP-Adapter looks at pictures with; "" for a ControlNet
	Module       string // preprocessor: none, canny, invert ...
	Network      string // path of the network that the preprocessor needs; "" where it needs none
	Image        imageio.RGB
	Mask         *imageio.Gray    // for inpainting, of the image's size: white = repaint; nil without one
	More         []ControlPicture // beside Image and Mask, of an IP-Adapter only, which sees the mean of all
	OfInit       bool             // image, mask and resize mode are those of Init; Image and Mask are not used
	CropToMask   bool             // the image is cut as an only-masked job cuts its init image
	Weight       float64
	Region       *imageio.Gray // where it acts, white = fully; nil = everywhere
	LayerWeights []float64     // strengths instead of Weight and of what Mode does to layers, of ControlLayers or ImageLayers; nil for none
	ResizeMode   int           // 0 stretch, 1 crop, 2 fill
	Start, End   float64       // fraction of the steps during which it acts
	Mode         ControlMode
	PixelPerfect bool
	Resolution   int // of the preprocessor, pixels of the short side
	ThresholdA   float64
	ThresholdB   float64
	LowRes       bool // acts in the first pass
	HighRes      bool // acts in the hires pass
	ReturnMap    bool // append the preprocessor's picture to the result
}

// ControlPicture is a picture that an IP-Adapter looks at.
type ControlPicture struct {
	Image imageio.RGB
	Mask  *imageio.Gray // of the image's size, white is not seen; nil without one
}

// ControlNets is how many of some units are ControlNets.
func ControlNets(units []ControlUnit) (n int) {
	for _, u := range units {
		if u.Encoder == "" {
			n++
		}
	}
	return n
}

// Layers is how many layers the unit acts on.
func (u *ControlUnit) Layers() int {
	if u.Encoder != "" {
		return ImageLayers
	}
	return ControlLayers
}

// ControlMode balances prompt against control picture.
type ControlMode int

// Control modes of the ControlNet extension.
const (
	ControlModeBalanced ControlMode = iota
	ControlModePrompt
	ControlModeControlNet
)

// Settings are the A1111 options that shape a picture, those of sampling
// included. DefaultSettings holds A1111's defaults.
type Settings struct {
	sampler.Options

	ClipSkip             int        // CLIP_stop_at_last_layers, 1..12
	Emphasis             string     // None, Ignore, Original, No norm
	CommaBacktrack       int        // comma_padding_backtrack, tokens
	NoiseSource          string     // randn_source: GPU, CPU or NV
	ENSD                 int64      // eta_noise_seed_delta
	ColorCorrection      bool       // img2img_color_correction
	OverlayInpaint       bool       // overlay_inpaint
	ConditionWeight      float64    // inpainting_mask_weight: how far an inpainting checkpoint's picture loses what is masked, 0..1
	PadCondUncond        bool       // pad_cond_uncond
	PadCondUncondV0      bool       // pad_cond_uncond_v0
	OldEditingTimelines  bool       // use_old_scheduling
	FreeU                TimedFreeU // what the UNet's skip connections and backbone are scaled by
	DisableExtraNetworks bool       // request field disable_extra_networks: tags are cut but do nothing
	UpscalerForImg2Img   string     // upscaler_for_img2img
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

	MaxControlUnits = 10 // the most that the extension's settings allow
	MaxUnitPictures = 16 // of an IP-Adapter; each is a call of the image encoder

	MaxPromptBytes  = 128 << 10 // of one prompt as it was sent
	MaxPromptParts  = 64        // joined by AND; each is a row of every UNet call
	MaxTextChunks   = 64        // of 75 tokens in one text
	MaxPromptChunks = 1024      // in all texts that a prompt becomes by its editing
)

// Result is what a job produced.
type Result struct {
	Images      []Image
	Maps        []imageio.RGBA // preprocessed ControlNet pictures; what an inpainting mask covers is half transparent
	Interrupted bool           // ended early by Interrupt; Images holds what there was
	Skipped     bool

	UsedLoRAs      []string    // names, in the order of their tags
	UsedEmbeddings []string    // names, in the order of first use, without those inside LoRAs
	Files          []fileid.ID // versions of the model files that made the pictures, where the engine tells
	Refined        bool        // the refiner took over
	Inpainting     bool        // the checkpoint takes mask and masked picture beside the latent
	PaddedConds    bool        // prompts of unequal length were padded: infotext "Pad conds"
	Comments       []string    // what was ignored or replaced, for the client
	Timings        Timings
	Company        Company
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

// Company tells how a job shared the engine with others.
type Company struct {
	Calls int     // of the UNet that had rows of the job
	Rows  int     // in them, those of others included
	Wait  float64 // seconds for which its calls waited for the engine; Timings have them, too
}

// Check reports an Invalid error that names the first field out of range. The
// bounds keep the native code's arithmetic safe; they are wider than what fits
// into memory.
func (r *Request) Check() error {
	switch {
	case r.Steps < 1 || r.Steps > MaxSteps:
		return fault.FieldError("steps", "steps is %d, want 1 to %d", r.Steps, MaxSteps)
	case !finite(r.CFGScale) || math.Abs(r.CFGScale) > 1000:
		return fault.FieldError("cfg_scale", "cfg_scale is %g, want a number between -1000 and 1000", r.CFGScale)
	case r.BatchSize < 1 || r.BatchSize > MaxImages:
		return fault.FieldError("batch_size", "batch_size is %d, want 1 to %d", r.BatchSize, MaxImages)
	case r.BatchNum < 1 || r.BatchNum > MaxImages:
		return fault.FieldError("n_iter", "n_iter is %d, want 1 to %d", r.BatchNum, MaxImages)
	case r.Images() > MaxImages:
		return fault.FieldError("n_iter", "batch_size times n_iter is %d images, want at most %d", r.Images(), MaxImages)
	case !finite(r.DenoisingStrength) || r.DenoisingStrength < 0 || r.DenoisingStrength > 1:
		return fault.FieldError("denoising_strength", "denoising_strength is %g, want 0 to 1", r.DenoisingStrength)
	case !finite(r.SubseedStrength):
		return fault.FieldError("subseed_strength", "subseed_strength is not a finite number")
	case !(r.Settings.StepCache >= 0 && r.Settings.StepCache <= 1):
		return fault.FieldError("step_cache", "step_cache is %g, want 0 (off) to 1", r.Settings.StepCache)
	case r.Settings.ClipSkip < 1 || r.Settings.ClipSkip > 12:
		return fault.FieldError("CLIP_stop_at_last_layers", "CLIP_stop_at_last_layers is %d, want 1 to 12", r.Settings.ClipSkip)
	case r.SeedResizeW > MaxSide || r.SeedResizeH > MaxSide:
		return fault.FieldError("seed_resize_from_w", "seed resize from %dx%d, want at most %d a side", r.SeedResizeW, r.SeedResizeH, MaxSide)
	case r.SeedResizeW > 0 && r.SeedResizeW < LatentScale || r.SeedResizeH > 0 && r.SeedResizeH < LatentScale:
		return fault.FieldError("seed_resize_from_w", "seed resize from %dx%d, want at least %d a side", r.SeedResizeW, r.SeedResizeH, LatentScale)
	}
	if err := checkSize("width", "height", r.Width, r.Height); err != nil {
		return err
	}
	for name, v := range map[string]float64{
		"eta": r.Settings.Eta, "eta_ddim": r.Settings.EtaDDIM, "eta_tcd": r.Settings.EtaTCD, "s_churn": r.Settings.SChurn, "s_tmin": r.Settings.STmin,
		"s_noise": r.Settings.SNoise, "s_min_uncond": r.Settings.SMinUncond, "sigma_min": r.Settings.SigmaMin,
		"sigma_max": r.Settings.SigmaMax, "rho": r.Settings.Rho, "inpainting_mask_weight": r.Settings.ConditionWeight,
	} {
		if !finite(v) {
			return fault.FieldError(name, "%s is not a finite number", name)
		}
	}
	if err := checkPrompt("prompt", r.Prompt); err != nil {
		return err
	}
	if err := checkPrompt("negative_prompt", r.NegativePrompt); err != nil {
		return err
	}
	if err := r.checkRegions(); err != nil {
		return err
	}
	if r.Init != nil {
		if err := r.Init.check(r); err != nil {
			return err
		}
	}
	if h := r.Hires; h != nil {
		if err := h.check(); err != nil {
			return err
		}
	}
	if len(r.Control) > MaxControlUnits {
		return fault.FieldError("alwayson_scripts", "%d ControlNet units are on, want at most %d", len(r.Control), MaxControlUnits)
	}
	if f := r.Refiner; f != nil && !finite(f.SwitchAt) {
		return fault.FieldError("refiner_switch_at", "refiner_switch_at is not a finite number")
	}
	if err := r.Settings.FreeU.Check(); err != nil {
		return err
	}
	for _, u := range r.Control {
		if err := u.check(r); err != nil {
			return err
		}
	}
	if r.DetailsOnly && r.Init == nil {
		return fault.FieldError("alwayson_scripts", "there is no init image whose details could be repainted")
	}
	for i := range r.Details {
		if err := r.Details[i].check(r); err != nil {
			return err
		}
	}
	return nil
}

func (u *ControlUnit) check(r *Request) error {
	switch {
	case u.OfInit && r.Init != nil:
	case u.OfInit:
		return fault.FieldError("alwayson_scripts", "a ControlNet unit has no image")
	default:
		if err := (ControlPicture{u.Image, u.Mask}).check(); err != nil {
			return err
		}
	}
	switch n := len(u.More) + 1; {
	case n > 1 && (u.Encoder == "" || u.OfInit):
		return fault.FieldError("alwayson_scripts", "a ControlNet unit takes one image, %d were sent", n)
	case n > MaxUnitPictures:
		return fault.FieldError("alwayson_scripts", "a ControlNet unit of an IP-Adapter takes at most %d images, %d were sent", MaxUnitPictures, n)
	}
	for _, m := range u.More {
		if err := m.check(); err != nil {
			return err
		}
	}
	if u.Region != nil && (u.Region.W < 1 || u.Region.H < 1 || len(u.Region.Pix) != u.Region.W*u.Region.H) {
		return fault.FieldError("alwayson_scripts", "the effective region mask of a ControlNet unit is empty")
	}
	if want := u.Layers(); u.LayerWeights != nil && len(u.LayerWeights) != want {
		return fault.FieldError("alwayson_scripts", "a ControlNet unit has %d layer weights, want %d", len(u.LayerWeights), want)
	}
	return nil
}

func (p ControlPicture) check() error {
	switch {
	case p.Image.W < 1 || p.Image.H < 1 || len(p.Image.Pix) != 3*p.Image.W*p.Image.H:
		return fault.FieldError("alwayson_scripts", "a ControlNet unit has no image")
	case p.Mask != nil && (p.Mask.W != p.Image.W || p.Mask.H != p.Image.H):
		return fault.FieldError("alwayson_scripts", "the mask of a ControlNet unit has %dx%d pixels, its image %dx%d", p.Mask.W, p.Mask.H, p.Image.W, p.Image.H)
	}
	return nil
}

func (in *Init) check(r *Request) error {
	switch n := len(in.Images); {
	case n == 0:
		return fault.FieldError("init_images", "no init image given")
	case n > r.BatchSize:
		return fault.FieldError("init_images", "bad number of images passed: %d; expecting %d or less", n, r.BatchSize)
	case in.Width != 0 && in.Width/LatentScale != r.Width/LatentScale:
		return fault.FieldError("width", "init images of width %d give no latents for a width of %d", in.Width, r.Width)
	case in.Height != 0 && in.Height/LatentScale != r.Height/LatentScale:
		return fault.FieldError("height", "init images of height %d give no latents for a height of %d", in.Height, r.Height)
	}
	for _, m := range in.Images {
		if m.W < 1 || m.H < 1 || m.W > 4*MaxSide || m.H > 4*MaxSide || len(m.Pix) != 3*m.W*m.H {
			return fault.FieldError("init_images", "an init image of %dx%d pixels cannot be used", m.W, m.H)
		}
	}
	if in.ResizeMode < 0 || in.ResizeMode > 3 {
		return fault.FieldError("resize_mode", "resize_mode is %d, want 0 to 3", in.ResizeMode)
	}
	m := in.Mask
	if m == nil {
		return nil
	}
	switch {
	case m.Image.W < 1 || m.Image.H < 1 || len(m.Image.Pix) != m.Image.W*m.Image.H:
		return fault.FieldError("mask", "the mask is empty")
	case m.BlurX < 0 || m.BlurY < 0 || m.BlurX > 1024 || m.BlurY > 1024:
		return fault.FieldError("mask_blur", "mask blur is %dx%d, want 0 to 1024", m.BlurX, m.BlurY)
	case m.Fill < 0 || m.Fill > 3:
		return fault.FieldError("inpainting_fill", "inpainting_fill is %d, want 0 to 3", m.Fill)
	case m.Padding < 0 || m.Padding > MaxSide:
		return fault.FieldError("inpaint_full_res_padding", "inpaint_full_res_padding is %d, want 0 to %d", m.Padding, MaxSide)
	case m.Soft != nil:
		return m.Soft.Check()
	}
	return nil
}

// checkRegions validates what the division of the prompts makes of them.
func (r *Request) checkRegions() error {
	if r.Regions == nil {
		return nil
	}
	positive, negative, err := r.Divided(r.Prompt, r.NegativePrompt)
	if err != nil {
		return err
	}
	if err := checkPrompt("prompt", positive); err != nil {
		return err
	}
	return checkPrompt("negative_prompt", negative)
}

// Divided are prompts as they are encoded: without extra network tags, the positive one
// with AND between the parts that Regions makes of it.
func (r *Request) Divided(positive, negative string) (string, string, error) {
	text, _ := prompt.ExtractNetworks(positive)
	plan, err := r.Regions.Plan(text, negative)
	if err != nil {
		return "", "", regionsError(err)
	}
	return plan.Prompt, plan.Negative, nil
}

// checkPrompt bounds what a prompt may cost before it is parsed.
func checkPrompt(field, text string) error {
	if len(text) > MaxPromptBytes {
		return fault.FieldError(field, "%s has %d bytes, want at most %d", field, len(text), MaxPromptBytes)
	}
	if n := len(prompt.SplitAND(text)); n > MaxPromptParts {
		return fault.FieldError(field, "%s has %d parts joined by AND, want at most %d", field, n, MaxPromptParts)
	}
	return nil
}

func (h *Hires) check() error {
	if err := checkPrompt("hr_prompt", h.Prompt); err != nil {
		return err
	}
	if err := checkPrompt("hr_negative_prompt", h.NegativePrompt); err != nil {
		return err
	}
	if h.Steps < 0 || h.Steps > MaxSteps {
		return fault.FieldError("hr_second_pass_steps", "hr_second_pass_steps is %d, want 0 to %d", h.Steps, MaxSteps)
	}
	if h.Width < LatentScale || h.Height < LatentScale || h.Width > MaxSide || h.Height > MaxSide {
		return fault.FieldError("hr_scale", "the hires pass would be %dx%d pixels, want %d to %d a side", h.Width, h.Height, LatentScale, MaxSide)
	}
	if h.TruncateX < 0 || h.TruncateY < 0 || h.TruncateX >= h.Width/LatentScale || h.TruncateY >= h.Height/LatentScale {
		return fault.FieldError("hr_resize_x", "the hires crop leaves nothing of %dx%d pixels", h.Width, h.Height)
	}
	return nil
}

func checkSize(fieldW, fieldH string, w, h int) error {
	for _, side := range []struct {
		field string
		size  int
	}{{fieldW, w}, {fieldH, h}} {
		if side.size < LatentScale || side.size > MaxSide || side.size%LatentScale != 0 {
			return SideError(side.field, side.size)
		}
	}
	return nil
}

// SideError says which sides a picture may have. size is what was asked for.
func SideError(field string, size int) error {
	return fault.FieldError(field, "%s is %d, want a multiple of %d from %d to %d", field, size, LatentScale, LatentScale, MaxSide)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
