package sampler

import (
	"context"
	"errors"
	"fmt"

	"sdworker/inference/latent"
	"sdworker/inference/rng"
)

// Job is one batch of images on its way through a sampler.
type Job struct {
	Sampler   string // exact name, see Find
	Scheduler string // name or label; "" means Automatic
	Steps     int    // 1 or more
	CFGScale  float64

	// RNG is a fresh source of noise. It also tells the shape and the seeds.
	RNG *rng.ImageRNG

	Prompts   [][]Part   // for each image the parts of its prompt, joined by AND
	MaskSteps int        // steps after which masks of parts no longer act; 0 = never
	Negatives []Schedule // for each image its negative prompt

	UNet UNet

	// Inputs tells apart what the network gets at a call beside the batch, such as
	// the ControlNet units in force. Option StepCache reuses a prediction under
	// the same number only. Nil means that nothing changes.
	Inputs func(b *Batch) uint64

	Prediction Prediction
	Options    Options
	Img2Img    *Img2Img // starts from a picture when set

	// OnStep follows the run: step counts from 0 to total-1 (DPM adaptive may go
	// beyond), predicted [N,C,H,W] is the picture that the first part of each
	// prompt leads to, or where parts have masks all of them at scale 1. The slice is
	// valid during the call only.
	OnStep func(step, total int, predicted []float32)

	// Predictions, when set, counts what option StepCache saved.
	Predictions *Predictions

	// Stop is asked before each UNet call. Once it is true the run ends without
	// an error and the result is the last predicted picture.
	Stop func() bool
}

// Img2Img is the part of a job that starts from a picture.
type Img2Img struct {
	Latent   []float32 // [N,C,H,W] of the pictures
	Strength float64   // denoising strength, 0..1

	// Steps is the count of the hires pass, which runs exactly that many steps.
	// 0 lets the strength shorten Job.Steps; see PlanImg2Img.
	Steps int

	NoiseMultiplier float64   // factor of the start noise, 1 = as drawn
	Mask            []float32 // [H,W], 1 = repaint, 0 = keep; nil repaints all

	// Soft mixes by the mask otherwise, and leaves the result as it is; nil does not.
	Soft *latent.Soft
}

// Predictions counts the guided predictions of a run, one for each image and call.
type Predictions struct{ All, Reused int }

// Part is one of the prompts joined by AND.
type Part struct {
	Weight   float64
	Schedule Schedule

	// Mask has a factor for what the part adds to the negative prompt at each place of
	// the latent, [H,W]; nil is 1 everywhere.
	Mask []float32
}

// Schedule lists the conditions of one prompt over the run. Entry by entry the
// first whose EndAt is not below the number of UNet calls made so far is in
// force; past the last entry it is the first one again, as in A1111.
type Schedule []Entry

// Entry is one condition of a prompt under editing.
type Entry struct {
	EndAt int // last UNet call, counted from 0
	Cond  int // handle that the UNet callback knows
}

// at returns the handle for a UNet call.
func (s Schedule) at(call int) int {
	for _, e := range s {
		if call <= e.EndAt {
			return e.Cond
		}
	}
	return s[0].Cond
}

// Prediction says what the UNet predicts.
type Prediction int

// Predictions.
const (
	Epsilon  Prediction = iota // the noise
	Velocity                   // v of v-prediction checkpoints
)

// UNet predicts the noise (or v) of all rows of a batch in one call and returns
// it in the shape of Batch.X. It must keep neither the batch nor the result.
type UNet func(ctx context.Context, b *Batch) ([]float32, error)

// Batch is the input of one UNet call.
type Batch struct {
	X        []float32 // [rows,C,H,W], scaled for the network
	Timestep []float32 // [rows], 0..999, fractions allowed
	Rows     []Row

	Call        int // predictions before this one
	Step, Steps int // last step reported to OnStep (0 before the first) and their number
}

// Row says what one row of a batch is.
type Row struct {
	Image int // index of the image in the job
	Cond  int // handle from a Schedule
	Kind  RowKind
}

// RowKind is the role of a row in guidance.
type RowKind int

// Kinds of rows. All prompt rows come before the others, then the perturbed ones.
const (
	Prompt    RowKind = iota // one part of the prompt
	Perturbed                // the same without self-attention in the network's middle
	Negative                 // the negative prompt
)

// Conditional reports whether a row has the prompt.
func (k RowKind) Conditional() bool { return k == Prompt || k == Perturbed }

// validate finds what no sampler could run with.
func (j *Job) validate() error {
	if j.RNG == nil || j.UNet == nil {
		return errors.New("sampler: a job needs RNG and UNet")
	}
	if j.Steps < 1 {
		return fmt.Errorf("steps is %d: use 1 or more", j.Steps)
	}
	cfg := j.RNG.Config()
	images := len(cfg.Seeds)
	if images == 0 || len(j.Prompts) != images || len(j.Negatives) != images {
		return fmt.Errorf("sampler: %d seeds, %d prompts and %d negative prompts: one of each per image",
			images, len(j.Prompts), len(j.Negatives))
	}
	for i, parts := range j.Prompts {
		if len(parts) == 0 || len(j.Negatives[i]) == 0 {
			return fmt.Errorf("sampler: image %d has no condition", i)
		}
		for _, p := range parts {
			if len(p.Schedule) == 0 {
				return fmt.Errorf("sampler: a prompt part of image %d has no condition", i)
			}
			if plane := cfg.Shape.H * cfg.Shape.W; p.Mask != nil && len(p.Mask) != plane {
				return fmt.Errorf("sampler: the mask of a prompt part has %d values, a latent plane %d", len(p.Mask), plane)
			}
		}
	}
	if in := j.Img2Img; in != nil {
		if len(in.Latent) != j.RNG.Len() {
			return fmt.Errorf("sampler: the init latent has %d values, the noise %d", len(in.Latent), j.RNG.Len())
		}
		if plane := cfg.Shape.H * cfg.Shape.W; in.Mask != nil && len(in.Mask) != plane {
			return fmt.Errorf("sampler: the mask has %d values, a latent plane %d", len(in.Mask), plane)
		}
	}
	return nil
}
