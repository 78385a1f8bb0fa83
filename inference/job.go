package inference

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sdworker/fault"
	"sdworker/formats/embedding"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
	"sdworker/inference/prompt"
	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/internal/fileid"
)

// job is one request on its way through the pipeline.
type job struct {
	pipeline *Pipeline
	req      *Request
	hooks    Hooks
	res      *Result

	turn       *turn
	eng        *seat                  // at the checkpoint in use
	loras      []LoRA                 // active there
	hyperBytes int64                  // of the hypernetworks that act
	files      []fileid.ID            // active there
	bundled    []*embedding.Embedding // textual inversions in the files of loras
	texts      *embeddingSet
	batch      int // images per batch
	seeds      []int64
	subseeds   []int64
	source     rng.Source
	progress   Progress
	calls      int          // of the UNet in the passes of the batch so far
	inside     bool         // it is a part of another job, whose progress it goes on with
	skips      int          // skip requests heeded so far
	init       *initPicture // img2img only
	hints      map[hintKey]hint.Hint
	lastDepth  depthSeen
}

// run makes all pictures of the request.
func (j *job) run(ctx context.Context) error {
	var err error
	if j.source, err = rng.ParseSource(j.req.Settings.NoiseSource); err != nil {
		return &fault.Error{Code: fault.Invalid, Field: "randn_source", Msg: err.Error()}
	}
	j.batch = j.req.BatchSize
	if in := j.req.Init; in != nil && len(in.Images) > 1 {
		j.batch = len(in.Images)
	}
	j.seeds, j.subseeds = rng.ImageSeeds(j.req.Seed, j.req.Subseed, j.req.SubseedStrength, j.batch*j.req.BatchNum)
	if !j.inside {
		j.progress.Jobs = j.req.BatchNum
	}
	if j.req.Hires != nil {
		j.progress.Jobs *= 2
	}
	if err := j.use(ctx, j.req.Files.Checkpoint); err != nil {
		return err
	}
	defer func() { j.eng.End() }()
	if j.req.MapsOnly {
		j.res.Maps, err = j.preprocess(ctx)
		return j.pipeline.broken(j.turn, j.eng.model, err)
	}
	if err := j.admit(); err != nil {
		return err
	}
	if j.req.Init != nil && !j.req.DetailsOnly {
		if j.init, err = j.prepareInit(ctx); err != nil {
			return err
		}
	}
	for n := range j.req.BatchNum {
		if j.hooks.Control.Interrupted() {
			break
		}
		j.skips = j.hooks.Control.Skips()
		if err := j.runBatch(ctx, n); err != nil {
			return j.pipeline.broken(j.turn, j.eng.model, err)
		}
	}
	if j.res.Maps, err = j.controlMaps(ctx); err != nil {
		return err
	}
	j.res.Interrupted = j.hooks.Control.Interrupted()
	j.res.Skipped = j.hooks.Control.Skips() > 0
	return nil
}

// admit refuses what there is no memory for before it costs anything.
func (j *job) admit() error {
	info := j.eng.Info()
	if hr := j.req.Hires; hr != nil {
		if err := info.Admit(hr.Width, hr.Height, ControlNets(j.req.Control)); err != nil {
			return err
		}
	}
	for _, u := range j.req.Details {
		w, h := u.largest()
		if err := info.Admit(w, h, ControlNets(u.Control)); err != nil {
			return err
		}
	}
	return info.Admit(j.req.Width, j.req.Height, ControlNets(j.req.Control))
}

// use makes a checkpoint current, with the VAE of the request.
func (j *job) use(ctx context.Context, checkpoint string) error {
	defer j.clock(&j.res.Timings.Load)()
	m := j.turn.model
	if m == nil {
		var err error
		if m, err = j.pipeline.use(ctx, checkpoint, j.req.Files.VAE, j.hooks); err != nil {
			return err
		}
		j.turn.Open()
	}
	if j.req.Files.VAE == "" && m.eng.Info().NoVAE {
		return &fault.Error{
			Code: fault.Invalid, Op: "load", Field: "sd_vae",
			Msg: fmt.Sprintf("%s has no VAE of its own: put one beside it as %s.vae.safetensors, or choose one with sd_vae",
				checkpoint, strings.TrimSuffix(filepath.Base(checkpoint), filepath.Ext(checkpoint))),
		}
	}
	if j.eng != nil {
		j.eng.End()
	}
	j.eng = m.join(&j.res.Company)
	j.res.Inpainting = j.inpainting()
	return nil
}

