package inference

import (
	"context"
	"slices"

	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/rng"
	"sdworker/inference/sampler"
)

// initPicture is the prepared start of an img2img job.
type initPicture struct {
	latents latents   // of the whole batch
	nmask   []float32 // [h,w], 1 = repaint; nil without a mask
	concat  latents   // extra channels of an inpainting checkpoint

	overlays    []imageio.RGBA // what lies over each result; nil without a mask
	pasteTo     *imageio.Box   // where the result goes in the whole picture, only-masked jobs
	corrections []imageio.ColorTarget
}

// prepareInit scales, masks and encodes the init images as
// StableDiffusionProcessingImg2Img.init of modules/processing.py does.
func (j *job) prepareInit(ctx context.Context) (*initPicture, error) {
	in, width, height := j.req.Init, j.req.Width, j.req.Height
	p := &initPicture{}
	mask := j.prepareMask()
	if mask != nil && mask.crop != nil {
		p.pasteTo = mask.crop
	}
	var pixels [][]float32
	for _, m := range in.Images {
		if p.pasteTo == nil && in.ResizeMode != latentResize {
			var err error
			if m, err = j.resizeInit(ctx, in.ResizeMode, m, width, height); err != nil {
				return nil, err
			}
		}
		if mask != nil {
			overlay := mask.overlay
			if overlay.W != m.W || overlay.H != m.H {
				overlay = imageio.ResizeMaskMode(in.ResizeMode, overlay, m.W, m.H)
			}
			if j.req.Settings.OverlayInpaint {
				p.overlays = append(p.overlays, imageio.Overlay(m, overlay))
			}
		}
		if p.pasteTo != nil {
			var err error
			if m, err = j.resizeInit(ctx, fillResize, m.Crop(*p.pasteTo), width, height); err != nil {
				return nil, err
			}
		}
		if mask != nil && in.Mask.Fill != fillOriginal {
			m = imageio.FillMasked(m, sized(mask.image, m.W, m.H))
		}
		if j.req.Settings.ColorCorrection {
			p.corrections = append(p.corrections, imageio.NewColorTarget(m))
		}
		pixels = append(pixels, toPlanar(m))
	}
	h, w := in.Images[0].H, in.Images[0].W
	if p.pasteTo != nil || in.ResizeMode != latentResize {
		h, w = height, width
	}
	toH, toW := imageio.FloorToLatent(h), imageio.FloorToLatent(w)
	if toH < LatentScale || toW < LatentScale || toH > MaxSide || toW > MaxSide {
		return nil, FieldError("init_images", "an init image of %dx%d pixels cannot be used without resizing", w, h)
	}
	for i := range pixels {
		pixels[i] = cropPlanar(pixels[i], h, w, toH, toW)
	}
	var err error
	if p.latents, err = j.encode(ctx, pixels, toH, toW); err != nil {
		return nil, err
	}
	if in.ResizeMode == latentResize && (p.latents.h != height/LatentScale || p.latents.w != width/LatentScale) {
		p.latents = resizeLatents(p.latents, height/LatentScale, width/LatentScale)
	}
	p.latents = repeat(p.latents, j.batch)
	if mask != nil {
		p.nmask = latent.Mask(mask.image, p.latents.w, p.latents.h, in.Mask.Round)
		j.fillLatents(p)
	}
	if p.concat, err = j.concatFrom(ctx, pixels, toH, toW, mask); err != nil {
		return nil, err
	}
	p.concat = repeat(p.concat, j.batch)
	return p, nil
}

// Resize modes of img2img, as the API numbers them.
const (
	fillResize   = 2
	latentResize = 3
)

// Values of Mask.Fill.
const (
	fillOriginal = 1
	fillNoise    = 2
	fillNothing  = 3
)

// preparedMask is a mask after inversion, blur, crop and resize.
type preparedMask struct {
	image   imageio.Gray // at the size of processing
	overlay imageio.Gray // at the size of the picture that the result is laid over
	crop    *imageio.Box // only-masked jobs: the part of the init image that is processed
}

