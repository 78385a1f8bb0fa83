package hint

import "slices"

// plane is a picture of one channel while its lines are thinned, 0 or 255 but
// for keepRidges.
type plane struct {
	w, h int
	pix  []uint8
}

// opened is p after a morphological opening by 3x3: lines thinner than that
// vanish.
func (p *plane) opened() *plane {
	least := func(a, b, c uint8) uint8 { return min(a, b, c) }
	most := func(a, b, c uint8) uint8 { return max(a, b, c) }
	return p.each3x3(least).each3x3(most)
}

// each3x3 gives each pixel the extreme of its neighbourhood of 3x3. What lies
// outside of the picture does not count.
func (p *plane) each3x3(extreme func(a, b, c uint8) uint8) *plane {
	across, out := make([]uint8, len(p.pix)), &plane{w: p.w, h: p.h, pix: make([]uint8, len(p.pix))}
	for y := range p.h {
		row, to := p.pix[y*p.w:][:p.w], across[y*p.w:]
		for x, v := range row {
			to[x] = extreme(row[max(x-1, 0)], v, row[min(x+1, p.w-1)])
		}
	}
	for y := range p.h {
		up, row, down := across[max(y-1, 0)*p.w:], across[y*p.w:][:p.w], across[min(y+1, p.h-1)*p.w:]
		for x, v := range row {
			out.pix[y*p.w+x] = extreme(up[x], v, down[x])
		}
	}
	return out
}

// lines are the four directions in which a ridge is looked for, each by one of
// the two neighbours of a pixel; the other is opposite.
var lines = [...][2]int{{1, 0}, {0, 1}, {1, 1}, {1, -1}}

// keepRidges blackens the pixels that are a maximum of no line of three through
// them.
func (p *plane) keepRidges() {
	kept := make([]uint8, len(p.pix))
	for y := range p.h {
		for x := range p.w {
			i := y*p.w + x
			for _, d := range lines {
				if p.pix[i] >= max(p.at(x-d[0], y-d[1]), p.at(x+d[0], y+d[1])) {
					kept[i] = p.pix[i]
					break
				}
			}
		}
	}
	p.pix = kept
}

// at is a pixel, 0 outside of the picture.
func (p *plane) at(x, y int) uint8 {
	if x < 0 || y < 0 || x >= p.w || y >= p.h {
		return 0
	}
	return p.pix[y*p.w+x]
}

// binarize makes p black and white by Otsu's threshold: the level that best
// parts its histogram in two.
func (p *plane) binarize() {
	var counts [256]float64
	for _, v := range p.pix {
		counts[v]++
	}
	n := float64(len(p.pix))
	var mean float64
	for v, c := range counts {
		mean += float64(v) * c / n
	}
	const epsilon = 1.1920929e-07 // of float32, as OpenCV has it
	var low, lowMean, best float64
	level := 0
	for v, c := range counts {
		share := c / n
		sum := lowMean * low
		low += share
		high := 1 - low
		if min(low, high) < epsilon || max(low, high) > 1-epsilon {
			lowMean = sum
			continue
		}
		lowMean = (sum + float64(v)*share) / low
		highMean := (mean - low*lowMean) / high
		if between := low * high * (lowMean - highMean) * (lowMean - highMean); between > best {
			best, level = between, v
		}
	}
	for i, v := range p.pix {
		p.pix[i] = 0
		if int(v) > level {
			p.pix[i] = 255
		}
	}
}

// pattern is a 3x3 neighbourhood in rows: 1 must be white, -1 black, 0 does not
// matter.
type pattern [9]int8

// turned is the pattern after a quarter turn against the clock.
func (p pattern) turned() pattern {
	var out pattern
	for y := range 3 {
		for x := range 3 {
			out[3*y+x] = p[3*x+2-y]
		}
	}
	return out
}

// quarters lists patterns in all four directions, one direction after another.
func quarters(patterns ...pattern) []pattern {
	var all []pattern
	for range 4 {
		all = append(all, patterns...)
		for i := range patterns {
			patterns[i] = patterns[i].turned()
		}
	}
	return all
}

var (
	// thinning patterns are an edge from below and a corner (Lam, Lee and Suen,
	// "Thinning methodologies", 1992): their middle is not needed to keep a line.
	thinning = quarters(
		pattern{-1, -1, -1, 0, 1, 0, 1, 1, 1},
		pattern{0, -1, -1, 1, 1, -1, 0, 1, 0},
	)
	// pruning patterns are the ends of a line.
	pruning = quarters(
		pattern{-1, -1, -1, -1, 1, -1, 0, 0, -1},
		pattern{-1, -1, -1, -1, 1, -1, -1, 0, 0},
	)
)

// thinningPasses bounds the passes, as the extension does.
const thinningPasses = 32

// thin makes lines one pixel wide. prune also shortens them by their last pixel.
func (p *plane) thin(prune bool) {
	var white []int
	for i, v := range p.pix {
		if v != 0 {
			white = append(white, i)
		}
	}
	once := func(patterns []pattern) (changed bool) {
		for _, pat := range patterns {
			var gone []int
			for _, i := range white {
				if p.matches(i, pat) {
					gone = append(gone, i)
				}
			}
			if len(gone) == 0 {
				continue
			}
			changed = true
			for _, i := range gone {
				p.pix[i] = 0
			}
			white = slices.DeleteFunc(white, func(i int) bool { return p.pix[i] == 0 })
		}
		return changed
	}
	for range thinningPasses {
		if !once(thinning) {
			break
		}
	}
	if prune {
		once(pruning)
	}
}

// matches tells whether the neighbourhood of pixel i is as the pattern says. What
// lies outside of the picture fits everything.
func (p *plane) matches(i int, pat pattern) bool {
	x, y := i%p.w, i/p.w
	for k, want := range pat {
		u, v := x+k%3-1, y+k/3-1
		if want == 0 || u < 0 || v < 0 || u >= p.w || v >= p.h {
			continue
		}
		if (p.pix[v*p.w+u] != 0) != (want > 0) {
			return false
		}
	}
	return true
}
