package hint

import (
	"math"

	"sdworker/inference/imageio"
)

// interpolation is one of OpenCV's ways to resize a picture of bytes.
type interpolation int

const (
	nearest interpolation = iota // INTER_NEAREST
	area                         // INTER_AREA
	cubic                        // INTER_CUBIC, with a = -0.75
)

// resample resizes a picture as cv2.resize does on x86, where Intel's IPP, which
// its packages carry, does the cubic one.
func resample(m imageio.RGB, w, h int, how interpolation) imageio.RGB {
	switch smaller := w <= m.W && h <= m.H; {
	case how == nearest:
		return pickNearest(m, w, h)
	case how == cubic:
		return filterCubic(m, cubicTaps(w, m.W), cubicTaps(h, m.H))
	case smaller && m.W%w == 0 && m.H%h == 0:
		return averageBlocks(m, m.W/w, m.H/h)
	case smaller:
		return averageAreas(m, areas(w, m.W), areas(h, m.H))
	}
	// INTER_AREA is linear as soon as one side grows.
	return filterLinear(m, linearTaps(w, m.W), linearTaps(h, m.H))
}

func pickNearest(m imageio.RGB, w, h int) imageio.RGB {
	columns := nearestTaps(w, m.W)
	out := imageio.NewRGB(w, h)
	for y, from := range nearestTaps(h, m.H) {
		row := m.Pix[3*m.W*from:]
		to := out.Pix[3*w*y:]
		for x, from := range columns {
			copy(to[3*x:3*x+3], row[3*from:3*from+3])
		}
	}
	return out
}

// nearestTaps computes the source of all n positions of a side of size pixels.
func nearestTaps(n, size int) []int {
	out := make([]int, n)
	scale := 1 / (float64(n) / float64(size))
	for i := range out {
		out[i] = min(int(float64(i)*scale), size-1)
	}
	return out
}

// cubicTap is what one position of the result takes: source indices, kept inside
// the picture, with their weights.
type cubicTap struct {
	at     [4]int
	weight [4]float64
}

// cubicTaps computes the taps of all n positions of a side of size pixels, as Intel's IPP
// does for bytes.
func cubicTaps(n, size int) []cubicTap {
	return cubicTapsAt(n, size, func(at float64) float64 { return at })
}

// plainCubicTaps are those of OpenCV's own code, for pictures of floats: positions are
// float32.
func plainCubicTaps(n, size int) []cubicTap {
	return cubicTapsAt(n, size, func(at float64) float64 { return float64(float32(at)) })
}

func cubicTapsAt(n, size int, place func(at float64) float64) []cubicTap {
	const a = -0.75
	out := make([]cubicTap, n)
	scale := float64(size) / float64(n)
	for i := range out {
		at := place((float64(i)+0.5)*scale - 0.5)
		floor := math.Floor(at)
		x := at - floor
		w := &out[i].weight
		w[0] = ((a*(x+1)-5*a)*(x+1)+8*a)*(x+1) - 4*a
		w[1] = ((a+2)*x-(a+3))*x*x + 1
		w[2] = ((a+2)*(1-x)-(a+3))*(1-x)*(1-x) + 1
		w[3] = 1 - w[0] - w[1] - w[2]
		for k := range out[i].at {
			out[i].at[k] = min(max(int(floor)-1+k, 0), size-1)
		}
	}
	return out
}

func filterCubic(m imageio.RGB, columns, rows []cubicTap) imageio.RGB {
	w, h := len(columns), len(rows)
	out := imageio.NewRGB(w, h)
	filtered := newFilteredRows(3*w, func(line []float64, y int) {
		row := m.Pix[3*m.W*y:][:3*m.W]
		for x := range columns {
			t := &columns[x]
			var sum [3]float64
			for k, weight := range t.weight {
				p := row[3*t.at[k]:][:3]
				sum[0] += float64(p[0]) * weight
				sum[1] += float64(p[1]) * weight
				sum[2] += float64(p[2]) * weight
			}
			copy(line[3*x:], sum[:])
		}
	})
	for y := range rows {
		t := &rows[y]
		l0, l1, l2, l3 := filtered.at(t.at[0]), filtered.at(t.at[1]), filtered.at(t.at[2]), filtered.at(t.at[3])
		to := out.Pix[3*w*y:][:3*w]
		for x := range to {
			sum := l0[x]*t.weight[0] + l1[x]*t.weight[1] + l2[x]*t.weight[2] + l3[x]*t.weight[3]
			to[x] = uint8(min(max(math.RoundToEven(sum), 0), 255))
		}
	}
	return out
}

// filteredRows keeps the last four rows that a filter needs at a time.
type filteredRows[T any] struct {
	filter func(line []T, y int)
	lines  [4][]T
	number [4]int
}

func newFilteredRows[T any](width int, filter func(line []T, y int)) *filteredRows[T] {
	f := &filteredRows[T]{filter: filter, number: [4]int{-1, -1, -1, -1}}
	for i := range f.lines {
		f.lines[i] = make([]T, width)
	}
	return f
}

func (f *filteredRows[T]) at(y int) []T {
	slot := y % len(f.lines)
	if f.number[slot] != y {
		f.filter(f.lines[slot], y)
		f.number[slot] = y
	}
	return f.lines[slot]
}

