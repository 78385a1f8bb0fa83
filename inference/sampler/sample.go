package sampler

import (
	"context"
	"errors"
	"slices"

	"sdworker/inference/latent"
	"sdworker/inference/rng"
)

// run is what a sampler's loop works with. The loop moves x along the sigmas or
// timesteps.
type run struct {
	x         []float32
	schedule  []float32 // falling; k-diffusion samplers
	sigmas    []float32 // the part of the schedule to walk
	timesteps []int     // ascending; DDIM family
	img2img   bool

	// sigmaMin, sigmaMax and count replace the sigmas for the DPM-Solver samplers,
	// which place their own.
	sigmaMin, sigmaMax float32
	count              int

	model   *noiseModel
	options Options

	// predict sets dst to the prediction for x at a sigma (timestep for the DDIM
	// family).
	predict func(dst, x []float32, level float32) error
	// noise sets dst to unit noise for the step from sigma to next.
	noise func(dst []float32, sigma, next float32)
	// prepareNoise lets the noise of a coming step be made during a prediction.
	prepareNoise func(sigma, next float32)
	// report tells that a step has its prediction.
	report func(step int)
}

// buffers returns n scratch tensors in the shape of x.
func (r *run) buffers(n int) [][]float32 {
	list := make([][]float32, n)
	for i := range list {
		list[i] = make([]float32, len(r.x))
	}
	return list
}

// Sample runs a whole job and returns the latents [N,C,H,W]. After Job.Stop the
// result is what the last UNet call predicted (before the first call: the start
// latent). A context that ends is heeded before the next UNet call; other errors
// come from the UNet, or say which setting is wrong.
func Sample(ctx context.Context, job *Job) ([]float32, error) {
	x, err := sample(ctx, job)
	if err != nil {
		return nil, err
	}
	if in := job.Img2Img; in != nil && in.Mask != nil && in.Soft == nil {
		latent.Blend(x, in.Latent, in.Mask)
	}
	return x, nil
}

// sample is Sample without the last mask blend.
func sample(ctx context.Context, job *Job) ([]float32, error) {
	if err := job.validate(); err != nil {
		return nil, err
	}
	info, err := Find(job.Sampler)
	if err != nil {
		return nil, err
	}

	d := newDenoiser(job, info)
	r := &run{
		model:   d.model,
		options: info.effective(job.Options),
		img2img: job.Img2Img != nil,
		predict: func(dst, x []float32, level float32) error { return d.predict(ctx, dst, x, level) },
		noise:   func(dst []float32, _, _ float32) { job.RNG.Next(dst) },

		prepareNoise: func(_, _ float32) {},
	}
	plan := Img2ImgSteps{Schedule: job.Steps, Encode: job.Steps - 1}
	if in := job.Img2Img; in != nil {
		plan = PlanImg2Img(job.Steps, in.Strength, job.Options.FixSteps, in.Steps)
	}
	d.batch.Steps, d.steps = plan.Executed(), plan.Executed()
	r.report = func(step int) {
		d.batch.Step, d.reported = step, step+1
		if job.OnStep != nil {
			job.OnStep(step, plan.Executed(), d.last)
		}
	}

	if info.UsesScheduler() {
		err = r.startSigmas(job, info, plan)
	} else if info.spacing != nil {
		r.startSpaced(job, info.spacing(plan.Schedule), plan)
	} else {
		r.startTimesteps(job, plan)
		d.steps = len(r.timesteps) - 1
	}
	if err != nil {
		return nil, err
	}
	if job.Img2Img != nil {
		copy(d.last, job.Img2Img.Latent)
	} else {
		copy(d.last, r.x)
	}

	if path := r.brownian(info, job.RNG.Config()); path != nil {
		defer path.Close()
		r.noise, r.prepareNoise = path.Noise, path.Prepare
	}
	switch err := info.loop(r); {
	case errors.Is(err, errStopped):
		return d.last, nil
	case err != nil:
		return nil, err
	}
	return r.x, nil
}

// effective drops the options that A1111 does not hand to a sampler.
func (i Info) effective(o Options) Options {
	if !i.ScalesNoise {
		o.SNoise = 1
	}
	return o
}

// startNoise draws the noise that the run starts from.
func startNoise(job *Job) []float32 {
	noise := make([]float32, job.RNG.Len())
	job.RNG.Next(noise)
	if in := job.Img2Img; in != nil && in.NoiseMultiplier != 1 {
		scale(noise, float32(in.NoiseMultiplier))
	}
	return noise
}

