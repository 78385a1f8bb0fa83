package imageio

import "math"

// gaussianPasses is how many box blurs Pillow replaces a Gaussian with.
const gaussianPasses = 3

// gaussianBlur blurs interleaved channels as Pillow's GaussianBlur does: three
// box blurs per axis whose fractional radius gives the standard deviation
// (Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended
// box filtering", SSVM 2011).
func gaussianBlur(pix []uint8, w, h, channels int, deviation float32) []uint8 {
	box := newBox(boxRadius(deviation))
	out := append([]uint8(nil), pix...)
	tmp := make([]uint8, len(pix))
	for range gaussianPasses {
		box.rows(tmp, out, w, h, channels)
		out, tmp = tmp, out
	}
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

func (b box) rows(dst, src []uint8, w, h, channels int) {
	clamp := func(x int) int { return min(max(x, 0), w-1) * channels }
	inBands(h, len(dst), func(from, to int) {
		for i := from * channels; i < to*channels; i++ {
			at := i/channels*w*channels + i%channels
			in, out := src[at:], dst[at:]
			sum := uint32(0)
			for x := -b.radius - 1; x < b.radius; x++ {
				sum += uint32(in[clamp(x)])
			}
			for x := range w {
				leave := uint32(in[clamp(x-b.radius-1)])
				sum += uint32(in[clamp(x+b.radius)]) - leave
				out[x*channels] = b.value(sum, leave+uint32(in[clamp(x+b.radius+1)]))
			}
		}
	})
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
