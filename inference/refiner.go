package inference

import (
	"context"
	"math"

	"sdworker/fault"
	"sdworker/inference/sampler"
)

// Refiner is a checkpoint that takes over during sampling.
type Refiner struct {
	Checkpoint string  // path
	SwitchAt   float64 // part of the run after which it takes over, 0..1; at 1 it never does
	BySteps    bool    // the run is counted in UNet calls instead of in training timesteps
	FirstPass  bool    // it acts in the first pass of a job with a hires pass
	SecondPass bool    // it acts in the hires pass
}

// refines reports whether the refiner acts in a pass.
func (j *job) refines(p *pass) bool {
	r := j.req.Refiner
	if r == nil {
		return false
	}
	if j.req.Hires == nil {
		return true
	}
	return p.hires && r.SecondPass || !p.hires && r.FirstPass
}

// refined reports whether a UNet call is one of the refiner.
func (j *job) refined(p *pass, b *sampler.Batch) bool {
	r := j.req.Refiner
	if !j.refines(p) {
		return false
	}
	if r.Checkpoint == j.eng.model.path {
		return true
	}
	done := float64(999-nearestTimestep(b.Timestep[0])) / 1000
	if r.BySteps {
		done = float64(b.Call) / float64(max(promptSteps(p.sampler, b.Steps), 1)) // those of a run from a picture are fewer
	}
	return done >= r.SwitchAt
}

// refine changes to the refiner before a UNet call for which it is due, with the prompts
// encoded anew by its text encoder (apply_refiner of modules/sd_samplers_common.py).
func (j *job) refine(ctx context.Context, p *pass, b *sampler.Batch) error {
	r := j.req.Refiner
	if !j.refined(p, b) || r.Checkpoint == j.eng.model.path {
		return nil
	}
	before := j.eng.Info()
	if err := j.use(ctx, r.Checkpoint); err != nil {
		return err
	}
	now := j.eng.Info()
	if before.UNetChannels != now.UNetChannels || before.VPrediction != now.VPrediction {
		return fault.FieldError("refiner_checkpoint", "the refiner is of another kind than the checkpoint: both must be for inpainting or not, and predict noise or velocity alike")
	}
	conds, err := j.conditions(ctx, p.prompt, p.negative, p.timing)
	if err != nil {
		return err
	}
	p.conds = conds
	j.res.Refined = true
	return nil
}

// nearestTimestep is the training timestep whose noise level is nearest to that of a
// timestep between two.
func nearestTimestep(t float32) int {
	sigma := func(t int) float64 {
		a := sampler.SignalPower(float32(t))
		return math.Sqrt((1 - a) / a)
	}
	low, high := int(math.Floor(float64(t))), int(math.Ceil(float64(t)))
	w := float64(t) - float64(low)
	at := math.Exp((1-w)*math.Log(sigma(low)) + w*math.Log(sigma(high)))
	if at-sigma(low) <= sigma(high)-at {
		return low
	}
	return high
}
