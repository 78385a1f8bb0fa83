package inference

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"

	"sdworker/fault"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
)

// DetailUnit repaints what a detector finds in a finished picture, each object by an
// img2img job of its own, as a unit of the ADetailer extension does.
type DetailUnit struct {
	Model      string           // path of the detector
	Confidence float64          // of what counts as found, 0..1
	Selection  detect.Selection // which objects count, and their masks

	// Prompts and NegativePrompts are those of the objects in turn, the last one is
	// that of all others. [SKIP] instead of a prompt leaves an object alone.
	Prompts, NegativePrompts []string

	Checkpoint, VAE    string // paths, as in Files
	Sampler, Scheduler string
	Steps              int
	CFGScale           float64
	Width, Height      int  // pixels
	OwnSize            bool // they are the unit's, not those of the job around it
	DenoisingStrength  float64
	NoiseMultiplier    float64 // as in Init
	Settings           Settings
	Control            []ControlUnit

	SameSeed     bool    // all objects have the picture's; else each one more
	DenoisePower float64 // how much less large objects change, 0 = as much as small ones
	MatchBoxes   bool    // each job has the proportions of its object, unless the unit has a size of its own

	Mask Mask // how it is inpainted; the picture of the mask is the object's
}

// request is the job that repaints what is white in mask, object i of a picture, which
// lies in a box.
func (u *DetailUnit) request(outer *Request, m imageio.RGB, mask imageio.Gray, box detect.Box, i int, seed, subseed int64) *Request {
	r := *outer
	r.Details, r.Control, r.Hires, r.Refiner, r.Regions, r.DetailsOnly = nil, u.Control, nil, nil, nil, false
	r.Prompt, r.NegativePrompt = turnOf(u.Prompts, i), turnOf(u.NegativePrompts, i)
	r.Seed, r.Subseed = seed, subseed
	if !u.SameSeed {
		r.Seed, r.Subseed = seed+int64(i), subseed+int64(i)
	}
	r.Sampler, r.Scheduler, r.Steps, r.CFGScale = u.Sampler, u.Scheduler, u.Steps, u.CFGScale
	w, h := u.size(box)
	r.Width, r.Height = imageio.FloorToLatent(w), imageio.FloorToLatent(h)
	r.BatchSize, r.BatchNum = 1, 1
	r.DenoisingStrength = u.strength(box, m.W, m.H)
	r.Files.Checkpoint, r.Files.VAE = u.Checkpoint, u.VAE
	r.Settings = u.Settings
	inpaint := u.Mask
	inpaint.Image = mask
	r.Init = &Init{Images: []imageio.RGB{m}, Width: w, Height: h, NoiseMultiplier: u.NoiseMultiplier, Mask: &inpaint}
	return &r
}

// strength is the denoising strength of an object in a picture of w by h pixels: the
// unit's times the power of what the box leaves free.
func (u *DetailUnit) strength(box detect.Box, w, h int) float64 {
	if u.DenoisePower == 0 {
		return u.DenoisingStrength
	}
	free := max(1-box.Area()/float64(w*h), 0)
	return min(u.DenoisingStrength*math.Pow(free, u.DenoisePower), 1)
}

// size is that of an object's job. One that is to match its box keeps the longer side
// and takes the box's proportions, where they make a difference of more than a tenth.
func (u *DetailUnit) size(box detect.Box) (w, h int) {
	across, down := float64(box.X2-box.X1), float64(box.Y2-box.Y1)
	if !u.MatchBoxes || u.OwnSize || across <= 0 || down <= 0 {
		return u.Width, u.Height
	}
	longer := float64(max(u.Width, u.Height))
	fitW, fitH := longer, longer
	if across > down {
		fitH /= across / down
	} else {
		fitW *= across / down
	}
	up := func(side float64) int { return int(math.Floor((side+LatentScale-1)/LatentScale)) * LatentScale }
	w, h = up(fitW), up(fitH)
	differs := func(a, b int) bool { return math.Abs(float64(a-b)) > 0.1*float64(b) }
	if !differs(w, u.Width) && !differs(h, u.Height) {
		return u.Width, u.Height
	}
	return w, h
}

// largest is the greatest size that a job of the unit has.
func (u *DetailUnit) largest() (w, h int) {
	if u.MatchBoxes && !u.OwnSize {
		return max(u.Width, u.Height), max(u.Width, u.Height)
	}
	return u.Width, u.Height
}

// turnOf is element i of a list, the last one of all that are beyond.
func turnOf(list []string, i int) string {
	if len(list) == 0 {
		return ""
	}
	return list[min(i, len(list)-1)]
}

// maxDetailPrompts is how many prompts a unit may have; more objects are not found.
const maxDetailPrompts = 300