// uses records the versions of files that act on the job. One that was replaced
// between two uses fails the job: its pictures would be of two models.
func (j *job) uses(ids ...fileid.ID) error {
	for _, id := range ids {
		at := slices.IndexFunc(j.res.Files, func(known fileid.ID) bool { return known.Path == id.Path })
		switch {
		case at < 0:
			j.res.Files = append(j.res.Files, id)
		case j.res.Files[at] != id:
			return fault.Errorf(fault.Busy, "files", "%s was replaced while the job ran, try again", id.Path)
		}
	}
	return nil
}

// runBatch makes the images of one batch and appends them to the result.
func (j *job) runBatch(ctx context.Context, n int) error {
	seeds := j.seeds[n*j.batch : (n+1)*j.batch]
	subseeds := j.subseeds[n*j.batch : (n+1)*j.batch]
	if j.eng.model.path != j.req.Files.Checkpoint { // a hires pass left its own
		if err := j.use(ctx, j.req.Files.Checkpoint); err != nil {
			return err
		}
	}
	pictures, err := j.paint(ctx, seeds, subseeds)
	if err != nil {
		return err
	}
	for i, m := range pictures {
		if m, err = j.detail(ctx, m, n*j.batch+i); err != nil {
			return err
		}
		if j.init != nil {
			if m, err = j.finish(ctx, m, i); err != nil {
				return err
			}
		}
		j.res.Images = append(j.res.Images, Image{Pixels: m, Seed: seeds[i], Subseed: subseeds[i]})
	}
	return nil
}

// paint makes the pictures of one batch as the networks give them.
func (j *job) paint(ctx context.Context, seeds, subseeds []int64) ([]imageio.RGB, error) {
	var (
		out latents
		err error
	)
	switch {
	case j.req.DetailsOnly:
		j.progress.Job++
		return slices.Repeat(j.req.Init.Images[:1], len(seeds)), nil
	case j.init != nil:
		out, err = j.img2img(ctx, seeds, subseeds)
	default:
		out, err = j.txt2img(ctx, seeds, subseeds)
	}
	if err != nil {
		return nil, err
	}
	return j.decode(ctx, out, func(pixels []float32, h, w int) error { return j.paintOver(ctx, pixels, h, w) })
}

// latents is a batch of UNet-scale latents [n,4,h,w].
type latents struct {
	data    []float32
	n, h, w int
}

// at returns the latent of image i.
func (l latents) at(i int) []float32 {
	size := LatentChannels * l.h * l.w
	return l.data[i*size : (i+1)*size]
}

// noise returns the generators of a batch for latents of h by w cells.
func (j *job) noise(seeds, subseeds []int64, h, w int, ensd int64) *rng.ImageRNG {
	return rng.NewImageRNG(rng.ImageConfig{
		Source:          j.source,
		Shape:           rng.Shape{C: LatentChannels, H: h, W: w},
		Seeds:           seeds,
		Subseeds:        subseeds,
		SubseedStrength: j.req.SubseedStrength,
		SeedResizeW:     j.req.SeedResizeW,
		SeedResizeH:     j.req.SeedResizeH,
		SeedDelta:       ensd,
	})
}

// txt2img makes the latents of one batch from noise.
func (j *job) txt2img(ctx context.Context, seeds, subseeds []int64) (latents, error) {
	h, w := j.req.Height/LatentScale, j.req.Width/LatentScale
	p, err := j.basePass(ctx)
	if err != nil {
		return latents{}, err
	}
	concat, err := j.blankConcat(ctx, len(seeds), h, w)
	if err != nil {
		return latents{}, err
	}
	p.size = latents{n: len(seeds), h: h, w: w}
	p.noise = j.noise(seeds, subseeds, h, w, j.req.Settings.ENSD)
	p.concat = concat.data
	out, err := j.sample(ctx, p)
	if err != nil || j.req.Hires == nil || j.hooks.Control.Interrupted() {
		return out, err
	}
	return j.hires(ctx, out, seeds, subseeds)
}

