package imageio

import (
	"math"
	"runtime"
	"sync"
)

// Filter is a resampling kernel of Pillow.
type Filter int

// Filters, named as in Pillow.
const (
	Nearest     Filter = iota
	AreaAverage        // BOX in Pillow
	Bilinear
	Bicubic
	Lanczos
)

// kernel returns the filter's function and its support in source pixels at
// scale 1 (Pillow 9.5, libImaging/Resample.c).
func (f Filter) kernel() (func(float64) float64, float64) {
	switch f {
	case AreaAverage:
		return func(x float64) float64 {
			if x > -0.5 && x <= 0.5 {
				return 1
			}
			return 0
		}, 0.5
	case Bilinear:
		return func(x float64) float64 {
			if x = math.Abs(x); x < 1 {
				return 1 - x
			}
			return 0
		}, 1
	case Bicubic:
		const a = -0.5
		return func(x float64) float64 {
			switch x = math.Abs(x); {
			case x < 1:
				return ((a+2)*x-(a+3))*x*x + 1
			case x < 2:
				return (((x-5)*x+8)*x - 4) * a
			}
			return 0
		}, 2
	default:
		return func(x float64) float64 {
			if x >= -3 && x < 3 {
				return sinc(x) * sinc(x/3)
			}
			return 0
		}, 3
	}
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// Resize returns the picture at w by h pixels, byte for byte what Pillow makes.
// The sides must be at least 1.
func (m RGB) Resize(w, h int, f Filter) RGB {
	return RGB{w, h, resize(m.Pix, m.W, m.H, 3, w, h, f)}
}

// Resize returns the mask at w by h pixels, byte for byte what Pillow makes.
// The sides must be at least 1.
func (m Gray) Resize(w, h int, f Filter) Gray {
	return Gray{w, h, resize(m.Pix, m.W, m.H, 1, w, h, f)}
}

func resize(src []uint8, w, h, channels, toW, toH int, f Filter) []uint8 {
	if w == toW && h == toH {
		return append([]uint8(nil), src...)
	}
	if f == Nearest {
		return resizeNearest(src, w, h, channels, toW, toH)
	}
	if toW != w {
		src = resizeRows(src, w, h, channels, toW, newTaps(w, toW, f))
	}
	if toH != h {
		src = resizeColumns(src, toW*channels, toH, newTaps(h, toH, f))
	}
	return src
}

// resizeNearest picks source pixels as Pillow's ImagingScaleAffine: the position
// is summed up step by step in double precision.
func resizeNearest(src []uint8, w, h, channels, toW, toH int) []uint8 {
	from := nearestOffsets(w, toW)
	dst := make([]uint8, 0, toW*toH*channels)
	for _, y := range nearestOffsets(h, toH) {
		row := src[y*w*channels:]
		for _, x := range from {
			dst = append(dst, row[x*channels:(x+1)*channels]...)
		}
	}
	return dst
}

func nearestOffsets(from, to int) []int {
	step := float64(from) / float64(to)
	at := step * 0.5
	offsets := make([]int, to)
	for i := range offsets {
		offsets[i] = min(int(at), from-1)
		at += step
	}
	return offsets
}

// weightBits is the fixed point of Pillow's 8-bit resampling: 32 bits less 8 for
// the pixel and 2 for the overshoot of the kernels.
const weightBits = 22

// taps are the source span and the fixed-point weights of each destination pixel
// along one axis; weights[i*width:] belongs to pixel i.
type taps struct {
	start, count []int
	weights      []int32
	width        int
}

func newTaps(from, to int, f Filter) taps {
	return newTapsIn(from, 0, float64(from), to, f)
}

// newTapsIn samples the part of the axis between two source coordinates.
func newTapsIn(from int, start, end float64, to int, f Filter) taps {
	kernel, support := f.kernel()
	scale := (end - start) / float64(to)
	stretch := max(scale, 1)
	support *= stretch
	t := taps{start: make([]int, to), count: make([]int, to), width: int(math.Ceil(support))*2 + 1}
	t.weights = make([]int32, to*t.width)
	w := make([]float64, t.width)
	for i := range to {
		center := start + (float64(i)+0.5)*scale
		first := max(int(center-support+0.5), 0)
		n := min(int(center+support+0.5), from) - first
		total := 0.0
		for k := range n {
			w[k] = kernel((float64(k+first) - center + 0.5) * (1 / stretch))
			total += w[k]
		}
		t.start[i], t.count[i] = first, n
		for k := range n {
			if total != 0 {
				w[k] /= total
			}
			t.weights[i*t.width+k] = int32(math.Trunc(w[k]*(1<<weightBits) + math.Copysign(0.5, w[k])))
		}
	}
	return t
}

func resizeRows(src []uint8, w, h, channels, toW int, t taps) []uint8 {
	dst := make([]uint8, toW*h*channels)
	inBands(h, len(dst), func(from, to int) {
		for y := from; y < to; y++ {
			in, out := src[y*w*channels:(y+1)*w*channels], dst[y*toW*channels:(y+1)*toW*channels]
			switch channels {
			case 3:
				resizeRow3(out, in, t)
			default:
				resizeRow(out, in, channels, t)
			}
		}
	})
	return dst
}

func resizeRow3(out, in []uint8, t taps) {
	for x, first := range t.start {
		weights := t.weights[x*t.width:][:t.count[x]]
		span := in[3*first:][:3*len(weights)]
		var r, g, b int32 = half, half, half
		for _, k := range weights {
			r += int32(span[0]) * k
			g += int32(span[1]) * k
			b += int32(span[2]) * k
			span = span[3:]
		}
		o := out[3*x : 3*x+3 : 3*x+3]
		o[0], o[1], o[2] = toByte(r), toByte(g), toByte(b)
	}
}

func resizeRow(out, in []uint8, channels int, t taps) {
	for x, first := range t.start {
		for c := range channels {
			sum := int32(half)
			for k, weight := range t.weights[x*t.width:][:t.count[x]] {
				sum += int32(in[(first+k)*channels+c]) * weight
			}
			out[x*channels+c] = toByte(sum)
		}
	}
}

// resizeColumns works on whole rows of stride bytes, so channels do not matter.
func resizeColumns(src []uint8, stride, toH int, t taps) []uint8 {
	dst := make([]uint8, stride*toH)
	inBands(toH, len(dst), func(from, to int) {
		sums := make([]int32, stride)
		for y := from; y < to; y++ {
			rows, weights := src[t.start[y]*stride:], t.weights[y*t.width:][:t.count[y]]
			for i := range sums {
				sums[i] = half
			}
			for ; len(weights) >= 2; weights = weights[2:] { // in pairs, to touch the sums half as often
				addRows(sums, rows, rows[stride:], weights[0], weights[1])
				rows = rows[2*stride:]
			}
			if len(weights) == 1 {
				addRows(sums, rows, rows, weights[0], 0)
			}
			out := dst[y*stride:][:len(sums)]
			for i, sum := range sums {
				out[i] = toByte(sum)
			}
		}
	})
	return dst
}

func addRows(sums []int32, a, b []uint8, weightA, weightB int32) {
	a, b = a[:len(sums)], b[:len(sums)]
	for i := range sums {
		sums[i] += int32(a[i])*weightA + int32(b[i])*weightB
	}
}

// bandBytes is how much output is worth a goroutine of its own.
const bandBytes = 1 << 18

// inBands shares n rows, which make up size bytes of output, between the
// processors.
func inBands(n, size int, work func(from, to int)) {
	count := min(runtime.GOMAXPROCS(0), size/bandBytes, n)
	if count < 2 {
		work(0, n)
		return
	}
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() { work(i*n/count, (i+1)*n/count) })
	}
	wg.Wait()
}

const half = 1 << (weightBits - 1)

func toByte(sum int32) uint8 {
	return uint8(min(max(sum>>weightBits, 0), 255))
}
