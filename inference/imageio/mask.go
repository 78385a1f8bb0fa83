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
		m.Pix = rounded(rowSums(m.Pix, m.W, m.H, 1, gaussian(BlurKernelSize(blurX), float64(blurX))), 8)
	}
	if blurY > 0 {
		m.Pix = rounded(columnSums(m.Pix, m.W, m.H, gaussian(BlurKernelSize(blurY), float64(blurY))), 8)
	}
	return m
}

// Blur blurs a picture by a standard deviation of sigma pixels, above 0, with the
// kernel that OpenCV's GaussianBlur chooses by itself: three sigma to each side. It
// rounds once, after both axes.
func (m RGB) Blur(sigma float64) RGB {
	weights := gaussian(round(sigma*6+1)|1, sigma)
	m.Pix = rounded(columnSums(rowSums(m.Pix, m.W, m.H, 3, weights), 3*m.W, m.H, weights), 16)
	return m
}

// gaussian returns n weights, an odd number, that sum up to 256. Rounding errors are
// carried from the edge inwards and end in the middle weight.
func gaussian(n int, sigma float64) []int {
	exact := make([]float64, n/2)
	sum := 0.0
	for i := range exact {
		x := float64(i - n/2)
		exact[i] = math.Exp(-x * x / (2 * sigma * sigma))
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

// rowSums filters along the rows of w pixels of so many channels.
func rowSums(pix []uint8, w, h, channels int, weights []int) []int32 {
	stride := w * channels
	out := make([]int32, stride*h)
	padded := make([]int32, (w+len(weights)-1)*channels)
	for y := range h {
		row := pix[y*stride : (y+1)*stride]
		for x := range w + len(weights) - 1 {
			from := Mirror(x-len(weights)/2, w)
			for c := range channels {
				padded[x*channels+c] = int32(row[from*channels+c])
			}
		}
		to := out[y*stride : (y+1)*stride]
		for k, weight := range weights {
			for x, v := range padded[k*channels:][:stride] {
				to[x] += v * int32(weight)
			}
		}
	}
	return out
}

// columnSums filters along the columns of h values.
func columnSums[T uint8 | int32](pix []T, stride, h int, weights []int) []int32 {
	out := make([]int32, len(pix))
	for y := range h {
		to := out[y*stride : (y+1)*stride]
		for k, weight := range weights {
			from := Mirror(y+k-len(weights)/2, h)
			for x, v := range pix[from*stride : (from+1)*stride] {
				to[x] += int32(v) * int32(weight)
			}
		}
	}
	return out
}

// rounded drops the fractional bits of sums.
func rounded(sums []int32, bits int) []uint8 {
	out := make([]uint8, len(sums))
	for i, v := range sums {
		out[i] = uint8((v + 1<<(bits-1)) >> bits)
	}
	return out
}

// Mirror reflects an index into 0..n-1 without repeating the edges (OpenCV's
// BORDER_REFLECT_101).
func Mirror(i, n int) int {
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
