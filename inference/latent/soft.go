package latent

import (
	"math"
	"slices"

	"sdworker/fault"
	"sdworker/inference/imageio"
)

// Soft are the settings of soft inpainting: a mask in shades of grey mixes the picture
// with what replaces it, in each step and once more in pixels. Its formulas are those of
// the script of A1111 that was contributed with version 1.8.
type Soft struct {
	Bias         float64 // exponent of the noise level: above 1 keeps more while there is much noise
	Preservation float64 // how strongly cells that are masked in part keep the picture, 0 or more
	Contrast     float64 // exponent of the mean of lengths, above 0: higher ones lean to the longer vector

	MaskInfluence float64 // of the mask on what counts as changed, 0..1
	Threshold     float64 // distance of latents at which half of the picture shows through, 0 or more
	Sharpness     float64 // exponent of the transition, 0 or more
}

// DefaultSoft returns A1111's defaults.
func DefaultSoft() Soft {
	return Soft{Bias: 1, Preservation: 0.5, Contrast: 4, Threshold: 0.5, Sharpness: 2}
}

// Check reports settings for which the formulas have no value.
func (s Soft) Check() error {
	for _, v := range []struct {
		name       string
		value, min float64
	}{
		{"schedule bias", s.Bias, 0},
		{"preservation strength", s.Preservation, 0},
		{"transition contrast boost", s.Contrast, math.SmallestNonzeroFloat32},
		{"mask influence", s.MaskInfluence, 0},
		{"difference threshold", s.Threshold, 0},
		{"difference contrast", s.Sharpness, 0},
	} {
		if !(v.value >= v.min && v.value <= 1000) {
			return fault.FieldError("alwayson_scripts", "soft inpainting takes a %s of %.3g to 1000, not %g", v.name, v.min, v.value)
		}
	}
	if s.MaskInfluence > 1 {
		return fault.FieldError("alwayson_scripts", "soft inpainting takes a mask influence of 0 to 1, not %g", s.MaskInfluence)
	}
	return nil
}

// Blend mixes x with init, both [N,channels,H,W], at a noise level: directions by the
// mask [H,W] (1 = keep x), lengths of the channels' vectors by a power mean.
func (s Soft) Blend(x, init, mask []float32, channels int, level float32) {
	plane := len(mask)
	exponent := float64(float32(math.Pow(float64(level), s.Bias)) * float32(s.Preservation))
	share := make([]float32, plane)
	for i, m := range mask {
		share[i] = float32(math.Pow(float64(m), exponent))
	}
	for at := 0; at < len(x); at += channels * plane {
		for i, t := range share {
			var a, b, mixed float64 // squares of lengths
			for k := at + i; k < at+channels*plane; k += plane {
				v := init[k]*(1-t) + x[k]*t
				a, b, mixed = a+float64(init[k])*float64(init[k]), b+float64(x[k])*float64(x[k]), mixed+float64(v)*float64(v)
				x[k] = v
			}
			length := s.mean(math.Sqrt(a), math.Sqrt(b), t)
			factor := float32(length / (math.Sqrt(mixed) + 1e-5))
			for k := at + i; k < at+channels*plane; k += plane {
				x[k] *= factor
			}
		}
	}
}

// mean is the power mean of two lengths, t being the share of the second one.
func (s Soft) mean(a, b float64, t float32) float64 {
	longer := max(a, b)
	if longer == 0 {
		return 0
	}
	// Divided by the longer one no power is beyond what a number holds.
	sum := math.Pow(a/longer, s.Contrast)*float64(1-t) + math.Pow(b/longer, s.Contrast)*float64(t)
	return longer * math.Pow(sum, 1/s.Contrast)
}

// Changed is how much of a result replaces the picture, white = all: made and init are
// latents [channels,H,W] of one image, mask is [H,W] with 1 = repaint.
func (s Soft) Changed(made, init, mask []float32, channels, w int) imageio.Gray {
	h := len(mask) / w
	distance := make([]float32, len(mask))
	for i := range distance {
		sum := 0.0
		for k := i; k < channels*len(mask); k += len(mask) {
			d := float64(made[k] - init[k])
			sum += d * d
		}
		distance[i] = float32(math.Sqrt(sum))
	}
	distance = orderFilter(orderFilter(distance, w, 0.9, 1), w, 0.25, 0.75)
	out := imageio.NewGray(w, h)
	for i, d := range distance {
		out.Pix[i] = s.opacity(d, mask[i])
	}
	return out
}

// opacity is how much of a cell's result shows that has moved by a distance.
func (s Soft) opacity(distance, mask float32) uint8 {
	hidden := 1 - float32(math.Pow(float64(min(max(mask, 0), 1)), s.Preservation/2))
	hidden = float32(0.5*(1-s.MaskInfluence)) + hidden*float32(s.MaskInfluence)
	half := float32(s.Threshold) * (hidden / (1.00001 - hidden))
	if half == 0 && distance == 0 {
		return 0
	}
	x := 1 / (1 + float32(math.Pow(float64(distance/half), s.Sharpness)))
	return uint8(255 * (1 - x*x*x*(x*(6*x-15)+10)))
}

// reach is the radius of the window of orderFilter, in cells.
const reach = 2

// bell holds the weights of that window by squared distance: a Gaussian that is 0 one
// cell outside of it.
var bell = func() (out [2*reach*reach + 1]float64) {
	gauss := func(squared float64) float64 { return math.Exp(-squared / (1.5 * 1.5)) }
	zero := gauss((reach + 1) * (reach + 1))
	for i := range out {
		out[i] = (gauss(float64(i)) - zero) / (1 - zero)
	}
	return out
}()

// orderFilter gives each cell the mean of those values around it that lie between two
// shares, low and high, of the window's weight, in their order.
func orderFilter(plane []float32, w int, low, high float64) []float32 {
	type sample struct{ value, weight float64 }
	h := len(plane) / w
	out := make([]float32, len(plane))
	window := make([]sample, 0, (2*reach+1)*(2*reach+1))
	for i := range out {
		x, y := i%w, i/w
		window = window[:0]
		total := 0.0
		for ny := max(y-reach, 0); ny <= min(y+reach, h-1); ny++ {
			for nx := max(x-reach, 0); nx <= min(x+reach, w-1); nx++ {
				weight := bell[(nx-x)*(nx-x)+(ny-y)*(ny-y)]
				window = append(window, sample{float64(plane[ny*w+nx]), weight})
				total += weight
			}
		}
		slices.SortFunc(window, func(a, b sample) int {
			switch {
			case a.value < b.value:
				return -1
			case a.value > b.value:
				return 1
			}
			return 0
		})
		begin, end := span(total, low, high)
		edge, sum, weights := 0.0, 0.0, 0.0
		for _, s := range window {
			if part := min(edge+s.weight, end) - max(edge, begin); part > 0 {
				sum, weights = sum+s.value*part, weights+part
			}
			edge += s.weight
		}
		if weights > 0 {
			out[i] = float32(sum / weights)
		}
	}
	return out
}

// span is the part of a window's weight between two shares, at least one wide.
func span(total, low, high float64) (begin, end float64) {
	begin, end = total*low, total*high
	if end-begin >= 1 {
		return begin, end
	}
	middle := (begin + end) / 2
	begin, end = middle-0.5, middle+0.5
	if end > total {
		begin, end = total-1, total
	}
	if begin < 0 {
		begin, end = 0, 1
	}
	return begin, end
}
