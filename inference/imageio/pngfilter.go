package imageio

import "slices"

// Filter types (PNG specification, section 9.2).
const (
	filterNone = iota
	filterSub
	filterUp
	filterAverage
	filterPaeth
	filterCount
)

// sampleStep is how far apart the bytes are that the choice of a filter looks
// at. A prime keeps it from seeing one channel only.
const sampleStep = 23

// filterRows fills d.filtered with the rows of stride bytes, and d.zeros and
// d.samples with what their differences look like. pixel is the number of bytes
// per pixel.
func (d *deflater) filterRows(pix []uint8, stride, pixel int) {
	d.filtered = slices.Grow(d.filtered[:0], len(pix)+len(pix)/stride)
	d.zeros, d.samples = 0, 0
	above := make([]uint8, stride)
	for ; len(pix) > 0; pix = pix[stride:] {
		row := pix[:stride]
		kind := d.chooseFilter(row, above, pixel)
		at := len(d.filtered)
		d.filtered = d.filtered[:at+1+stride]
		d.filtered[at] = byte(kind)
		filterRow(d.filtered[at+1:], row, above, pixel, kind)
		above = row
	}
}

// chooseFilter guesses the filter that leaves the smallest differences, the
// usual sign of a row that compresses well, from a sample of the row.
func (d *deflater) chooseFilter(row, above []uint8, pixel int) int {
	var cost, zeros [filterCount]int
	for i := pixel; i < len(row); i += sampleStep {
		x, a, b, c := row[i], row[i-pixel], above[i], above[i-pixel]
		residuals := [filterCount]uint8{x, x - a, x - b, x - average(a, b), x - paeth(a, b, c)}
		for kind, residual := range residuals {
			cost[kind] += magnitude(residual)
			if residual == 0 {
				zeros[kind]++
			}
		}
		d.samples++
	}
	best := filterNone
	for kind, n := range cost {
		if n < cost[best] {
			best = kind
		}
	}
	d.zeros += zeros[best]
	return best
}

func magnitude(difference uint8) int {
	d := int(int8(difference))
	return max(d, -d)
}

func average(a, b uint8) uint8 { return uint8((int(a) + int(b)) / 2) }

// paeth predicts from left, above and upper left (PNG specification, 9.4).
func paeth(a, b, c uint8) uint8 {
	pa, pb := int(b)-int(c), int(a)-int(c)
	pc := pa + pb
	pa, pb, pc = max(pa, -pa), max(pb, -pb), max(pc, -pc)
	switch {
	case pa <= pb && pa <= pc:
		return a
	case pb <= pc:
		return b
	}
	return c
}

func filterRow(out, row, above []uint8, pixel, kind int) {
	n := min(pixel, len(row))
	for i := range n { // what lies left of the picture counts as 0
		x := row[i]
		switch kind {
		case filterUp, filterPaeth:
			x -= above[i]
		case filterAverage:
			x -= above[i] / 2
		}
		out[i] = x
	}
	here, up := row[n:], above[n:]
	left, upLeft := row[:len(here)], above[:len(here)]
	up, out = up[:len(here)], out[n:][:len(here)]
	switch kind {
	case filterNone:
		copy(out, here)
	case filterSub:
		for i, x := range here {
			out[i] = x - left[i]
		}
	case filterUp:
		for i, x := range here {
			out[i] = x - up[i]
		}
	case filterAverage:
		for i, x := range here {
			out[i] = x - average(left[i], up[i])
		}
	case filterPaeth:
		for i, x := range here {
			out[i] = x - paeth(left[i], up[i], upLeft[i])
		}
	}
}
