package inference

import "context"

// concatChannels are the channels that an inpainting checkpoint takes beside
// the latent: the mask and the latent of the masked picture.
const concatChannels = 1 + LatentChannels

// inpainting reports whether the checkpoint in use takes the extra channels.
func (j *job) inpainting() bool {
	return j.eng.Info().UNetChannels == LatentChannels+concatChannels
}

// blankConcat returns the extra channels [n,5,h,w] of a picture that is to be
// painted whole, nil for a plain checkpoint: a mask of ones and an encoded grey
// picture (txt2img_image_conditioning of modules/processing.py).
func (j *job) blankConcat(ctx context.Context, n, h, w int) (latents, error) {
	if !j.inpainting() {
		return latents{n: n, h: h, w: w}, nil
	}
	grey := make([]float32, 3*h*w*LatentScale*LatentScale)
	for i := range grey {
		grey[i] = 0.5
	}
	encoded, err := j.encode(ctx, [][]float32{grey}, h*LatentScale, w*LatentScale)
	if err != nil {
		return latents{}, err
	}
	ones := make([]float32, h*w)
	for i := range ones {
		ones[i] = 1
	}
	out := latents{n: n, h: h, w: w}
	for range n {
		out.data = append(append(out.data, ones...), encoded.data...)
	}
	return out, nil
}

// concatFrom returns the extra channels, at the size of cells, for pictures
// [3,h,w] of 0..1 with a pixel mask, or with everything to repaint when mask is
// nil (inpainting_image_conditioning of modules/processing.py).
func (j *job) concatFrom(ctx context.Context, pictures [][]float32, h, w int, mask *preparedMask, cells latents) (latents, error) {
	out := latents{n: len(pictures), h: cells.h, w: cells.w}
	if !j.inpainting() {
		return out, nil
	}
	repaint := j.conditionMask(mask, h, w)
	weight := float32(j.req.Settings.ConditionWeight)
	masked := make([][]float32, len(pictures))
	for i, pixels := range pictures {
		masked[i] = make([]float32, len(pixels))
		for k, v := range pixels {
			// Grey is the zero of the VAE's -1..1, so masked pixels turn grey.
			masked[i][k] = v + weight*repaint[k%(h*w)]*(0.5-v)
		}
	}
	encoded, err := j.encode(ctx, masked, h, w)
	if err != nil {
		return latents{}, err
	}
	encoded = resizeLatents(encoded, out.h, out.w)
	small := nearest(repaint, h, w, out.h, out.w)
	for i := range pictures {
		out.data = append(append(out.data, small...), encoded.at(i)...)
	}
	return out, nil
}

// conditionMask returns the pixel mask [h,w], 1 = repaint.
func (j *job) conditionMask(mask *preparedMask, h, w int) []float32 {
	out := make([]float32, h*w)
	if mask == nil {
		for i := range out {
			out[i] = 1
		}
		return out
	}
	for i, v := range sized(mask.image, w, h).Pix[:h*w] {
		switch {
		case !j.req.Init.Mask.Round:
			out[i] = float32(v) / 255
		case v >= 128: // 127.5 and more round to 1
			out[i] = 1
		}
	}
	return out
}

// nearest picks one value per cell as torch's nearest interpolation does.
func nearest(plane []float32, h, w, toH, toW int) []float32 {
	out := make([]float32, 0, toH*toW)
	for y := range toH {
		for x := range toW {
			out = append(out, plane[y*h/toH*w+x*w/toW])
		}
	}
	return out
}