// check validates a unit by the job that it makes.
func (u *DetailUnit) check(r *Request) error {
	const field = "alwayson_scripts"
	if !(u.Confidence >= 0 && u.Confidence <= 1) {
		return fault.FieldError(field, "ad_confidence is %g, want 0 to 1", u.Confidence)
	}
	if !(math.Abs(u.DenoisePower) <= 10) {
		return fault.FieldError("ad_dynamic_denoise_power", "ad_dynamic_denoise_power is %g, want -10 to 10", u.DenoisePower)
	}
	if max(len(u.Prompts), len(u.NegativePrompts)) > maxDetailPrompts {
		return fault.FieldError(field, "a prompt of ADetailer has more than %d parts", maxDetailPrompts)
	}
	for i := range max(len(u.Prompts), len(u.NegativePrompts), 1) {
		err := u.request(r, imageio.NewRGB(LatentScale, LatentScale), imageio.NewGray(LatentScale, LatentScale), detect.Box{}, i, 0, 0).Check()
		if err != nil {
			return fault.FieldError(field, "ADetailer: %s", fault.Message(err))
		}
	}
	return nil
}

// changesWeights tells whether a unit needs other weights than the job around it.
func (u *DetailUnit) changesWeights(r *Request, nets extraNets) bool {
	if u.otherFiles(r) {
		return true
	}
	inner := *r
	inner.Settings = u.Settings
	return slices.ContainsFunc(u.Prompts, func(text string) bool { return !nets.equal(extraNetsOf(&inner, text)) })
}

func (u *DetailUnit) otherFiles(r *Request) bool {
	return u.Checkpoint != r.Files.Checkpoint || u.VAE != r.Files.VAE
}

// skipped is a prompt that leaves its object alone.
var skipped = regexp.MustCompile(`^\s*\[SKIP\]\s*$`)

// detail repaints what the units find in a finished picture, image number i of the
// job, before colours are corrected and an inpainted picture is put back.
func (j *job) detail(ctx context.Context, m imageio.RGB, i int) (imageio.RGB, error) {
	for n := range j.req.Details {
		if j.stopped() {
			break
		}
		u := &j.req.Details[n]
		found, err := j.eng.Detect(ctx, u.Model, m, u.Confidence)
		switch code := fault.CodeOf(err); {
		case err == nil:
		case code == fault.Invalid || code == fault.NotFound:
			j.comment("ADetailer: " + fault.Message(err))
			continue
		default:
			return m, err
		}
		if len(found) == 0 {
			j.comment(fmt.Sprintf("ADetailer: %s found nothing in picture %d", filepath.Base(u.Model), i+1))
			continue
		}
		if m, err = j.repaint(ctx, u, m, found, i); err != nil {
			return m, err
		}
	}
	return m, nil
}

// repaint runs a unit's jobs, one for each mask.
func (j *job) repaint(ctx context.Context, u *DetailUnit, m imageio.RGB, found []detect.Found, image int) (imageio.RGB, error) {
	chosen := u.Selection.Choose(found, m.W, m.H)
	jobs := len(chosen)
	if u.Selection.Merge != detect.MergeNone {
		jobs = min(jobs, 1)
	}
	j.progress.Jobs += jobs
	within := j.inpainted(m.W, m.H)
	i := 0
	for mask := range u.Selection.Masks(chosen, m.W, m.H) {
		if within.Pix != nil && !detect.Meet(within, mask) {
			continue
		}
		if j.stopped() {
			break
		}
		var err error
		if m, err = j.repaintOne(ctx, u.request(j.req, m, mask, chosen[min(i, len(chosen)-1)].Box, i, j.seeds[image], j.subseeds[image]), m); err != nil {
			return m, err
		}
		i++
	}
	if u.otherFiles(j.req) || j.eng.model.path != j.req.Files.Checkpoint {
		return m, j.use(ctx, j.req.Files.Checkpoint)
	}
	return m, nil
}

// repaintOne makes one object anew by a job of its own.
func (j *job) repaintOne(ctx context.Context, r *Request, m imageio.RGB) (imageio.RGB, error) {
	if skipped.MatchString(r.Prompt) {
		return m, nil
	}
	inner := &job{pipeline: j.pipeline, req: r, hooks: j.hooks, turn: j.turn, res: &Result{}, inside: true, progress: j.progress}
	err := inner.run(ctx)
	j.progress = inner.progress
	for _, text := range inner.res.Comments {
		j.comment(text)
	}
	j.res.Timings.add(inner.res.Timings)
	if err != nil {
		return m, err
	}
	if err := j.uses(inner.res.Files...); err != nil {
		return m, err
	}
	if len(inner.res.Images) > 0 {
		m = inner.res.Images[0].Pixels
	}
	return m, nil
}

// inpainted is the mask of an img2img job that inpaints a whole picture, at a size;
// without pixels for all other jobs. Objects that it does not touch stay as they are.
func (j *job) inpainted(w, h int) imageio.Gray {
	in := j.req.Init
	if in == nil || in.Mask == nil || in.Mask.OnlyMasked || j.req.DetailsOnly {
		return imageio.Gray{}
	}
	mask := in.Mask.Image
	if in.Mask.Invert {
		mask = mask.Invert()
	}
	return sized(imageio.ResizeMaskMode(maskMode(in.ResizeMode), mask, j.req.Width, j.req.Height), w, h)
}

// add adds the seconds of a job inside this one.
func (t *Timings) add(inner Timings) {
	t.Load += inner.Load
	t.Encode += inner.Encode
	t.Sample += inner.Sample
	t.Decode += inner.Decode
	t.Upscale += inner.Upscale
}
