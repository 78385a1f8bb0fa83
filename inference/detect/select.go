package detect

import (
	"cmp"
	"iter"
	"math"
	"slices"

	"sdworker/inference/imageio"
)

// Merge says what becomes of several masks.
type Merge int

// Ways to merge.
const (
	MergeNone   Merge = iota // every object is repainted alone
	MergeAll                 // all at once
	MergeInvert              // all that is no object
)

// Selection says which objects count and how their masks are changed: the mask
// settings of an ADetailer unit. The zero value with MaxRatio 1 changes nothing.
type Selection struct {
	MinRatio, MaxRatio float64 // of the box's area to the picture's, 0..1
	Top                int     // how many objects count, 0 = all
	ByConfidence       bool    // Top are the most confident ones, not the largest
	OffsetX, OffsetY   int     // pixels to the right and upwards; what leaves the picture comes in at the other side
	Grow               int     // side of the square that masks are widened by; below 0 narrowed, pixels
	Order              Order
	Merge              Merge
}

// Order is the one in which objects are repainted.
type Order int

// Orders, as the extension numbers them.
const (
	AsFound     Order = iota // or as Top has sorted them
	LeftToRight              // by the left sides of their boxes
	FromCentre               // the nearest to the middle of the picture first
	ByArea                   // the largest first
)

// Choose returns the objects that count, in the order in which they are repainted.
func (s *Selection) Choose(found []Found, w, h int) []Found {
	var out []Found
	for _, f := range found {
		if share := f.Box.Area() / float64(w*h); share >= s.MinRatio && share <= s.MaxRatio {
			out = append(out, f)
		}
	}
	if s.Top > 0 {
		out = s.best(out)
	}
	if s.Order != AsFound {
		slices.SortStableFunc(out, func(a, b Found) int { return cmp.Compare(s.rank(a.Box, w, h), s.rank(b.Box, w, h)) })
	}
	return out
}

// rank grows in the order of repainting.
func (s *Selection) rank(b Box, w, h int) float64 {
	switch s.Order {
	case LeftToRight:
		return float64(b.X1)
	case FromCentre:
		return math.Hypot(float64(b.X1+b.X2)/2-float64(w)/2, float64(b.Y1+b.Y2)/2-float64(h)/2)
	case AsFound, ByArea:
	}
	return -b.Area()
}

// best are the Top objects, the best first.
func (s *Selection) best(out []Found) []Found {
	slices.SortStableFunc(out, func(a, b Found) int {
		if s.ByConfidence {
			return cmp.Compare(a.Confidence, b.Confidence)
		}
		return cmp.Compare(a.Box.Area(), b.Box.Area())
	})
	slices.Reverse(out)
	return out[:min(s.Top, len(out))]
}

// Masks returns the masks of objects in a picture of w by h pixels, one after the
// other, so that there is one in memory at a time.
func (s *Selection) Masks(chosen []Found, w, h int) iter.Seq[imageio.Gray] {
	each := func(yield func(imageio.Gray) bool) {
		for i := range chosen {
			m := Change(chosen[i].Mask(w, h), s.OffsetX, s.OffsetY, s.Grow)
			if s.Grow != 0 && Empty(m) {
				continue
			}
			if !yield(m) {
				return
			}
		}
	}
	if s.Merge == MergeNone {
		return each
	}
	return func(yield func(imageio.Gray) bool) {
		merged := imageio.NewGray(w, h)
		any := false
		for m := range each {
			any = true
			for i, v := range m.Pix {
				merged.Pix[i] |= v
			}
		}
		if !any {
			return
		}
		if s.Merge == MergeInvert {
			merged = merged.Invert()
		}
		yield(merged)
	}
}

// Change moves a mask x pixels to the right and y upwards, round its borders, and
// then widens it by a square of grow pixels, or narrows it.
func Change(m imageio.Gray, x, y, grow int) imageio.Gray {
	m = shift(m, x, -y)
	if grow < 0 {
		return widen(m.Invert(), -grow).Invert()
	}
	return widen(m, grow)
}

// Empty tells whether a mask is black.
func Empty(m imageio.Gray) bool {
	return !slices.ContainsFunc(m.Pix, func(v uint8) bool { return v > 0 })
}

// Meet tells whether two masks of one size have a common bit at some pixel.
func Meet(a, b imageio.Gray) bool {
	for i, v := range a.Pix {
		if v&b.Pix[i] != 0 {
			return true
		}
	}
	return false
}

// shift moves a mask, round its borders.
func shift(m imageio.Gray, dx, dy int) imageio.Gray {
	if dx == 0 && dy == 0 {
		return m
	}
	out := imageio.NewGray(m.W, m.H)
	for y := range m.H {
		for x := range m.W {
			out.Pix[modulo(y+dy, m.H)*m.W+modulo(x+dx, m.W)] = m.Pix[y*m.W+x]
		}
	}
	return out
}

func modulo(a, n int) int { return (a%n + n) % n }

// widen is cv2.dilate with a square of side pixels; cv2.erode is the same for what is
// not white.
func widen(m imageio.Gray, side int) imageio.Gray {
	if side < 2 {
		return m
	}
	rows, columns := imageio.NewGray(m.W, m.H), imageio.NewGray(m.W, m.H)
	for y := range m.H {
		window(rows.Pix[y*m.W:], m.Pix[y*m.W:], m.W, 1, side)
	}
	for x := range m.W {
		window(columns.Pix[x:], rows.Pix[x:], m.H, m.W, side)
	}
	return columns
}

// window writes the largest of the side values around each of n values that are step
// apart. With an even side there is one more before than behind, as in OpenCV.
func window(to, from []uint8, n, step, side int) {
	before := side / 2
	behind := side - 1 - before
	queue := make([]int, 0, n) // places with ever smaller values, the largest first
	next := 0
	for i := range n {
		for ; next <= min(i+behind, n-1); next++ {
			for len(queue) > 0 && from[queue[len(queue)-1]*step] <= from[next*step] {
				queue = queue[:len(queue)-1]
			}
			queue = append(queue, next)
		}
		for queue[0] < i-before {
			queue = queue[1:]
		}
		to[i*step] = from[queue[0]*step]
	}
}