// linearTap is what one position of a linear filter takes: two source indices and
// their weights in units of 1/2048, OpenCV's fixed point, the second one also exact.
type linearTap struct {
	first, second, weight0, weight1 int
	exact                           float32
}

// linearTaps computes the taps of INTER_AREA when a side grows: a pixel of the
// result that lies in one pixel of the source is its colour, and one on the border
// of two is mixed by its shares in them.
func linearTaps(n, size int) []linearTap {
	const one = 1 << 11
	out := make([]linearTap, n)
	// Rounded as OpenCV does it: one result in a few hundred depends on the last bit.
	inverse := float64(n) / float64(size)
	scale := 1 / inverse
	for i := range out {
		first := int(math.Floor(float64(i) * scale))
		x := float32(float64(i+1) - float64(first+1)*inverse)
		if x <= 0 {
			x = 0
		} else {
			x -= float32(math.Floor(float64(x)))
		}
		if first >= size-1 {
			first, x = size-1, 0
		}
		weight := func(v float32) int { return int(math.RoundToEven(float64(v * one))) }
		out[i] = linearTap{first, min(first+1, size-1), weight(1 - x), weight(x), x}
	}
	return out
}

func filterLinear(m imageio.RGB, columns, rows []linearTap) imageio.RGB {
	w, h := len(columns), len(rows)
	out := imageio.NewRGB(w, h)
	filtered := newFilteredRows(3*w, func(line []int, y int) {
		row := m.Pix[3*m.W*y:][:3*m.W]
		for x, t := range columns {
			for c := range 3 {
				line[3*x+c] = int(row[3*t.first+c])*t.weight0 + int(row[3*t.second+c])*t.weight1
			}
		}
	})
	for y, t := range rows {
		l0, l1 := filtered.at(t.first), filtered.at(t.second)
		to := out.Pix[3*w*y:][:3*w]
		for x := range to { // OpenCV drops these bits on the way
			to[x] = uint8((t.weight0*(l0[x]>>4)>>16 + t.weight1*(l1[x]>>4)>>16 + 2) >> 2)
		}
	}
	return out
}

// averageBlocks gives each pixel the mean of a block of kx by ky pixels.
func averageBlocks(m imageio.RGB, kx, ky int) imageio.RGB {
	w, h := m.W/kx, m.H/ky
	out := imageio.NewRGB(w, h)
	sums := make([]int, 3*w)
	scale := float32(1) / float32(kx*ky)
	for y := range h {
		clear(sums)
		for j := range ky {
			row := m.Pix[3*m.W*(y*ky+j):][:3*m.W]
			for x := range w {
				for k := range kx {
					p := row[3*(x*kx+k):][:3]
					sums[3*x] += int(p[0])
					sums[3*x+1] += int(p[1])
					sums[3*x+2] += int(p[2])
				}
			}
		}
		to := out.Pix[3*w*y:][:3*w]
		for i, sum := range sums {
			if kx == 2 && ky == 2 {
				to[i] = uint8((sum + 2) >> 2)
				continue
			}
			to[i] = uint8(math.RoundToEven(float64(float32(sum) * scale)))
		}
	}
	return out
}

// span is the part of a side that one position of a smaller picture covers.
type span struct {
	first   int
	weights []float32 // of the source pixels from first on, together 1
}

// areas computes the spans of n positions over a side of size pixels, size >= n.
func areas(n, size int) []span {
	out := make([]span, n)
	scale := float64(size) / float64(n)
	for i := range out {
		from := float64(i) * scale
		to := from + scale
		cell := min(scale, float64(size)-from)
		first, last := int(math.Ceil(from)), min(int(math.Floor(to)), size-1)
		first = min(first, last)
		var s span
		s.first = first
		if float64(first)-from > 1e-3 {
			s.first = first - 1
			s.weights = append(s.weights, float32((float64(first)-from)/cell))
		}
		for range last - first {
			s.weights = append(s.weights, float32(1/cell))
		}
		if to-float64(last) > 1e-3 {
			s.weights = append(s.weights, float32(min(min(to-float64(last), 1), cell)/cell))
		}
		out[i] = s
	}
	return out
}

// averageAreas gives each pixel the mean of the pixels that it covers.
func averageAreas(m imageio.RGB, columns, rows []span) imageio.RGB {
	w := len(columns)
	out := imageio.NewRGB(w, len(rows))
	line, sums := make([]float32, 3*w), make([]float32, 3*w)
	for y, row := range rows {
		clear(sums)
		for j, share := range row.weights {
			source := m.Pix[3*m.W*(row.first+j) : 3*m.W*(row.first+j+1)]
			clear(line)
			for x := range columns {
				s := &columns[x]
				for k, weight := range s.weights {
					p := source[3*(s.first+k) : 3*(s.first+k)+3]
					line[3*x] += float32(float32(p[0]) * weight)
					line[3*x+1] += float32(float32(p[1]) * weight)
					line[3*x+2] += float32(float32(p[2]) * weight)
				}
			}
			for i, v := range line {
				sums[i] += float32(v * share)
			}
		}
		to := out.Pix[3*w*y : 3*w*(y+1)]
		for i, v := range sums {
			to[i] = uint8(min(max(math.RoundToEven(float64(v)), 0), 255))
		}
	}
	return out
}
