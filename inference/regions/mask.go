package regions

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
)

// maskAreas finds the regions of a picture in which each has a colour: of half saturation
// and half brightness, with the hues 0, 1/2, 1/4, 3/4, 1/8, 3/8 ... of a turn in order.
// What has none of these colours is the base prompt's, or the first region's. Cells take
// the nearest pixel.
func (r *Prompter) maskAreas(layout string, base bool) ([]Area, error) {
	colours, n := r.colours()
	if n == 0 {
		return nil, errors.New("the mask has no pixel in the colour of a region")
	}
	layout = afterHead(layout)
	regions := 1 + strings.Count(layout, wordRow) + strings.Count(layout, wordColumn)
	if !r.KeepBREAK {
		regions += strings.Count(layout, wordBreak)
	}
	_, lists := fit(splitCells(r.BaseRatios, ";", ","), []int{regions}, false)
	shares := make([]float64, n)
	for i := range min(n, regions) {
		if v, err := number(lists[0][i]); err == nil {
			shares[i] = v
		}
	}
	var areas []Area
	if base {
		areas = append(areas, r.area(func(c rgb) float64 {
			if i, ok := colours[c]; ok {
				return shares[i]
			}
			return 1
		}))
	}
	for region := range min(n, regions) {
		areas = append(areas, r.area(func(c rgb) float64 {
			i, ok := colours[c]
			switch {
			case !ok && !base: // the first region has what no other one has
				i = 0
			case !ok:
				return 0
			}
			if i != region {
				return 0
			}
			if base {
				return 1 - shares[i]
			}
			return 1
		}))
	}
	return areas, nil
}

// area takes the factor of a cell from the colour of the mask there.
func (r *Prompter) area(factor func(rgb) float64) Area {
	return func(h, w int) []float32 {
		cells := make([]float32, h*w)
		for i := range cells {
			y, x := i/w*r.Mask.H/h, i%w*r.Mask.W/w
			at := 3 * (y*r.Mask.W + x)
			cells[i] = float32(factor(rgb(r.Mask.Pix[at : at+3])))
		}
		return cells
	}
}

type rgb [3]uint8

// maxColours is how many colours are told apart.
const maxColours = 2 * 359

// colours numbers the regions of the mask, from 0 in the order of hues, and lists the
// colours of their pixels.
func (r *Prompter) colours() (regions map[rgb]int, n int) {
	order := map[rgb]int{}
	for i, hue := range hues(maxColours) {
		c := halfTone(hue)
		if _, known := order[c]; !known {
			order[c] = i
		}
	}
	regions = map[rgb]int{}
	used := map[int]bool{}
	seen := make([]uint64, 1<<24/64) // a bit for each colour
	pix := r.Mask.Pix
	for i := 0; i+2 < len(pix); i += 3 {
		c := rgb(pix[i : i+3])
		number := uint(c[0])<<16 | uint(c[1])<<8 | uint(c[2])
		if seen[number/64]&(1<<(number%64)) != 0 {
			continue
		}
		seen[number/64] |= 1 << (number % 64)
		if hue, ok := hueOfHalfTone(c); ok {
			if k, ok := order[halfTone(hue)]; ok {
				regions[c], used[k] = k, true
			}
		}
	}
	limit := len(used) + 20 // further ones come of noise, as in the extension
	list := slices.DeleteFunc(slices.Sorted(maps.Keys(used)), func(k int) bool { return k > limit })
	maps.DeleteFunc(regions, func(_ rgb, k int) bool { return k > limit })
	for c, k := range regions {
		regions[c] = slices.Index(list, k)
	}
	return regions, len(list)
}

// hues are n places on a circle, each round between those of the rounds before.
func hues(n int) []float64 {
	list := []float64{0}
	for step := 0.5; len(list) < n; step /= 2 {
		for at := step; at < 1 && len(list) < n; at += 2 * step {
			list = append(list, at)
		}
	}
	return list
}

// halfTone is the colour of a hue at half saturation and half brightness.
func halfTone(hue float64) rgb {
	const high, low = 0.5, 0.25
	sector := int(hue * 6)
	f := hue*6 - float64(sector)
	falling, rising := 0.5*(1-0.5*f), 0.5*(1-0.5*(1-f))
	var c [3]float64
	switch sector % 6 {
	case 0:
		c = [3]float64{high, rising, low}
	case 1:
		c = [3]float64{falling, high, low}
	case 2:
		c = [3]float64{low, high, rising}
	case 3:
		c = [3]float64{low, falling, high}
	case 4:
		c = [3]float64{rising, low, high}
	case 5:
		c = [3]float64{high, low, falling}
	}
	return rgb{uint8(c[0] * 256), uint8(c[1] * 256), uint8(c[2] * 256)}
}

// hueOfHalfTone is the hue of a colour whose saturation and brightness are a half, but for
// what a compressed picture loses.
func hueOfHalfTone(c rgb) (float64, bool) {
	r, g, b := float64(c[0])/255, float64(c[1])/255, float64(c[2])/255
	high, low := max(r, g, b), min(r, g, b)
	if high == low {
		return 0, false
	}
	saturation := (high - low) / high
	near := func(v float64) bool { return v >= 0.49 && v <= 0.51 }
	if !near(saturation) || !near(high) {
		return 0, false
	}
	rc, gc, bc := (high-r)/(high-low), (high-g)/(high-low), (high-b)/(high-low)
	var hue float64
	switch high {
	case r:
		hue = bc - gc
	case g:
		hue = 2 + rc - bc
	default:
		hue = 4 + gc - rc
	}
	hue = math.Mod(hue/6, 1)
	if hue < 0 {
		hue++
	}
	return hue, true
}
