package imageio

import "math"

// gaussianPasses is how many box blurs Pillow replaces a Gaussian with.
const gaussianPasses = 3

// GaussianBlur blurs a mask by a standard deviation in pixels as Pillow's filter does.
func (m Gray) GaussianBlur(deviation float32) Gray {
	return Gray{m.W, m.H, gaussianBlur(m.Pix, m.W, m.H, 1, deviation)}
}

// gaussianBlur blurs interleaved channels as Pillow's GaussianBlur does: three
// box blurs per axis whose fractional radius gives the standard deviation
// (Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended
// box filtering", SSVM 2011).
func gaussianBlur(pix []uint8, w, h, channels int, deviation float32) []uint8 {
	out := append([]uint8(nil), pix...)
	if deviation == 0 {
		return out
	}
	box := newBox(boxRadius(deviation))
	box.rows(out, w, h, channels)
	tmp := make([]uint8, len(pix))
	for range gaussianPasses {
		box.columns(tmp, out, w*channels, h)
		out, tmp = tmp, out
	}
	return out
}

// boxRadius follows libImaging/BoxBlur.c in its mixture of float and double.
func boxRadius(deviation float32) float32 {
	variance := float32(deviation*deviation) / gaussianPasses
	length := float32(math.Sqrt(12*float64(variance) + 1))
	whole := float32(math.Floor((float64(length) - 1) / 2))
	part := float32(2*whole+1) * float32(float32(whole*float32(whole+1))-float32(3*variance))
	part /= 6 * float32(variance-float32(float32(whole+1)*float32(whole+1)))
	return whole + part
}

// box is a box blur: radius whole pixels to each side and a weaker one behind
// them. Weights are fractions of 1<<24.
type box struct {
	radius     int
	inner, far uint32
}

func newBox(radius float32) box {
	b := box{radius: int(radius)}
	b.inner = uint32(float32(1<<24) / (radius*2 + 1))
	b.far = (1<<24 - uint32(2*b.radius+1)*b.inner) / 2
	return b
}

func (b box) value(sum, far uint32) uint8 {
	return uint8((sum*b.inner + far*b.far + 1<<23) >> 24)
}

// rows blurs along rows in place, all passes of one channel of a row at once.
func (b box) rows(pix []uint8, w, h, channels int) {
	side := b.radius + 1
	inBands(h, len(pix), func(from, to int) {
		line := make([]uint32, w+2*side) // the channel, its outermost values repeated on both sides
		inner, blurred := line[side:side+w], make([]uint32, w)
		for i := from * channels; i < to*channels; i++ {
			in := pix[i/channels*w*channels+i%channels:]
			for x := range inner {
				inner[x] = uint32(in[x*channels])
			}
			for range gaussianPasses {
				for k := range side {
					line[k], line[side+w+k] = inner[0], inner[w-1]
				}
				b.line(blurred, line)
				copy(inner, blurred)
			}
			for x, v := range inner {
				in[x*channels] = uint8(v)
			}
		}
	})
}

// line blurs one line; padded has radius+1 more values than out on each side.
func (b box) line(out, padded []uint32) {
	width := 2*b.radius + 1
	sum := uint32(0)
	for _, v := range padded[:width] {
		sum += v
	}
	leave, enter, far := padded[:len(out)], padded[width:][:len(out)], padded[width+1:][:len(out)]
	for x := range out {
		sum += enter[x] - leave[x]
		out[x] = uint32(b.value(sum, leave[x]+far[x]))
	}
}

// columns blurs down rows of stride bytes.
func (b box) columns(dst, src []uint8, stride, h int) {
	inBands(stride, len(dst), func(from, to int) {
		row := func(y int) []uint8 {
			y = min(max(y, 0), h-1)
			return src[y*stride+from : y*stride+to]
		}
		sums := make([]uint32, to-from)
		for y := -b.radius - 1; y < b.radius; y++ {
			for i, v := range row(y) {
				sums[i] += uint32(v)
			}
		}
		for y := range h {
			leave, enter, far := row(y-b.radius-1), row(y+b.radius), row(y+b.radius+1)
			out := dst[y*stride+from:][:len(sums)]
			for i := range sums {
				sums[i] += uint32(enter[i]) - uint32(leave[i])
				out[i] = b.value(sums[i], uint32(leave[i])+uint32(far[i]))
			}
		}
	})
}
