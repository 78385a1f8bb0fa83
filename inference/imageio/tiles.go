package imageio

import "math"

// TileGrid is a picture cut into overlapping tiles of one size.
type TileGrid struct {
	Tiles        []RGB // row by row
	xs, ys       []int // where columns and rows begin
	w, h         int
	tileW, tileH int
	overlap      int
}

// SplitTiles cuts the picture into tiles of tileW by tileH pixels that overlap by
// at least overlap pixels, spread evenly (A1111's split_grid). The overlap must be
// smaller than a tile. What a tile has outside of the picture is black.
func SplitTiles(m RGB, tileW, tileH, overlap int) TileGrid {
	g := TileGrid{w: m.W, h: m.H, tileW: tileW, tileH: tileH, overlap: overlap}
	g.xs, g.ys = starts(m.W, tileW, overlap), starts(m.H, tileH, overlap)
	for _, y := range g.ys {
		for _, x := range g.xs {
			g.Tiles = append(g.Tiles, m.Crop(Box{x, y, x + tileW, y + tileH}))
		}
	}
	return g
}

// starts are the first pixels of the tiles along one axis.
func starts(length, tile, overlap int) []int {
	n := max(int(math.Ceil(float64(length-overlap)/float64(tile-overlap))), 1)
	out := make([]int, n)
	for i := range out {
		if n > 1 {
			out[i] = int(float64(i) * float64(length-tile) / float64(n-1))
		}
		if out[i]+tile >= length {
			out[i] = length - tile
		}
	}
	return out
}

// Join puts tiles in the order and size of g.Tiles together: each fades in over
// the overlap with its left neighbour, and each row over the row above (A1111's
// combine_grid).
func (g *TileGrid) Join(tiles []RGB) RGB {
	out := NewRGB(g.w, g.h)
	for row, y := range g.ys {
		strip := NewRGB(g.w, g.tileH)
		for column, x := range g.xs {
			tile := tiles[row*len(g.xs)+column]
			if x == 0 {
				strip.Paste(tile, 0, 0)
				continue
			}
			strip.fadeIn(tile, x, 0, func(x, _ int) int { return x }, g.overlap)
		}
		if y == 0 {
			out.Paste(strip, 0, 0)
			continue
		}
		out.fadeIn(strip, 0, y, func(_, y int) int { return y }, g.overlap)
	}
	return out
}

// fadeIn pastes src at (x, y). at gives the distance from the edge that fades,
// over which src becomes opaque within overlap pixels.
func (m RGB) fadeIn(src RGB, x, y int, at func(x, y int) int, overlap int) {
	for sy := max(-y, 0); sy < min(src.H, m.H-y); sy++ {
		for sx := max(-x, 0); sx < min(src.W, m.W-x); sx++ {
			from, to := 3*(sy*src.W+sx), 3*((y+sy)*m.W+x+sx)
			alpha := uint8(255)
			if d := at(sx, sy); d < overlap {
				alpha = uint8(float32(d) * 255 / float32(overlap))
			}
			for c := range 3 {
				m.Pix[to+c] = blend(m.Pix[to+c], src.Pix[from+c], alpha)
			}
		}
	}
}
