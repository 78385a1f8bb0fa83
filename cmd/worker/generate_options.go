package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pictureFields are fields of the API's request, sent on as they are when they
// were given. Their defaults are the API's.
type pictureFields struct {
	Prompt          string  `env:"PROMPT" doc:"what the picture shows; A1111's whole prompt language"`
	NegativePrompt  string  `env:"NEGATIVE_PROMPT" doc:"what it does not show"`
	Steps           int     `env:"STEPS" doc:"sampling steps (default 50)"`
	CFGScale        float64 `env:"CFG_SCALE" doc:"how strictly the prompt is followed (default 7)"`
	Sampler         string  `env:"SAMPLER" doc:"sampler, such as \"Euler a\" or \"DPM++ 2M\" (default Euler)"`
	Scheduler       string  `env:"SCHEDULER" doc:"noise schedule, such as Karras (default Automatic)"`
	Width           int     `env:"WIDTH" doc:"pixels, a multiple of 8 (default 512)"`
	Height          int     `env:"HEIGHT" doc:"pixels, a multiple of 8 (default 512)"`
	Seed            int64   `env:"SEED" doc:"of the first picture, -1 = random (default -1)"`
	BatchSize       int     `env:"BATCH_SIZE" doc:"pictures made at the same time (default 1)"`
	NIter           int     `env:"N_ITER" doc:"batches made one after another (default 1)"`
	ClipSkip        int     `env:"CLIP_SKIP" doc:"1 to 12, 2 = the last but one layer of the text encoder (default 1)"`
	StepCache       float64 `env:"STEP_CACHE" doc:"0 to 1, reuse predictions that would change by less than this share; higher is faster, 0 exact (default 0)"`
	Tiling          bool    `env:"TILING" doc:"make the picture seamless"`
	Subseed         int64   `env:"SUBSEED" doc:"variation seed, -1 = random (default -1)"`
	SubseedStrength float64 `env:"SUBSEED_STRENGTH" doc:"0 to 1, how much of the variation (default 0)"`
}

// hiresFields turn on A1111's second pass.
type hiresFields struct {
	EnableHr          bool    `env:"ENABLE_HR" doc:"scale up and refine in a second pass"`
	HrScale           float64 `env:"HR_SCALE" doc:"factor (default 2)"`
	HrUpscaler        string  `env:"HR_UPSCALER" doc:"upscaler, such as Latent or Lanczos"`
	HrSecondPassSteps int     `env:"HR_SECOND_PASS_STEPS" doc:"steps of the second pass, 0 = the same as the first (default 0)"`
}

// initFields turn the request into img2img, and with a mask into inpainting.
type initFields struct {
	InitImage         string  `env:"INIT_IMAGE" doc:"start from this picture file, - = standard input"`
	DenoisingStrength float64 `env:"DENOISING_STRENGTH" doc:"0 to 1, how much img2img and the second pass change (default 0.75)"`
	ResizeMode        int     `env:"RESIZE_MODE" doc:"of the first picture: 0 stretch, 1 crop, 2 fill, 3 stretch the latent (default 0)"`
	Mask              string  `env:"MASK" doc:"picture file, white = repaint"`
	MaskBlur          int     `env:"MASK_BLUR" doc:"pixels (default 4)"`
	InpaintingFill    int     `env:"INPAINTING_FILL" doc:"of the masked area: 0 fill, 1 original, 2 latent noise, 3 latent nothing (default 0)"`
	InpaintFullRes    bool    `env:"INPAINT_FULL_RES" doc:"repaint the masked area at full resolution (default true)"`
	FullResPadding    int     `env:"INPAINT_FULL_RES_PADDING" doc:"pixels around the masked area (default 0)"`
	MaskInvert        bool    `env:"INPAINTING_MASK_INVERT" doc:"repaint what is black"`
}

// outputOptions say what is written, where and how.
type outputOptions struct {
	Output  string `env:"OUTPUT" envDefault:"." doc:"file, or folder in which to number the files, or - = standard output"`
	Format  string `env:"FORMAT" doc:"png, jpeg or webp; without it the file name decides, else png"`
	Prompts string `env:"PROMPTS" doc:"file with one prompt on each line, in place of --prompt"`
	Grid    string `env:"GRID" doc:"also write all pictures as one PNG file"`
	Quiet   bool   `env:"QUIET" doc:"print nothing but the paths"`
	JSON    bool   `env:"JSON" doc:"print seeds, seconds per phase and paths as JSON"`
}

// pictureFormats are those of pictures by their A1111 name (option samples_format)
// with the file endings that mean them.
var pictureFormats = []struct {
	name    string
	endings []string
}{
	{"png", []string{"png"}},
	{"jpg", []string{"jpg", "jpeg"}},
	{"webp", []string{"webp"}},
}

// formatOf finds a format by one of its endings.
func formatOf(ending string) (string, bool) {
	for _, f := range pictureFormats {
		if slices.Contains(f.endings, strings.ToLower(ending)) {
			return f.name, true
		}
	}
	return "", false
}

func (o *outputOptions) Validate() []error {
	if o.Format == "" {
		return nil
	}
	if _, ok := formatOf(o.Format); !ok {
		return []error{fmt.Errorf("--format %q is none of png, jpeg, webp", o.Format)}
	}
	return nil
}

// format is the A1111 name of the format to write.
func (o *outputOptions) format() string {
	for _, ending := range []string{o.Format, strings.TrimPrefix(filepath.Ext(o.Output), ".")} {
		if name, ok := formatOf(ending); ok {
			return name
		}
	}
	return "png"
}

// isFolder reports whether files are numbered inside Output.
func (o *outputOptions) isFolder() bool {
	if info, err := os.Stat(o.Output); err == nil {
		return info.IsDir()
	}
	return strings.HasSuffix(o.Output, "/") || filepath.Ext(o.Output) == ""
}
