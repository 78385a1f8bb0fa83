// Package tileplan says where "Ultimate SD upscale" paints an enlarged picture: the
// masks of its tiles and of the seams between them, in its order (the extension
// ultimate-upscale-for-automatic1111 of 2024).
package tileplan

import (
	"iter"

	"sdworker/inference/imageio"
)

// Redraw is the order in which tiles are painted.
type Redraw int

// Orders of tiles, as the script numbers them.
const (
	Linear Redraw = iota
	Chess         // every other tile first, as on a chess board
	NoRedraw
)

// Seams says what is painted across the seams.
type Seams int

// Ways to mend seams, as the script numbers them.
const (
	NoSeams Seams = iota
	BandPass
	HalfTile
	HalfTileAndCorners
)

// Plan is how a picture is painted. All sizes are pixels.
type Plan struct {
	W, H          int // of the picture
	TileW, TileH  int
	Redraw        Redraw
	Padding, Blur int // of tiles

	Seams                 Seams
	SeamWidth             int // of a band
	SeamPadding, SeamBlur int
}

// Step is one inpainting job of what is masked only.
type Step struct {
	Mask          imageio.Gray // of the picture's size
	W, H          int          // size of the job
	Padding, Blur int
}

// Rows and Cols are how many tiles there are.
func (p Plan) Rows() int { return (p.H + p.TileH - 1) / p.TileH }

// Cols is how many tiles are side by side.
func (p Plan) Cols() int { return (p.W + p.TileW - 1) / p.TileW }

// Counts are the numbers of steps.
func (p Plan) Counts() (tiles, seams int) {
	rows, cols := p.Rows(), p.Cols()
	if p.Redraw != NoRedraw {
		tiles = rows * cols
	}
	halves := rows*(cols-1) + (rows-1)*cols
	switch p.Seams {
	case NoSeams:
	case BandPass:
		seams = rows + cols - 2
	case HalfTile:
		seams = halves
	case HalfTileAndCorners:
		seams = halves + (rows-1)*(cols-1)
	}
	return tiles, seams
}

// JobSize is the size at which tiles are painted: tile and padding, in steps of 64.
func (p Plan) JobSize() (w, h int) {
	return (p.TileW + p.Padding + 63) / 64 * 64, (p.TileH + p.Padding + 63) / 64 * 64
}

// SeamSize is the size at which seams are painted: that of a tile, or of a band in one
// of the two directions.
func (p Plan) SeamSize(upright bool) (w, h int) {
	across := p.SeamWidth + 2*p.SeamPadding
	switch {
	case p.Seams != BandPass:
		return p.TileW, p.TileH
	case upright:
		return across, p.H
	}
	return p.W, across
}

// Tiles are the steps that paint the picture.
func (p Plan) Tiles() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		w, h := p.JobSize()
		for turn := range p.turns() {
			for row := range p.Rows() {
				for col := range p.Cols() {
					if p.Redraw == Chess && (row+col)%2 != turn {
						continue
					}
					// The script's rectangles end one pixel inside of the next tile.
					mask := p.white(col*p.TileW, row*p.TileH, p.TileW+1, p.TileH+1)
					if !yield(Step{mask, w, h, p.Padding, p.Blur}) {
						return
					}
				}
			}
		}
	}
}

// turns is how often the tiles are gone through.
func (p Plan) turns() int {
	switch p.Redraw {
	case Linear:
		return 1
	case Chess:
		return 2
	case NoRedraw:
	}
	return 0
}

// white is a black mask of the picture with a white part.
func (p Plan) white(x, y, w, h int) imageio.Gray {
	part := imageio.NewGray(w, h)
	for i := range part.Pix {
		part.Pix[i] = 255
	}
	return p.placed(part, x, y)
}

// placed is a black mask of the picture with a part at a place; what lies outside is
// cut off.
func (p Plan) placed(part imageio.Gray, x, y int) imageio.Gray {
	return part.Crop(imageio.Box{X0: -x, Y0: -y, X1: p.W - x, Y1: p.H - y})
}

// SeamSteps are the steps that paint across the seams.
func (p Plan) SeamSteps() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		switch p.Seams {
		case NoSeams:
		case BandPass:
			p.bands(yield)
		case HalfTile:
			p.halves(yield)
		case HalfTileAndCorners:
			if p.halves(yield) {
				p.corners(yield)
			}
		}
	}
}

// bands are soft stripes along the seams, each as long as the picture.
func (p Plan) bands(yield func(Step) bool) bool {
	const side = 256
	stripe := ridge(side, side)
	w, h := p.SeamSize(true)
	upright := transposed(stripe).Resize(p.SeamWidth, p.H, imageio.Bicubic)
	for col := 1; col < p.Cols(); col++ {
		if !yield(Step{p.placed(upright, col*p.TileW-p.SeamWidth/2, 0), w, h, p.SeamPadding, 0}) {
			return false
		}
	}
	w, h = p.SeamSize(false)
	lying := stripe.Resize(p.W, p.SeamWidth, imageio.Bicubic)
	for row := 1; row < p.Rows(); row++ {
		if !yield(Step{p.placed(lying, 0, row*p.TileH-p.SeamWidth/2), w, h, p.SeamPadding, 0}) {
			return false
		}
	}
	return true
}

// halves are tiles in the middle between two, faded out towards them.
func (p Plan) halves(yield func(Step) bool) bool {
	lying, upright := ridge(p.TileW, p.TileH), transposed(ridge(p.TileH, p.TileW))
	step := func(part imageio.Gray, x, y int) bool {
		return yield(Step{p.placed(part, x, y), p.TileW, p.TileH, p.SeamPadding, p.SeamBlur})
	}
	for row := range p.Rows() - 1 {
		for col := range p.Cols() {
			if !step(lying, col*p.TileW, row*p.TileH+p.TileH/2) {
				return false
			}
		}
	}
	for row := range p.Rows() {
		for col := range p.Cols() - 1 {
			if !step(upright, col*p.TileW+p.TileW/2, row*p.TileH) {
				return false
			}
		}
	}
	return true
}

// corners are tiles around the places where four meet, faded out all around.
func (p Plan) corners(yield func(Step) bool) {
	spot := cone().Resize(p.TileW, p.TileH, imageio.Bicubic).Invert()
	for row := range p.Rows() - 1 {
		for col := range p.Cols() - 1 {
			if !yield(Step{p.placed(spot, col*p.TileW+p.TileW/2, row*p.TileH+p.TileH/2), p.TileW, p.TileH, 0, p.SeamBlur}) {
				return
			}
		}
	}
}

// Factors are the steps in which a picture is enlarged by a model, for the whole number,
// 1 or more, that its longer side grows by at least.
func Factors(scale int) []int {
	for factor(scale) == 0 {
		scale++
	}
	var list []int
	for done := 1; done < scale; {
		f := factor(scale / done)
		if f == 0 { // the script fails there; the rest is left to Lanczos
			break
		}
		list = append(list, f)
		done *= f
	}
	return list
}

// factor is the next step towards a scale, 0 for none.
func factor(scale int) int {
	switch {
	case scale == 1:
		return 2
	case scale%4 == 0:
		return 4
	case scale%3 == 0:
		return 3
	case scale%2 == 0:
		return 2
	}
	return 0
}
