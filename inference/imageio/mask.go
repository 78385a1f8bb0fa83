package imageio

import "math"

// Mask turns the picture of a request into a mask: its alpha channel when that is
// not opaque everywhere, otherwise its brightness. round makes an alpha mask hard:
// above 128 is white, the rest black.
func Mask(m Decoded, round bool) Gray {
	if !m.HasAlpha || m.Opaque() {
		return m.DropAlpha().Luma()
	}
	mask := m.Alpha()
	if round {
		for i, v := range mask.Pix {
			mask.Pix[i] = 0
			if v > 128 {
				mask.Pix[i] = 255
			}
		}
	}
	return mask
}

// Invert returns the mask with black and white exchanged.
func (m Gray) Invert() Gray {
	out := NewGray(m.W, m.H)
	for i, v := range m.Pix {
		out.Pix[i] = 255 - v
	}
	return out
}

// Doubled returns the mask twice as bright, at most white: what A1111 lays the
// original through when it inpaints a whole picture.
func (m Gray) Doubled() Gray {
	out := NewGray(m.W, m.H)
	for i, v := range m.Pix {
		out.Pix[i] = uint8(min(2*int(v), 255))
	}
	return out
}

// BlurKernelSize is the width in pixels of the Gaussian for a mask blur.
func BlurKernelSize(blur int) int { return 2*int(2.5*float64(blur)+0.5) + 1 }

// BlurMask blurs a mask with a Gaussian per axis, its standard deviation given in
// pixels; 0 or less leaves the axis alone. It computes as OpenCV's GaussianBlur
// does for bytes: weights of 8 fractional bits, edges mirrored without repeating
// the outermost pixel.
func BlurMask(m Gray, blurX, blurY int) Gray {
	if blurX > 0 {
		m = convolveRows(m, gaussian(blurX))
	}
	if blurY > 0 {
		m = convolveColumns(m, gaussian(blurY))
	}
	return m
}

// gaussian returns weights that sum up to 256. Rounding errors are carried from
// the edge inwards and end in the middle weight.
func gaussian(blur int) []int {
	n := BlurKernelSize(blur)
	exact := make([]float64, n/2)
	sum := 0.0
	for i := range exact {
		x := float64(i - n/2)
		exact[i] = math.Exp(-x * x / (2 * float64(blur) * float64(blur)))
		sum += exact[i]
	}
	scale := 256 / (2*sum + 1)
	weights := make([]int, n)
	carry, total := 0.0, 0
	for i, v := range exact {
		v = v*scale + carry
		weight := math.RoundToEven(v)
		carry = v - weight
		weights[i], weights[n-1-i] = int(weight), int(weight)
		total += 2 * int(weight)
	}
	weights[n/2] = 256 - total
	return weights
}

func convolveRows(m Gray, weights []int) Gray {
	out := NewGray(m.W, m.H)
	padded := make([]int, m.W+len(weights)-1)
	for y := range m.H {
		row := m.Pix[y*m.W : (y+1)*m.W]
		for i := range padded {
			padded[i] = int(row[mirror(i-len(weights)/2, m.W)])
		}
		for x := range row {
			sum := 128
			for k, v := range padded[x:][:len(weights)] {
				sum += v * weights[k]
			}
			out.Pix[y*m.W+x] = uint8(sum >> 8)
		}
	}
	return out
}

func convolveColumns(m Gray, weights []int) Gray {
	out := NewGray(m.W, m.H)
	sums := make([]int, m.W)
	for y := range m.H {
		for x := range sums {
			sums[x] = 128
		}
		for k, weight := range weights {
			from := mirror(y+k-len(weights)/2, m.H)
			for x, v := range m.Pix[from*m.W : (from+1)*m.W] {
				sums[x] += int(v) * weight
			}
		}
		for x, sum := range sums {
			out.Pix[y*m.W+x] = uint8(sum >> 8)
		}
	}
	return out
}

// mirror reflects an index into 0..n-1 without repeating the edges
// (BORDER_REFLECT_101).
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	for i < 0 || i >= n {
		if i < 0 {
			i = -i
		} else {
			i = 2*(n-1) - i
		}
	}
	return i
}
