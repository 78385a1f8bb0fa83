package inference

import (
	"context"

	"sdworker/inference/imageio"
)

// Preview methods.
const (
	PreviewApprox = "approx" // a linear map of the latent, one pixel per cell
	PreviewTAESD  = "taesd"  // a small decoder, at full size
	PreviewFull   = "full"   // the VAE
)

// latentRGB maps the four latent channels to red, green and blue in -1..1. The
// numbers are a least-squares fit published at
// https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204
var latentRGB = [LatentChannels][3]float32{
	{0.298, 0.207, 0.208},
	{0.187, 0.286, 0.173},
	{-0.158, 0.189, 0.264},
	{-0.184, -0.271, -0.473},
}

// approximate turns one UNet-scale latent [4,h,w] into a picture of w by h
// pixels, one per cell.
func approximate(latent []float32, h, w int) imageio.RGB {
	m := imageio.NewRGB(w, h)
	plane := h * w
	for i := range plane {
		for c := range 3 {
			var sum float32
			for k := range LatentChannels {
				sum += latent[k*plane+i] * latentRGB[k][c]
			}
			m.Pix[3*i+c] = toByte((sum+1)/2, 0)
		}
	}
	return m
}

// preview makes the live picture of the first image of a batch. A method that
// is not at hand falls back to the cheap one.
func (j *job) preview(ctx context.Context, latent []float32, h, w int) (imageio.RGB, error) {
	latent = latent[:LatentChannels*h*w]
	switch j.req.Preview.Method {
	case PreviewTAESD:
		if _, ok := j.eng.model.eng.(PreviewDecoder); !ok || j.req.Files.TAESD == "" {
			break
		}
		pixels, err := j.eng.DecodePreview(ctx, j.req.Files.TAESD, latent, h, w)
		if err != nil {
			return imageio.RGB{}, err
		}
		return toRGB(pixels, h*LatentScale, w*LatentScale), nil
	case PreviewFull:
		return j.decodeOne(ctx, latent, h, w, nil)
	}
	return approximate(latent, h, w), nil
}
