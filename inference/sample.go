package inference

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"sdworker/fault"
	"sdworker/inference/clip"
	"sdworker/inference/prompt"
	"sdworker/inference/rng"
	"sdworker/inference/sampler"
)

// pass is one run of a sampler over a batch.
type pass struct {
	sampler   string
	scheduler string
	steps     int
	cfg       float64
	conds     *conditions
	size      latents // n, h, w; no data
	noise     *rng.ImageRNG
	start     *sampler.Img2Img // img2img and hires passes
	concat    []float32        // [n,5,h,w] extra channels of an inpainting checkpoint
	hires     bool
	calls     int // of the UNet in the batch before this pass

	prompt, negative string // what conds encode, and when
	timing           prompt.Pass

	control []controlUnit
	images  []imageUnit
	rows    int // the largest batch of UNet rows that memory took; 0 = no limit met yet
}

// sample runs the sampler of a pass and returns its latents.
func (j *job) sample(ctx context.Context, p *pass) (latents, error) {
	defer j.clock(&j.res.Timings.Sample)()
	defer func() { j.eng.End() }() // of a refiner, if there is one
	var err error
	if p.control, err = j.prepareControl(ctx, p); err != nil {
		return latents{}, err
	}
	if p.images, err = j.prepareImages(ctx, p); err != nil {
		return latents{}, err
	}
	var predictions sampler.Predictions
	sj := &sampler.Job{
		Predictions: &predictions,
		Sampler:     p.sampler,
		Scheduler:   p.scheduler,
		Steps:       p.steps,
		CFGScale:    p.cfg,
		RNG:         p.noise,
		UNet:        func(ctx context.Context, b *sampler.Batch) ([]float32, error) { return j.predict(ctx, p, b) },
		Inputs:      func(b *sampler.Batch) uint64 { return j.otherInputs(p, b) },
		Options:     j.req.Settings.Options,
		Img2Img:     p.start,
		OnStep:      func(step, total int, predicted []float32) { j.onStep(ctx, p, step, total, predicted) },
		Stop:        j.stopped,
	}
	trained := j.eng.Info()
	if trained.VPrediction {
		sj.Prediction = sampler.Velocity
	}
	if trained.ZeroTerminalSNR {
		sj.Options.ZeroTerminalSNR = true
	}
	sj.MaskSteps = p.conds.until
	parts := p.conds.masked(p.size.h, p.size.w)
	for range p.size.n {
		sj.Prompts = append(sj.Prompts, parts)
		sj.Negatives = append(sj.Negatives, p.conds.negative)
	}
	j.report(PhaseSampling, 0, p.steps)
	data, err := sampler.Sample(ctx, sj)
	j.calls = p.calls + predictions.All/p.size.n
	if err != nil {
		return latents{}, j.samplerError(ctx, err)
	}
	if predictions.Reused > 0 {
		j.comment(fmt.Sprintf("step cache: %d of %d predictions were reused", predictions.Reused, predictions.All))
	}
	j.progress.Job++
	return latents{data: data, n: p.size.n, h: p.size.h, w: p.size.w}, nil
}

// samplerError gives the sampler's own errors a code.
func (j *job) samplerError(ctx context.Context, err error) error {
	var known *fault.Error
	var unknown *sampler.UnknownError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &unknown):
		return &fault.Error{Code: fault.NotFound, Op: "sample", Field: "sampler_name", Msg: err.Error()}
	case errors.Is(err, sampler.ErrNaN):
		return &fault.Error{Code: fault.Internal, Op: "sample", Msg: err.Error() + j.suspects()}
	case fault.CodeOf(err) == fault.Canceled:
		return fault.Stopped(ctx, "sample")
	}
	return &fault.Error{Code: fault.Invalid, Op: "sample", Msg: err.Error()}
}

// suspects names the job's ControlNets. The values of adapters, embeddings and
// hypernetworks were looked at when they were read.
func (j *job) suspects() string {
	var text strings.Builder
	for _, u := range j.req.Control {
		text.WriteString(", or without the ControlNet " + filepath.Base(u.Model))
	}
	return text.String()
}

// stopped reports whether the pass in hand is to end with what it has.
func (j *job) stopped() bool {
	return j.hooks.Control.Interrupted() || j.hooks.Control.Skips() > j.skips
}

