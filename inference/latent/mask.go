package latent

import (
	"math"
	"slices"

	"sdworker/inference/imageio"
)

// Mask scales a pixel mask to latent cells: [h,w], 1 = repaint. A1111 scales with
// Pillow's bicubic filter; round then makes each cell 0 or 1.
func Mask(pixels imageio.Gray, w, h int, round bool) []float32 {
	levels := pixels.Resize(w, h, imageio.Bicubic).Pix
	mask := make([]float32, len(levels))
	for i, level := range levels {
		mask[i] = float32(level) / 255
		if round {
			mask[i] = float32(math.RoundToEven(float64(mask[i])))
		}
	}
	return mask
}

// FillNoise puts noise where the mask says repaint: inpainting_fill 2.
func FillNoise(x, noise, mask []float32) {
	filled := slices.Clone(noise)
	Blend(filled, x, mask)
	copy(x, filled)
}

// FillNothing empties the latent where the mask says repaint: inpainting_fill 3.
func FillNothing(x, mask []float32) { FillNoise(x, make([]float32, len(x)), mask) }