// basePass is the first pass as the request asks for it. Its size, its noise and what it
// begins with are left to the caller.
func (j *job) basePass(ctx context.Context) (*pass, error) {
	timing := j.firstPass()
	conds, err := j.conditions(ctx, j.req.Prompt, j.req.NegativePrompt, timing)
	if err != nil {
		return nil, err
	}
	return &pass{
		sampler:   j.req.Sampler,
		scheduler: j.req.Scheduler,
		steps:     j.req.Steps,
		cfg:       j.req.CFGScale,
		conds:     conds,
		prompt:    j.req.Prompt,
		negative:  j.req.NegativePrompt,
		timing:    timing,
	}, nil
}

// firstPass says how the timetable of the first pass is made.
func (j *job) firstPass() prompt.Pass {
	return prompt.Pass{Steps: promptSteps(j.req.Sampler, j.req.Steps), OldTimes: j.req.Settings.OldEditingTimelines}
}

// hiresPass is firstPass for the second pass.
func (j *job) hiresPass(name string, steps int) prompt.Pass {
	p := j.firstPass()
	p.HiresSteps = promptSteps(name, steps)
	return p
}

// promptSteps is how many UNet calls a timetable is made for. A name that is
// unknown fails later, in the sampler.
func promptSteps(name string, steps int) int {
	info, err := sampler.Find(name)
	if err != nil {
		return steps
	}
	return info.PromptSteps(steps)
}

// decode turns latents into pictures, each decoded alone. over, which may be nil, is
// called with the pixels of each before they become bytes.
func (j *job) decode(ctx context.Context, l latents, over func(pixels []float32, h, w int) error) ([]imageio.RGB, error) {
	defer j.clock(&j.res.Timings.Decode)()
	out := make([]imageio.RGB, l.n)
	for i := range out {
		j.report(PhaseDecoding, i, l.n)
		var err error
		if out[i], err = j.decodeOne(ctx, l.at(i), l.h, l.w, over); err != nil {
			return nil, err
		}
	}
	j.report(PhaseDecoding, l.n, l.n)
	return out, nil
}

// decodeOne decodes a UNet-scale latent [4,h,w].
func (j *job) decodeOne(ctx context.Context, latent []float32, h, w int, over func(pixels []float32, h, w int) error) (imageio.RGB, error) {
	z := make([]float32, len(latent))
	for i, v := range latent {
		z[i] = v / VAEScale
	}
	pixels, err := j.eng.Decode(ctx, LatentInput{Latent: z, H: h, W: w, Tiling: j.req.Tiling})
	if err != nil {
		return imageio.RGB{}, err
	}
	if slices.ContainsFunc(pixels, isNaN) {
		return imageio.RGB{}, fault.Errorf(fault.Internal, "decode", "the VAE produced a picture of NaNs; try another VAE or checkpoint")
	}
	h, w = h*LatentScale, w*LatentScale
	if over != nil {
		if err := over(pixels, h, w); err != nil {
			return imageio.RGB{}, err
		}
	}
	return toRGB(pixels, h, w), nil
}

// encode turns pictures [3,h,w] into UNet-scale latents, each encoded alone. The mean of
// the posterior is taken: A1111 draws from it with unseeded noise, which trained VAEs make
// vanishingly small.
func (j *job) encode(ctx context.Context, pictures [][]float32, h, w int) (latents, error) {
	defer j.clock(&j.res.Timings.Encode)()
	l := latents{n: len(pictures), h: h / LatentScale, w: w / LatentScale}
	l.data = make([]float32, l.n*LatentChannels*l.h*l.w)
	for i, pixels := range pictures {
		moments, err := j.eng.Encode(ctx, PixelInput{Pixels: pixels, H: h, W: w, Tiling: j.req.Tiling})
		if err != nil {
			return latents{}, err
		}
		for k := range l.at(i) {
			l.at(i)[k] = moments[k] * VAEScale
		}
	}
	return l, nil
}

// report passes on that the pass in hand is at step of steps of a phase.
func (j *job) report(phase Phase, step, steps int) {
	j.progress.Phase, j.progress.Step, j.progress.Steps = phase, step, steps
	j.progress.Preview = nil
	j.hooks.Report(j.progress)
}

// clock adds the time until the returned function is called to seconds.
func (j *job) clock(seconds *float64) func() {
	start := time.Now()
	return func() { *seconds += time.Since(start).Seconds() }
}

// comment adds a remark for the client, once.
func (j *job) comment(text string) {
	if slices.Contains(j.res.Comments, text) {
		return
	}
	j.res.Comments = append(j.res.Comments, text)
}
