package inference

import (
	"context"
	"slices"

	"sdworker/fault"
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
	kept        []imageio.RGB  // of soft inpainting: what overlays are made of when the result is there
	pasteTo     *imageio.Box   // where the result goes in the whole picture, only-masked jobs
	corrections []imageio.ColorTarget
}

// prepareInit scales, masks and encodes the init images as
// StableDiffusionProcessingImg2Img.init of modules/processing.py does.
func (j *job) prepareInit(ctx context.Context) (*initPicture, error) {
	in := j.req.Init
	p := &initPicture{}
	mask := j.prepareMask()
	if mask != nil {
		p.pasteTo = mask.crop
	}
	var pixels [][]float32
	w, h := 0, 0
	for i, m := range in.Images {
		m, err := j.preparePicture(ctx, p, m, mask)
		if err != nil {
			return nil, err
		}
		if i > 0 && (m.W != w || m.H != h) {
			return nil, fault.FieldError("resize_mode", "init images of different sizes cannot be resized as latents (resize_mode 3)")
		}
		w, h = m.W, m.H
		pixels = append(pixels, toPlanar(m))
	}
	var err error
	if p.latents, err = j.encode(ctx, pixels, h, w); err != nil {
		return nil, err
	}
	cells := latents{h: j.req.Height / LatentScale, w: j.req.Width / LatentScale}
	p.latents = resizeLatents(p.latents, cells.h, cells.w)
	p.latents = repeat(p.latents, j.batch)
	if mask != nil {
		p.nmask = latent.Mask(mask.image, cells.w, cells.h, in.Mask.Round)
		j.fillLatents(p)
	}
	if p.concat, err = j.concatFrom(ctx, pixels, h, w, mask, cells); err != nil {
		return nil, err
	}
	p.concat = repeat(p.concat, j.batch)
	return p, nil
}

// preparePicture brings one init image to the form that is encoded, and notes in
// p what is done with the result.
func (j *job) preparePicture(ctx context.Context, p *initPicture, m imageio.RGB, mask *preparedMask) (imageio.RGB, error) {
	in := j.req.Init
	w, h := j.initSize()
	var err error
	if p.pasteTo == nil && in.ResizeMode != latentResize {
		if m, err = j.resizeInit(ctx, in.ResizeMode, m, w, h); err != nil {
			return m, err
		}
	}
	switch {
	case mask == nil:
	case in.Mask.Soft != nil:
		p.kept = append(p.kept, j.fitOverlay(m, mask))
	case j.req.Settings.OverlayInpaint:
		p.overlays = append(p.overlays, j.overlay(m, mask))
	}
	if p.pasteTo != nil {
		if m, err = j.resizeInit(ctx, fillResize, m.Crop(*p.pasteTo), w, h); err != nil {
			return m, err
		}
	}
	if mask != nil && in.Mask.Fill != fillOriginal {
		m = imageio.FillMasked(m, sized(mask.image, m.W, m.H))
	}
	if j.req.Settings.ColorCorrection {
		p.corrections = append(p.corrections, imageio.NewColorTarget(m))
	}
	if m.W < LatentScale || m.H < LatentScale || m.W > MaxSide || m.H > MaxSide {
		return m, fault.FieldError("init_images", "an init image of %dx%d pixels cannot be used without resizing", m.W, m.H)
	}
	return m, nil
}

// overlay is the part of a picture that is laid over its result, which has the
// size of the request unless it is pasted into the whole picture.
func (j *job) overlay(m imageio.RGB, mask *preparedMask) imageio.RGBA {
	m = j.fitOverlay(m, mask)
	shape := mask.overlay
	if shape.W != m.W || shape.H != m.H {
		shape = imageio.ResizeMaskMode(maskMode(j.req.Init.ResizeMode), shape, m.W, m.H)
	}
	return imageio.Overlay(m, shape)
}

// fitOverlay gives a picture the size of its result where latents are resized.
func (j *job) fitOverlay(m imageio.RGB, mask *preparedMask) imageio.RGB {
	if mask.crop == nil && (m.W != j.req.Width || m.H != j.req.Height) {
		return m.Resize(j.req.Width, j.req.Height, imageio.Lanczos)
	}
	return m
}

// initSize is the size in pixels that init images are brought to. A picture
// whose unmasked part is laid over the result has the result's size.
func (j *job) initSize() (w, h int) {
	in := j.req.Init
	if in.Width == 0 || in.Height == 0 || in.Mask != nil && !in.Mask.OnlyMasked {
		return j.req.Width, j.req.Height
	}
	return in.Width, in.Height
}

