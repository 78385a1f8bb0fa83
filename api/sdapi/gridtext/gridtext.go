// Package gridtext writes legends round grids of pictures, as A1111 does
// (modules/images.py, draw_grid_annotations): text above the columns and left of
// the rows. The font is Go Regular; characters that it lacks are drawn with a
// bitmap font that covers most living scripts.
package gridtext

import (
	"strings"

	"sdworker/inference/imageio"
)

// Line is one text of a legend.
type Line struct {
	Text     string
	Inactive bool // struck through
}

// Style is how legends look.
type Style struct {
	Active, Inactive, Background [3]uint8
	Font                         *Font // nil for the built-in one
}

// Image pastes pictures into rows, from left to right, each in the middle of a cell
// of the largest width and height. There must be at least one.
func Image(pictures []imageio.RGB, rows int, background [3]uint8) imageio.RGB {
	w, h := Cell(pictures)
	columns := (len(pictures) + rows - 1) / rows
	out := imageio.Fill(columns*w, rows*h, background)
	for i, m := range pictures {
		out.Paste(m, i%columns*w+(w-m.W)/2, i/columns*h+(h-m.H)/2)
	}
	return out
}

// Cell is the largest width and height.
func Cell(pictures []imageio.RGB) (w, h int) {
	for _, m := range pictures {
		w, h = max(w, m.W), max(h, m.H)
	}
	return w, h
}

// block is the text of one column or row, broken into lines.
type block struct {
	lines  []line
	height int
}

type line struct {
	Line
	w, h    int
	allowed int // pixels
}

// Annotate draws a legend round a grid of cells of w by h pixels, with a margin
// between them. There is a text list for each column and for each row.
func Annotate(grid imageio.RGB, w, h int, columns, rows [][]Line, margin int, style Style) imageio.RGB {
	font := style.Font
	if font == nil {
		font = builtin()
	}
	size := (w + h) / 25
	spacing := size / 2
	left := 0
	for _, list := range rows {
		for _, l := range list {
			if l.Text != "" {
				left = w * 3 / 4
			}
		}
	}
	face := font.face(size)
	above, beside := make([]block, len(columns)), make([]block, len(rows))
	top, some := 0, false
	for i, list := range columns {
		above[i] = wrap(face, list, w, spacing)
		above[i].height -= spacing
		top, some = max(top, above[i].height), some || above[i].height != 0
	}
	for i, list := range rows {
		beside[i] = wrap(face, list, left, spacing)
		beside[i].height -= spacing * len(beside[i].lines)
	}
	if top += 2 * spacing; !some {
		top = 0
	}
	out := imageio.Fill(grid.W+left+margin*(len(columns)-1), grid.H+top+margin*(len(rows)-1), style.Background)
	for row := range rows {
		for column := range columns {
			cell := grid.Crop(imageio.Box{X0: w * column, Y0: h * row, X1: w * (column + 1), Y1: h * (row + 1)})
			out.Paste(cell, left+(w+margin)*column, top+(h+margin)*row)
		}
	}
	d := drawer{out: out, font: font, size: size, spacing: spacing, style: style}
	for i, b := range above {
		d.block(b, float64(left+(w+margin)*i)+float64(w)/2, float64(top)/2-float64(b.height)/2)
	}
	for i, b := range beside {
		d.block(b, float64(left)/2, float64(top+(h+margin)*i)+float64(h)/2-float64(b.height)/2)
	}
	return out
}

// wrap breaks texts at spaces into lines no wider than allowed, but for words that
// are wider.
func wrap(face face, list []Line, allowed, spacing int) block {
	var b block
	for _, l := range list {
		texts := []string{""}
		for word := range strings.FieldsSeq(l.Text) {
			last := &texts[len(texts)-1]
			if longer := strings.TrimSpace(*last + " " + word); face.width(longer) <= float64(allowed) {
				*last = longer
			} else {
				texts = append(texts, word)
			}
		}
		for _, text := range texts {
			w, h := face.size(text)
			b.lines = append(b.lines, line{Line{text, l.Inactive}, w, h, allowed})
			b.height += h + spacing
		}
	}
	return b
}

type drawer struct {
	out     imageio.RGB
	font    *Font
	size    int
	spacing int
	style   Style
}

// block draws lines below each other, centred on x.
func (d *drawer) block(b block, x, y float64) {
	for _, l := range b.lines {
		face := d.font.face(d.size)
		for size := d.size; size > 1 && face.width(l.Text) > float64(l.allowed); {
			size--
			face = d.font.face(size)
		}
		colour := d.style.Active
		if l.Inactive {
			colour = d.style.Inactive
		}
		face.draw(d.out, l.Text, x, y+float64(l.h)/2, colour)
		if l.Inactive {
			d.strike(int(x)-l.w/2, int(x)+l.w/2, int(y)+l.h/2, colour)
		}
		y += float64(l.h + d.spacing)
	}
}

// strike draws a line of four pixels.
func (d *drawer) strike(x0, x1, y int, colour [3]uint8) {
	for ; x0 < x1; x0++ {
		for dy := -2; dy < 2; dy++ {
			blend(d.out, x0, y+dy, colour, 255)
		}
	}
}

// blend lays a colour over a pixel, if there is one.
func blend(m imageio.RGB, x, y int, colour [3]uint8, alpha uint32) {
	if x < 0 || y < 0 || x >= m.W || y >= m.H {
		return
	}
	p := m.Pix[3*(y*m.W+x):]
	for i, c := range colour {
		p[i] = uint8((uint32(p[i])*(255-alpha) + uint32(c)*alpha + 127) / 255)
	}
}