// startSigmas prepares a run of the k-diffusion samplers.
func (r *run) startSigmas(job *Job, info Info, plan Img2ImgSteps) error {
	schedule, err := buildSchedule(info, r.model, job.Scheduler, plan.Schedule, job.Options)
	if err != nil {
		return err
	}
	r.schedule, r.sigmas = schedule, schedule
	r.x = startNoise(job)
	r.count = plan.Executed()
	if in := job.Img2Img; in != nil {
		r.sigmas = tail(schedule, plan.FirstSigma())
		r.count = len(r.sigmas) - 1
		noise := r.x
		r.x = make([]float32, len(noise))
		for i, n := range noise {
			r.x[i] = in.Latent[i] + n*r.sigmas[0]
		}
		addScaled(r.x, noise, float32(job.Options.ExtraNoise))
	} else if job.Options.SGMNoiseMultiplier {
		scale(r.x, sqrt(1+schedule[0]*schedule[0]))
	} else {
		scale(r.x, schedule[0])
	}

	r.sigmaMin, r.sigmaMax = r.model.sigmaMin(), r.model.sigmaMax()
	if job.Img2Img != nil {
		r.sigmaMax = r.sigmas[0]
		r.sigmaMin = r.sigmas[max(len(r.sigmas)-2, 0)]
	}
	// A step between equal sigmas changes nothing, but the multistep formulas
	// divide by its length.
	r.sigmas = slices.Compact(r.sigmas)
	return nil
}

// brownian returns one path per image over the whole schedule, also when the run
// starts in its middle. It is nil where there is no use for one.
func (r *run) brownian(info Info, cfg rng.ImageConfig) *rng.Brownian {
	if !info.BrownianNoise || r.options.Eta == 0 || r.schedule[0] == 0 {
		return nil
	}
	largest := slices.Max(r.schedule)
	smallest := largest
	for _, s := range r.schedule {
		if s > 0 {
			smallest = min(smallest, s)
		}
	}
	return rng.NewBrownian(cfg.Source, cfg.Seeds, cfg.Shape, smallest, largest)
}

// startTimesteps prepares a run of the DDIM family.
func (r *run) startTimesteps(job *Job, plan Img2ImgSteps) {
	ts := evenTimesteps(plan.Schedule, job.Options)
	r.timesteps = ts
	r.x = startNoise(job)
	in := job.Img2Img
	if in == nil {
		return
	}
	if plan.Schedule == 0 { // strength 0 with a fixed step count: nothing to do
		r.timesteps = nil
		copy(r.x, in.Latent)
		return
	}
	encode := plan.Encode
	if plan.Schedule > trainingSteps { // more steps than timesteps: keep the noise level
		encode = encode * trainingSteps / plan.Schedule
	}
	r.timesteps = ts[:encode]
	r.noisePicture(job, ts[encode])
}

// startSpaced prepares a run over timesteps that the sampler spaces itself. Like
// those of the k-diffusion samplers it starts from a picture at the level of its
// first prediction.
func (r *run) startSpaced(job *Job, ts []int, plan Img2ImgSteps) {
	r.timesteps = ts
	r.x = startNoise(job)
	in := job.Img2Img
	switch {
	case in == nil:
	case plan.Schedule == 0:
		copy(r.x, in.Latent)
	default:
		count := max(plan.Executed()*len(ts)/plan.Schedule, 1)
		r.timesteps = ts[:count]
		r.noisePicture(job, ts[count-1])
	}
}

// noisePicture turns x, unit noise, into the picture of the job with the noise of
// a timestep.
func (r *run) noisePicture(job *Job, timestep int) {
	in := job.Img2Img
	a := r.model.alphasCumprod[timestep]
	signal, deviation := sqrt(a), sqrt(1-a)
	extra := float32(job.Options.ExtraNoise)
	for i, n := range r.x {
		r.x[i] = in.Latent[i]*signal + n*deviation
		if extra > 0 {
			r.x[i] += n * extra * signal
		}
	}
}

// tail returns s[from:] as Python does: a negative index counts from the end.
func tail(s []float32, from int) []float32 {
	if from < 0 {
		from += len(s)
	}
	return s[min(max(from, 0), len(s)-1):]
}

func scale(x []float32, factor float32) {
	for i := range x {
		x[i] *= factor
	}
}

// addScaled adds factor*y to x.
func addScaled(x, y []float32, factor float32) {
	for i, v := range y {
		x[i] += v * factor
	}
}