// onStep reports a step and makes the live preview when it is due.
func (j *job) onStep(ctx context.Context, p *pass, step, total int, predicted []float32) {
	j.progress.Phase, j.progress.Step, j.progress.Steps, j.progress.Preview = PhaseSampling, min(step+1, total), total, nil
	if every := j.req.Preview.Every; every > 0 && (step+1)%every == 0 && step+1 < total {
		if m, err := j.preview(ctx, predicted, p.size.h, p.size.w); err == nil {
			j.progress.Preview = &m
		} else {
			j.comment("no live preview: " + fault.Message(err))
		}
	}
	j.hooks.Report(j.progress)
}

// predict calls unet and lets the preprocessors change its predictions.
func (j *job) predict(ctx context.Context, p *pass, b *sampler.Batch) ([]float32, error) {
	if err := j.refine(ctx, p, b); err != nil {
		return nil, err
	}
	out, err := j.unet(ctx, p, b)
	if err != nil {
		return nil, err
	}
	for _, colours := range []bool{true, false} { // the extension restores last
		for i := range p.control {
			if fix := p.control[i].fix; fix != nil && (fix.mask == nil) == colours {
				fix.apply(out, b)
			}
		}
	}
	return out, nil
}

// unet runs the UNet for one batch of the sampler: in one call when prompt and
// negative prompt are equally long, in one for each otherwise, as A1111 does.
func (j *job) unet(ctx context.Context, p *pass, b *sampler.Batch) ([]float32, error) {
	prompts := 0 // rows of the prompt come first
	for prompts < len(b.Rows) && b.Rows[prompts].Kind.Conditional() {
		prompts++
	}
	positive := p.conds.contexts(b.Rows[:prompts], 0)
	negative := p.conds.contexts(b.Rows[prompts:], 0)
	if positive.tokens != negative.tokens && prompts < len(b.Rows) {
		switch {
		case j.req.Settings.PadCondUncondV0:
			j.res.PaddedConds = true
			negative = p.conds.contexts(b.Rows[prompts:], positive.tokens)
		case p.conds.empty != nil:
			j.res.PaddedConds = true
			positive.padEmpty(p.conds.empty, negative.tokens)
			negative.padEmpty(p.conds.empty, positive.tokens)
		}
	}
	if prompts == len(b.Rows) || positive.tokens == negative.tokens {
		return j.rows(ctx, p, b, 0, len(b.Rows), append(positive.rows, negative.rows...))
	}
	out, err := j.rows(ctx, p, b, 0, prompts, positive.rows)
	if err != nil {
		return nil, err
	}
	rest, err := j.rows(ctx, p, b, prompts, len(b.Rows), negative.rows)
	return append(out, rest...), err
}

// rowContexts are the conditionings of some rows, all of one length.
type rowContexts struct {
	rows   [][]float32 // [tokens,768] each
	tokens int
}

// contexts looks up the conditionings of rows and brings them to the longest
// one's length, or to tokens unless that is 0, by repeating the last vector.
func (c *conditions) contexts(rows []sampler.Row, tokens int) rowContexts {
	out := rowContexts{tokens: tokens}
	for _, r := range rows {
		state := c.states[r.Cond]
		out.rows = append(out.rows, state)
		if tokens == 0 {
			out.tokens = max(out.tokens, len(state)/TextWidth)
		}
	}
	for i, state := range out.rows {
		state = clip.PadLast(state, TextWidth, out.tokens)
		out.rows[i] = state[:out.tokens*TextWidth]
	}
	return out
}

func (c *rowContexts) padEmpty(empty []float32, tokens int) {
	for i, state := range c.rows {
		c.rows[i] = clip.PadEmpty(state, empty, TextWidth, tokens)
	}
	c.tokens = max(c.tokens, tokens)
}

