package inference

import "sdworker/inference/imageio"

// toRGB turns planar pixels [3,h,w] of 0..1 into bytes as A1111 does with what
// the VAE gives: times 255, cut off, not rounded.
func toRGB(planar []float32, h, w int) imageio.RGB { return interleave(planar, h, w, 0) }

// roundRGB is toRGB with rounding, as A1111 does with what an upscaler model
// gives.
func roundRGB(planar []float32, h, w int) imageio.RGB { return interleave(planar, h, w, 0.5) }

func interleave(planar []float32, h, w int, bias float32) imageio.RGB {
	m := imageio.NewRGB(w, h)
	plane := h * w
	r, g, b := planar[:plane], planar[plane:2*plane], planar[2*plane:3*plane]
	for i := range plane {
		m.Pix[3*i] = toByte(r[i], bias)
		m.Pix[3*i+1] = toByte(g[i], bias)
		m.Pix[3*i+2] = toByte(b[i], bias)
	}
	return m
}

func toByte(v, bias float32) uint8 {
	if !(v > 0) { // also NaN
		return 0
	}
	if v >= 1 {
		return 255
	}
	return uint8(v*255 + bias)
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
