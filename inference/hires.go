package inference

import (
	"cmp"
	"context"

	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/sampler"
)

// hires is the second pass of txt2img: enlarge, crop, add noise and sample as
// img2img does (sample_hr_pass of modules/processing.py). Pictures that are enlarged are
// decoded by the checkpoint that ended the first pass; everything else is done by that of
// this pass, also after a refiner.
func (j *job) hires(ctx context.Context, first latents, seeds, subseeds []int64) (latents, error) {
	hr := j.req.Hires
	var (
		pictures []imageio.RGB
		err      error
	)
	if _, ok := latent.ParseUpscaleMode(hr.Upscaler); !ok {
		if pictures, err = j.decode(ctx, first, nil); err != nil {
			return latents{}, err
		}
	}
	if checkpoint := cmp.Or(hr.Checkpoint, j.req.Files.Checkpoint); checkpoint != j.eng.model.path {
		if err := j.use(ctx, checkpoint); err != nil {
			return latents{}, err
		}
	}
	big, concat, err := j.enlarge(ctx, first, pictures)
	if err != nil {
		return latents{}, err
	}
	big, concat = cropLatents(big, LatentChannels, hr.TruncateX, hr.TruncateY), cropLatents(concat, concatChannels, hr.TruncateX, hr.TruncateY)

	steps := hr.Steps
	if steps == 0 {
		steps = j.req.Steps
	}
	timing := j.hiresPass(hr.Sampler, steps)
	conds, err := j.conditions(ctx, hr.Prompt, hr.NegativePrompt, timing)
	if err != nil {
		return latents{}, err
	}
	return j.sample(ctx, &pass{
		sampler:   hr.Sampler,
		scheduler: hr.Scheduler,
		steps:     steps,
		cfg:       hr.CFGScale,
		conds:     conds,
		prompt:    hr.Prompt,
		negative:  hr.NegativePrompt,
		timing:    timing,
		size:      latents{n: big.n, h: big.h, w: big.w},
		noise:     j.noise(seeds, subseeds, big.h, big.w, j.req.Settings.ENSD),
		concat:    concat.data,
		hires:     true,
		calls:     j.calls,
		start:     &sampler.Img2Img{Latent: big.data, Strength: j.req.DenoisingStrength, Steps: steps, NoiseMultiplier: 1},
	})
}

// enlarge scales the first pass's latents, or its pictures where the upscaler takes those,
// to the size before the crop, and makes the extra channels of an inpainting checkpoint
// for them.
func (j *job) enlarge(ctx context.Context, first latents, pictures []imageio.RGB) (big, concat latents, err error) {
	hr := j.req.Hires
	if mode, ok := latent.ParseUpscaleMode(hr.Upscaler); ok {
		big = latents{n: first.n, h: hr.Height / LatentScale, w: hr.Width / LatentScale}
		big.data = latent.Upscale(first.data, first.n*LatentChannels, first.h, first.w, big.h, big.w, mode)
		concat, err = j.concatOf(ctx, big)
		return big, concat, err
	}
	done := j.clock(&j.res.Timings.Upscale)
	pixels := make([][]float32, len(pictures))
	for i, m := range pictures {
		if m, err = j.resizeWith(ctx, m, hr.Width, hr.Height, hr.Upscaler); err != nil {
			return big, concat, err
		}
		pixels[i] = toPlanar(m)
	}
	done()
	if big, err = j.encode(ctx, pixels, hr.Height, hr.Width); err != nil {
		return big, concat, err
	}
	concat, err = j.concatFrom(ctx, pixels, hr.Height, hr.Width, nil, big)
	return big, concat, err
}

// concatOf makes the extra channels for latents of which everything is to be
// repainted. Only a weight below 1 lets something of the pictures through.
func (j *job) concatOf(ctx context.Context, l latents) (latents, error) {
	if j.req.Settings.ConditionWeight >= 1 || !j.inpainting() {
		return j.blankConcat(ctx, l.n, l.h, l.w)
	}
	pictures, err := j.decode(ctx, l, nil)
	if err != nil {
		return latents{}, err
	}
	pixels := make([][]float32, len(pictures))
	for i, m := range pictures {
		pixels[i] = toPlanar(m)
	}
	return j.concatFrom(ctx, pixels, l.h*LatentScale, l.w*LatentScale, nil, l)
}

// cropLatents cuts cutX and cutY cells off, half of them at the left and top,
// rounded down.
func cropLatents(l latents, channels, cutX, cutY int) latents {
	if l.data == nil || cutX == 0 && cutY == 0 {
		return l
	}
	out := latents{n: l.n, h: l.h - cutY, w: l.w - cutX}
	out.data = make([]float32, 0, out.n*channels*out.h*out.w)
	for plane := range l.n * channels {
		for y := range out.h {
			row := (plane*l.h+y+cutY/2)*l.w + cutX/2
			out.data = append(out.data, l.data[row:row+out.w]...)
		}
	}
	return out
}
