package rng

import "math"

// Shape is the size of one image's latent in row-major order.
type Shape struct {
	C, H, W int // channels; height and width in latent cells, that is pixels/8
}

// Len is the number of values.
func (s Shape) Len() int { return s.C * s.H * s.W }

// nearlyEqual is the mean cosine above which two noises are mixed linearly.
const nearlyEqual = 0.9995

// Slerp blends two noises of the given shape: strength 0 gives low, 1 gives
// high. As in A1111 the angle is taken over the height axis, one for each
// channel and column, and noises that point almost the same way are mixed
// linearly with the weights exchanged, low*strength + high*(1-strength).
func Slerp(strength float64, low, high []float32, shape Shape) []float32 {
	omega := make([]float64, shape.C*shape.W)
	var sum float64
	for c := range shape.C {
		for x := range shape.W {
			var ll, hh, lh float64
			for y := range shape.H {
				i := (c*shape.H+y)*shape.W + x
				l, h := float64(low[i]), float64(high[i])
				ll += l * l
				hh += h * h
				lh += l * h
			}
			dot := lh / math.Sqrt(ll*hh)
			sum += dot
			omega[c*shape.W+x] = math.Acos(max(-1, min(1, dot)))
		}
	}

	out := make([]float32, len(low))
	if sum/float64(len(omega)) > nearlyEqual {
		for i := range out {
			out[i] = float32(float64(low[i])*strength + float64(high[i])*(1-strength))
		}
		return out
	}
	for c := range shape.C {
		for x := range shape.W {
			lowWeight, highWeight := slerpWeights(strength, omega[c*shape.W+x])
			for y := range shape.H {
				i := (c*shape.H+y)*shape.W + x
				out[i] = float32(lowWeight)*low[i] + float32(highWeight)*high[i]
			}
		}
	}
	return out
}

// slerpWeights returns the weights for the angle omega. Parallel columns, which
// every latent of height 1 has, make the formula 0/0; they are mixed linearly.
func slerpWeights(strength, omega float64) (low, high float64) {
	sin := math.Sin(omega)
	if !(math.Abs(sin) > 1e-7) {
		return 1 - strength, strength
	}
	return math.Sin((1-strength)*omega) / sin, math.Sin(strength*omega) / sin
}
