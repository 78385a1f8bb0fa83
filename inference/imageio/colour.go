package imageio

// ColorTarget holds the colour distribution of an init image, which results are
// given (option img2img_color_correction).
type ColorTarget struct {
	counts [3][256]int // of L, a and b
	total  int
}

// NewColorTarget measures a picture.
func NewColorTarget(m RGB) ColorTarget {
	t := ColorTarget{total: m.W * m.H}
	for c, plane := range ToLab(m) {
		for _, v := range plane {
			t.counts[c][v]++
		}
	}
	return t
}

// Apply matches the histograms of L, a and b to the target's and then takes the
// brightness of the picture as it was, as A1111's apply_color_correction does.
func (t ColorTarget) Apply(m RGB) RGB {
	planes := ToLab(m)
	for c, plane := range planes {
		t.match(c, plane)
	}
	return luminosity(FromLab(planes, m.W, m.H), m)
}

// match maps the values of a plane so that their cumulative distribution follows
// the target's, with linear interpolation between its values and fractions cut
// off (skimage.exposure.match_histograms).
func (t ColorTarget) match(channel int, plane []uint8) {
	var quantiles []float64
	var values []int
	sum := 0
	for v, n := range t.counts[channel] {
		if n == 0 {
			continue
		}
		sum += n
		quantiles = append(quantiles, float64(sum)/float64(t.total))
		values = append(values, v)
	}
	var counts [256]int
	for _, v := range plane {
		counts[v]++
	}
	var mapped [256]uint8
	sum = 0
	for v, n := range counts {
		sum += n
		mapped[v] = uint8(interpolate(float64(sum)/float64(len(plane)), quantiles, values))
	}
	for i, v := range plane {
		plane[i] = mapped[v]
	}
}

// interpolate is numpy's interp: constant outside of xs, linear inside.
func interpolate(x float64, xs []float64, ys []int) float64 {
	last := len(xs) - 1
	if x <= xs[0] {
		return float64(ys[0])
	}
	for i := range last {
		if x < xs[i+1] {
			slope := float64(ys[i+1]-ys[i]) / (xs[i+1] - xs[i])
			return slope*(x-xs[i]) + float64(ys[i])
		}
	}
	return float64(ys[last])
}

// luminosity gives the colours the brightness of another picture: the blend mode
// of that name in the W3C's compositing specification, fractions cut off.
func luminosity(colours, brightness RGB) RGB {
	out := NewRGB(colours.W, colours.H)
	for i := 0; i < len(out.Pix); i += 3 {
		var c, target [3]float64
		for k := range 3 {
			c[k], target[k] = float64(colours.Pix[i+k])/255, float64(brightness.Pix[i+k])/255
		}
		shift := luma(target) - luma(c)
		for k := range 3 {
			c[k] += shift
		}
		l, lowest, highest := luma(c), min(c[0], c[1], c[2]), max(c[0], c[1], c[2])
		if lowest < 0 {
			for k := range 3 {
				c[k] = l + (c[k]-l)*l/(l-lowest)
			}
		}
		if highest > 1 {
			for k := range 3 {
				c[k] = l + (c[k]-l)*(1-l)/(highest-l)
			}
		}
		for k := range 3 {
			out.Pix[i+k] = uint8(min(max(c[k], 0), 1) * 255)
		}
	}
	return out
}

func luma(c [3]float64) float64 { return c[0]*0.299 + c[1]*0.587 + c[2]*0.114 }