// Resize modes of img2img, as the API numbers them.
const (
	fillResize   = 2
	latentResize = 3
)

// maskMode is the mode for a mask beside a picture: masks have no latents, and
// A1111 takes every mode it does not know for "resize and fill".
func maskMode(mode int) int {
	if mode == latentResize {
		return fillResize
	}
	return mode
}

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
	img := *j.blurredMask()
	w, h := j.initSize()
	if !m.OnlyMasked {
		img = imageio.ResizeMaskMode(maskMode(in.ResizeMode), img, w, h)
		return &preparedMask{image: img, overlay: img.Doubled()}
	}
	box, ok := imageio.CropRegion(img, m.Padding, w, h)
	if !ok {
		j.comment(`Unable to perform "Inpaint Only mask" because mask is blank, switch to img2img mode.`)
		return nil
	}
	return &preparedMask{
		image:   imageio.ResizeMaskMode(fillResize, img.Crop(box), w, h),
		overlay: img,
		crop:    &box,
	}
}

// blurredMask is the mask of the request after inversion and blur, at its own size; nil
// without one.
func (j *job) blurredMask() *imageio.Gray {
	if j.req.Init.Mask == nil {
		return nil
	}
	m := j.req.Init.Mask
	img := m.Image
	if m.Invert {
		img = img.Invert()
	}
	img = imageio.BlurMask(img, m.BlurX, m.BlurY)
	return &img
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
	if l.h == h && l.w == w {
		return l
	}
	return latents{n: l.n, h: h, w: w, data: latent.Resize(l.data, l.n*LatentChannels, l.h, l.w, h, w)}
}

// repeat gives every image of a batch the same latents when there is one only.
func repeat(l latents, batch int) latents {
	if l.n != 1 || batch == 1 || l.data == nil {
		return l
	}
	return latents{n: batch, h: l.h, w: l.w, data: slices.Repeat(l.data, batch)}
}

// finish corrects the colours of result i of a batch and lays the kept part of
// the init image over it.
func (j *job) finish(ctx context.Context, m imageio.RGB, i int) (imageio.RGB, error) {
	p := j.init
	if len(p.corrections) > 0 {
		m = p.corrections[i%len(p.corrections)].Apply(m)
	}
	if len(p.overlays) == 0 {
		return m, nil
	}
	overlay := p.overlays[i%len(p.overlays)]
	if p.pasteTo == nil {
		return imageio.LayOver(m, overlay), nil
	}
	m, err := j.resizeInit(ctx, imageio.CropAndResize, m, p.pasteTo.W(), p.pasteTo.H())
	if err != nil {
		return m, err
	}
	return imageio.PasteOver(m, *p.pasteTo, overlay), nil
}

// img2img makes the latents of one batch from the init latents.
func (j *job) img2img(ctx context.Context, seeds, subseeds []int64) (latents, error) {
	p, err := j.basePass(ctx)
	if err != nil {
		return latents{}, err
	}
	start := j.init.latents
	var soft *latent.Soft
	if j.init.nmask != nil {
		soft = j.req.Init.Mask.Soft
	}
	p.size = latents{n: start.n, h: start.h, w: start.w}
	p.noise = j.noise(seeds, subseeds, start.h, start.w, j.req.Settings.ENSD)
	p.concat = j.init.concat.data
	p.start = &sampler.Img2Img{
		Latent:          start.data,
		Strength:        j.req.DenoisingStrength,
		NoiseMultiplier: j.req.Init.NoiseMultiplier,
		Mask:            j.init.nmask,
		Soft:            soft,
	}
	out, err := j.sample(ctx, p)
	if err == nil && soft != nil {
		j.softOverlays(out)
	}
	return out, err
}

// softSeam is the deviation in pixels by which the mask of soft inpainting is blurred,
// which has one value for each cell.
const softSeam = 4

// softOverlays makes the overlays of a batch of results: each picture where little has
// changed.
func (j *job) softOverlays(made latents) {
	p := j.init
	p.overlays = p.overlays[:0]
	w, h := j.initSize()
	for i := range made.n {
		mask := j.req.Init.Mask.Soft.Changed(made.at(i), p.latents.at(i), p.nmask, LatentChannels, made.w)
		mask = imageio.ResizeMaskMode(fillResize, mask, w, h).GaussianBlur(softSeam)
		picture := p.kept[i%len(p.kept)]
		if p.pasteTo != nil {
			mask = mask.Onto(*p.pasteTo, picture.W, picture.H)
		}
		p.overlays = append(p.overlays, imageio.Overlay(picture, mask))
	}
}
