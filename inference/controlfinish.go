package inference

import (
	"context"
	"strings"

	"sdworker/inference/hint"
	"sdworker/inference/imageio"
)

// paintOver does to a decoded picture [3,h,w] of 0..1 what the preprocessors of the
// units do last: inpaint_only keeps its own picture outside of the mask, and the
// recolor ones keep its lightness.
func (j *job) paintOver(ctx context.Context, pixels []float32, h, w int) error {
	for i, u := range j.req.Control {
		var over func(pixels []float32, made hint.Hint)
		switch {
		case u.Module == "inpaint_only":
			over = keepUnmasked
		case strings.Contains(u.Module, "recolor_luminance"):
			over = keepLuminance
		case strings.Contains(u.Module, "recolor_intensity"):
			over = keepIntensity
		default:
			continue
		}
		made, err := j.hint(ctx, i, w, h)
		if err != nil {
			return err
		}
		over(pixels, made)
	}
	return nil
}

// seam is the width in pixels by which a mask grows and is blurred where the result is
// laid over the kept part: control_net_inpaint_blur_sigma.
const seam = 7

// keepUnmasked mixes the result with the unit's own picture along the mask.
func keepUnmasked(pixels []float32, made hint.Hint) {
	if made.Mask == nil {
		return
	}
	grown := largest(made.Mask, made.H, made.W, seam, 1, seam/2)
	mask := make([]float32, len(grown))
	for y := range made.H {
		for x := range made.W {
			var sum float32
			for dy := -seam / 2; dy <= seam/2; dy++ {
				for dx := -seam / 2; dx <= seam/2; dx++ {
					sum += grown[imageio.Mirror(y+dy, made.H)*made.W+imageio.Mirror(x+dx, made.W)]
				}
			}
			mask[y*made.W+x] = sum / (seam * seam)
		}
	}
	for i, v := range pixels {
		m := mask[i%len(mask)]
		pixels[i] = min(max(m*min(max(v, 0), 1)+(1-m)*made.Pixels[i], 0), 1)
	}
}

// grey is the first channel of a hint in bytes.
func grey(made hint.Hint) []uint8 {
	out := make([]uint8, made.W*made.H)
	for i := range out {
		out[i] = uint8(min(max(made.Pixels[i]*255, 0), 255))
	}
	return out
}

func keepLuminance(pixels []float32, made hint.Hint) {
	lab := imageio.ToLab(toRGB(pixels, made.H, made.W))
	lab[0] = grey(made)
	copy(pixels, toPlanar(imageio.FromLab(lab, made.W, made.H)))
}

func keepIntensity(pixels []float32, made hint.Hint) {
	copy(pixels, toPlanar(imageio.WithValue(toRGB(pixels, made.H, made.W), grey(made))))
}