// rows calls the UNet for the rows from..to of a batch, in smaller groups where
// memory is known to be too small, or turns out to be. The limit found holds for
// this pass only: rows in other groups differ in their last bits, and a picture
// must not depend on what was painted before it.
func (j *job) rows(ctx context.Context, p *pass, b *sampler.Batch, from, to int, contexts [][]float32) ([]float32, error) {
	var out []float32
	info := j.eng.Info()
	info.WeightBytes += j.hyperBytes
	limit := min(to-from, info.UNetRows(p.size.h, p.size.w, len(contexts[0])/TextWidth, len(p.control), p.imageTokens()))
	if p.rows > 0 {
		limit = min(limit, p.rows)
	}
	for at := from; at < to; {
		n := min(limit, to-at)
		part, err := j.eng.PredictNoise(ctx, j.unetInput(p, b, at, at+n, contexts[at-from:at-from+n]))
		if fault.CodeOf(err) == fault.Exhausted && n > 1 {
			limit = (n + 1) / 2
			p.rows = limit
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == to-from {
			return part, nil
		}
		out = append(out, part...)
		at += n
	}
	return out, nil
}

// unetInput builds the engine's input for some rows of a batch.
func (j *job) unetInput(p *pass, b *sampler.Batch, from, to int, contexts [][]float32) UNetInput {
	size := LatentChannels * p.size.h * p.size.w
	in := UNetInput{
		H: p.size.h, W: p.size.w,
		Latent:   b.X[from*size : to*size],
		Timestep: b.Timestep[from:to],
		Tiling:   j.req.Tiling,
	}
	for _, c := range contexts {
		in.Context = append(in.Context, c...)
	}
	if p.concat != nil {
		in.Latent = p.withConcat(b, from, to)
	}
	var conditional []bool
	for i, r := range b.Rows[from:to] {
		conditional = append(conditional, r.Kind.Conditional())
		if r.Kind == sampler.Perturbed {
			if in.Perturbed == nil {
				in.Perturbed = make([]float32, to-from)
			}
			in.Perturbed[i] = 1
		}
	}
	in.FreeU = j.req.Settings.FreeU.at(b.Step, b.Steps, p.calls+b.Call)
	fraction := stepFraction(b.Step, b.Steps)
	for i := range p.control {
		if p.control[i].active(fraction) {
			in.Control = append(in.Control, p.control[i].input(conditional))
		}
	}
	for i := range p.images {
		if p.images[i].active(fraction) {
			in.Images = append(in.Images, p.images[i].input(conditional))
		}
	}
	return in
}

// refinerBit tells the refiner's calls from those of the checkpoint; units of ControlNet
// have lower bits, and the sampler's own has the highest.
const refinerBit = 1 << 62

// otherInputs tells apart what acts in a call beside latent, time step and prompts.
func (j *job) otherInputs(p *pass, b *sampler.Batch) uint64 {
	bits := p.activeUnits(b.Step, b.Steps) ^ j.freeUShare(p, b)
	if j.refined(p, b) {
		bits ^= refinerBit
	}
	return bits
}

// freeUShare tells apart how strongly FreeU acts in a call.
func (j *job) freeUShare(p *pass, b *sampler.Batch) uint64 {
	f := j.req.Settings.FreeU
	if f.Version == 0 {
		return 0
	}
	return math.Float64bits(f.share(b.Step, b.Steps, p.calls+b.Call))
}

// activeUnits has a bit for each ControlNet unit that acts at a step; past 64 units
// the bits are shared.
func (p *pass) activeUnits(step, steps int) (bits uint64) {
	for i := range p.control {
		if p.control[i].active(stepFraction(step, steps)) {
			bits ^= 1 << (i % 64)
		}
	}
	for i := range p.images {
		if p.images[i].active(stepFraction(step, steps)) {
			bits ^= 1 << ((len(p.control) + i) % 64)
		}
	}
	return bits
}

// stepFraction is how far a run is, 0..1.
func stepFraction(step, steps int) float64 { return float64(step) / float64(max(steps, 1)) }

// withConcat puts the extra channels of each row's image behind its latent.
func (p *pass) withConcat(b *sampler.Batch, from, to int) []float32 {
	plane := p.size.h * p.size.w
	latent, extra := LatentChannels*plane, concatChannels*plane
	out := make([]float32, 0, (to-from)*(latent+extra))
	for row := from; row < to; row++ {
		image := b.Rows[row].Image
		out = append(out, b.X[row*latent:(row+1)*latent]...)
		out = append(out, p.concat[image*extra:(image+1)*extra]...)
	}
	return out
}
