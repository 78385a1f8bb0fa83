package hint

import (
	"math"

	"sdworker/inference/imageio"
)

// Canny draws the edges of a picture in white on black, as OpenCV's Canny does
// with an aperture of 3 and the L1 norm: per pixel the colour channel with the
// strongest Sobel gradient counts, maxima along the gradient are kept, those
// above high start an edge and those above low continue it.
func Canny(m imageio.RGB, low, high float64) imageio.Gray {
	if low > high {
		low, high = high, low
	}
	w, h := m.W, m.H
	dx, dy := make([]int, w*h), make([]int, w*h)
	for y := range h {
		for x := range w {
			dx[y*w+x], dy[y*w+x] = sobel(m, x, y)
		}
	}
	norm := func(x, y int) int {
		if x < 0 || y < 0 || x >= w || y >= h {
			return 0
		}
		return abs(dx[y*w+x]) + abs(dy[y*w+x])
	}
	lo, hi := int(math.Floor(low)), int(math.Floor(high))
	out := imageio.NewGray(w, h)
	candidate := make([]bool, w*h)
	var edge []int
	for y := range h {
		for x := range w {
			i := y*w + x
			n := norm(x, y)
			if n <= lo || !isMaximum(norm, x, y, dx[i], dy[i], n) {
				continue
			}
			if n > hi {
				out.Pix[i] = 255
				edge = append(edge, i)
			} else {
				candidate[i] = true
			}
		}
	}
	for len(edge) > 0 {
		i := edge[len(edge)-1]
		edge = edge[:len(edge)-1]
		for y := max(0, i/w-1); y <= min(h-1, i/w+1); y++ {
			for x := max(0, i%w-1); x <= min(w-1, i%w+1); x++ {
				if k := y*w + x; candidate[k] {
					candidate[k] = false
					out.Pix[k] = 255
					edge = append(edge, k)
				}
			}
		}
	}
	return out
}

// sobel returns the gradient of the channel where it is strongest. The border is
// replicated.
func sobel(m imageio.RGB, x, y int) (dx, dy int) {
	left, right := max(0, x-1), min(m.W-1, x+1)
	up, down := max(0, y-1), min(m.H-1, y+1)
	best := -1
	for c := range 3 {
		at := func(x, y int) int { return int(m.Pix[3*(y*m.W+x)+c]) }
		gx := at(right, up) + 2*at(right, y) + at(right, down) - at(left, up) - 2*at(left, y) - at(left, down)
		gy := at(left, down) + 2*at(x, down) + at(right, down) - at(left, up) - 2*at(x, up) - at(right, up)
		if n := abs(gx) + abs(gy); n > best {
			best, dx, dy = n, gx, gy
		}
	}
	return dx, dy
}

// tangent of 22.5 degrees with 15 fractional bits, OpenCV's TG22.
const tan22 = 13573

// isMaximum compares a pixel with its two neighbours along the gradient. Of two
// equal ones in a row the first counts.
func isMaximum(norm func(x, y int) int, x, y, dx, dy, n int) bool {
	ax, ay := abs(dx), abs(dy)<<15
	low := ax * tan22
	switch {
	case ay < low:
		return n > norm(x-1, y) && n >= norm(x+1, y)
	case ay > low+(ax<<16):
		return n > norm(x, y-1) && n >= norm(x, y+1)
	}
	s := 1
	if (dx < 0) != (dy < 0) {
		s = -1
	}
	return n > norm(x-s, y-1) && n > norm(x+s, y+1)
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}
