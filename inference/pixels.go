package inference

import (
	"math"

	"sdworker/inference/imageio"
)

// toRGB turns planar pixels [3,h,w] of 0..1 into bytes as A1111 does: times
// 255, cut off, not rounded.
func toRGB(planar []float32, h, w int) imageio.RGB {
	m := imageio.NewRGB(w, h)
	plane := h * w
	r, g, b := planar[:plane], planar[plane:2*plane], planar[2*plane:3*plane]
	for i := range plane {
		m.Pix[3*i] = toByte(r[i])
		m.Pix[3*i+1] = toByte(g[i])
		m.Pix[3*i+2] = toByte(b[i])
	}
	return m
}

func toByte(v float32) uint8 {
	if !(v > 0) { // also NaN
		return 0
	}
	if v >= 1 {
		return 255
	}
	return uint8(v * 255)
}

// roundRGB is toRGB with rounding, as A1111 reads an upscaler model's output.
func roundRGB(planar []float32, h, w int) imageio.RGB {
	for i, v := range planar {
		planar[i] = (float32(math.RoundToEven(float64(v)*255)) + 0.25) / 255
	}
	return toRGB(planar, h, w)
}

// toPlanar turns a picture into planar pixels [3,h,w] of 0..1.
func toPlanar(m imageio.RGB) []float32 {
	plane := m.W * m.H
	out := make([]float32, 3*plane)
	for i := range plane {
		out[i] = float32(m.Pix[3*i]) / 255
		out[plane+i] = float32(m.Pix[3*i+1]) / 255
		out[2*plane+i] = float32(m.Pix[3*i+2]) / 255
	}
	return out
}