// prepareMask returns nil when there is no mask, or a blank one in an
// only-masked job, which then becomes plain img2img.
func (j *job) prepareMask() *preparedMask {
	in := j.req.Init
	m := in.Mask
	if m == nil {
		return nil
	}
	img := m.Image
	if m.Invert {
		img = img.Invert()
	}
	img = imageio.BlurMask(img, m.BlurX, m.BlurY)
	if !m.OnlyMasked {
		img = imageio.ResizeMaskMode(in.ResizeMode, img, j.req.Width, j.req.Height)
		return &preparedMask{image: img, overlay: img.Doubled()}
	}
	box, ok := imageio.CropRegion(img, m.Padding, j.req.Width, j.req.Height)
	if !ok {
		j.comment(`Unable to perform "Inpaint Only mask" because mask is blank, switch to img2img mode.`)
		return nil
	}
	return &preparedMask{
		image:   imageio.ResizeMaskMode(fillResize, img.Crop(box), j.req.Width, j.req.Height),
		overlay: img,
		crop:    &box,
	}
}

// sized gives a mask the size of a picture that keeps its own (latent resize).
func sized(mask imageio.Gray, w, h int) imageio.Gray {
	if mask.W == w && mask.H == h {
		return mask
	}
	return mask.Resize(w, h, imageio.Lanczos)
}

// resizeInit applies a resize mode, by the upscaler of the settings where the
// picture grows.
func (j *job) resizeInit(ctx context.Context, mode int, m imageio.RGB, w, h int) (imageio.RGB, error) {
	return imageio.ResizeMode(mode, m, w, h, func(m imageio.RGB, w, h int) (imageio.RGB, error) {
		return j.resizeWith(ctx, m, w, h, j.req.Settings.UpscalerForImg2Img)
	})
}

// fillLatents replaces the masked part of the init latents where the fill mode
// asks for noise or nothing. As in A1111 the noise comes from the seeds of the
// first batch, also for the later ones.
func (j *job) fillLatents(p *initPicture) {
	switch j.req.Init.Mask.Fill {
	case fillNoise:
		noise := make([]float32, len(p.latents.data))
		rng.NewImageRNG(rng.ImageConfig{
			Source: j.source,
			Shape:  rng.Shape{C: LatentChannels, H: p.latents.h, W: p.latents.w},
			Seeds:  j.seeds[:p.latents.n],
		}).Next(noise)
		latent.FillNoise(p.latents.data, noise, p.nmask)
	case fillNothing:
		latent.FillNothing(p.latents.data, p.nmask)
	}
}

// resizeLatents stretches latents bilinearly.
func resizeLatents(l latents, h, w int) latents {
	return latents{n: l.n, h: h, w: w, data: latent.Resize(l.data, l.n*LatentChannels, l.h, l.w, h, w)}
}

// repeat gives every image of a batch the same latents when there is one only.
func repeat(l latents, batch int) latents {
	if l.n != 1 || batch == 1 || l.data == nil {
		return l
	}
	return latents{n: batch, h: l.h, w: l.w, data: slices.Repeat(l.data, batch)}
}

// finish corrects the colours of result i and lays the kept part of the init
// image over it.
func (p *initPicture) finish(m imageio.RGB, i int) imageio.RGB {
	if len(p.corrections) > 0 {
		m = p.corrections[i%len(p.corrections)].Apply(m)
	}
	if len(p.overlays) == 0 {
		return m
	}
	overlay := p.overlays[i%len(p.overlays)]
	if p.pasteTo != nil {
		return imageio.PasteOver(m, *p.pasteTo, overlay)
	}
	return imageio.LayOver(m, overlay)
}

// img2img makes the latents of one batch from the init latents.
func (j *job) img2img(ctx context.Context, seeds, subseeds []int64) (latents, error) {
	conds, err := j.conditions(ctx, j.req.Prompt, j.req.NegativePrompt, j.firstPass())
	if err != nil {
		return latents{}, err
	}
	start := j.init.latents
	return j.sample(ctx, &pass{
		sampler:   j.req.Sampler,
		scheduler: j.req.Scheduler,
		steps:     j.req.Steps,
		cfg:       j.req.CFGScale,
		conds:     conds,
		size:      latents{n: start.n, h: start.h, w: start.w},
		noise:     j.noise(seeds, subseeds, start.h, start.w, j.req.Settings.ENSD),
		concat:    j.init.concat.data,
		start: &sampler.Img2Img{
			Latent:          start.data,
			Strength:        j.req.DenoisingStrength,
			NoiseMultiplier: j.req.Init.NoiseMultiplier,
			Mask:            j.init.nmask,
		},
	})
}
