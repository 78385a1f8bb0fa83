package imageio

import (
	"math"
	"slices"
)

// WithValue gives each pixel the V of HSV that value holds for it, by way of OpenCV's
// 8-bit HSV (modules/imgproc/src/color_hsv.simd.hpp): H in 0..179, S and V in 0..255.
func WithValue(m RGB, value []uint8) RGB {
	out := NewRGB(m.W, m.H)
	for i, v := range value {
		h, s := hueSaturation([3]uint8(m.Pix[3*i:]))
		colour := fromHSV(h, s, v)
		copy(out.Pix[3*i:], colour[:])
	}
	return out
}

// hueSaturation computes in fixed point of 12 bits, by quotients that are rounded
// before they are multiplied.
func hueSaturation(p [3]uint8) (h, s uint8) {
	const shift = 12
	r, g, b := int(p[0]), int(p[1]), int(p[2])
	v := max(r, g, b)
	diff := v - min(r, g, b)
	quotient := func(scale float64, by int) int {
		if by == 0 {
			return 0
		}
		return round(scale * (1 << shift) / float64(by))
	}
	saturation := (diff*quotient(255, v) + 1<<(shift-1)) >> shift
	var hue int
	switch v {
	case r:
		hue = g - b
	case g:
		hue = b - r + 2*diff
	default:
		hue = r - g + 4*diff
	}
	hue = (hue*quotient(180.0/6, diff) + 1<<(shift-1)) >> shift
	if hue < 0 {
		hue += 180
	}
	return clip8(hue), uint8(saturation)
}

// fromHSV computes in float32.
func fromHSV(h, s, v uint8) [3]uint8 {
	const unit = float32(1) / 255
	hue, saturation, value := float32(h)*(6.0/180), float32(s)*unit, float32(v)*unit
	sector := int(math.Floor(float64(hue)))
	part := hue - float32(sector)
	sector %= 6
	tab := [4]float32{value, value * (1 - saturation), value * (1 - float32(saturation*part)), value * (1 - float32(saturation*(1-part)))}
	// Which of them are blue, green and red in the six sectors.
	bgr := [6][3]int{{1, 3, 0}, {1, 0, 2}, {3, 0, 1}, {0, 2, 1}, {0, 1, 3}, {2, 1, 0}}[sector]
	slices.Reverse(bgr[:])
	var out [3]uint8
	for c, k := range bgr {
		out[c] = clip8(round(float64(tab[k] * 255)))
	}
	return out
}
