package gridtext

import (
	"image"
	"math"
	"sync"

	"github.com/hajimehoshi/bitmapfont/v3"
	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"

	"sdworker/inference/imageio"
)

// Font is a scalable font with the bitmap font behind it.
type Font struct {
	font *sfnt.Font

	mu    sync.Mutex
	faces map[int]face
}

// Parse reads a TrueType or OpenType font, the first one of a collection.
func Parse(raw []byte) (*Font, error) {
	c, err := opentype.ParseCollection(raw)
	if err != nil {
		return nil, err
	}
	f, err := c.Font(0)
	if err != nil {
		return nil, err
	}
	return &Font{font: f, faces: make(map[int]face)}, nil
}

var builtin = sync.OnceValue(func() *Font {
	f, err := Parse(goregular.TTF)
	if err != nil {
		panic(err) // the font comes with the program
	}
	return f
})

// face is a font of one size.
type face struct {
	font    *Font
	outline font.Face
	pixels  float64 // of the em
}

func (f *Font) face(size int) face {
	size = max(size, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if got, ok := f.faces[size]; ok {
		return got
	}
	outline, err := opentype.NewFace(f.font, &opentype.FaceOptions{Size: float64(size), DPI: 72, Hinting: font.HintingNone})
	if err != nil { // such as a font without metrics
		outline = bitmapfont.Face
	}
	got := face{f, outline, float64(size)}
	f.faces[size] = got
	return got
}

// bitmapHeight is the em of the bitmap font in pixels.
const bitmapHeight = 12

// has reports whether the scalable font has a character.
func (f face) has(r rune) bool {
	var b sfnt.Buffer
	i, err := f.font.font.GlyphIndex(&b, r)
	return err == nil && i != 0
}

// glyph is a character of one of the two fonts, drawn with its origin at (0,0).
type glyph struct {
	mask    image.Image
	box     image.Rectangle
	advance float64
	scale   float64 // 1, or that of the bitmap font
}

func (f face) glyph(r rune) glyph {
	from, scale := f.outline, 1.0
	if !f.has(r) {
		from, scale = bitmapfont.Face, f.pixels/bitmapHeight
	}
	box, mask, at, advance, ok := from.Glyph(fixed.Point26_6{}, r)
	if !ok {
		return glyph{scale: 1}
	}
	g := glyph{mask: copyMask(mask, at, box), box: box, advance: float64(advance) / 64 * scale, scale: scale}
	return g
}

// copyMask keeps what a face draws only until it is asked for the next character.
func copyMask(mask image.Image, at image.Point, box image.Rectangle) image.Image {
	own := image.NewAlpha(image.Rect(0, 0, box.Dx(), box.Dy()))
	draw.Draw(own, own.Bounds(), mask, at, draw.Src)
	return own
}

// place is where the glyph goes, relative to the origin.
func (g glyph) place() image.Rectangle {
	s := func(v int) int { return int(math.Round(float64(v) * g.scale)) }
	return image.Rect(s(g.box.Min.X), s(g.box.Min.Y), s(g.box.Max.X), s(g.box.Max.Y))
}

// width of a text in pixels.
func (f face) width(text string) float64 {
	f.font.mu.Lock()
	defer f.font.mu.Unlock()
	var w float64
	for _, r := range text {
		w += f.glyph(r).advance
	}
	return w
}

// size is the width of a text and the height of its ink.
func (f face) size(text string) (w, h int) {
	f.font.mu.Lock()
	defer f.font.mu.Unlock()
	var width float64
	var ink image.Rectangle
	for _, r := range text {
		g := f.glyph(r)
		width += g.advance
		ink = ink.Union(g.ink())
	}
	return int(math.Ceil(width)), ink.Dy()
}

// ink is the part of place that is not empty, as high as the glyph.
func (g glyph) ink() image.Rectangle {
	b, found := image.Rectangle{}, false
	if g.mask == nil {
		return b
	}
	m := g.mask.(*image.Alpha)
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			if m.AlphaAt(x, y).A == 0 {
				continue
			}
			p := image.Rect(x, y, x+1, y+1).Add(g.box.Min)
			if b = b.Union(p); !found {
				b, found = p, true
			}
		}
	}
	scaled := glyph{box: b, scale: g.scale}
	return scaled.place()
}

// draw writes a text with its middle at (x, y): halfway between ascender and
// descender, as Pillow's anchor "mm".
func (f face) draw(out imageio.RGB, text string, x, y float64, colour [3]uint8) {
	origin := x - f.width(text)/2
	metrics := f.outline.Metrics()
	baseline := int(math.Round(y + float64(metrics.Ascent-metrics.Descent)/64/2))
	f.font.mu.Lock()
	defer f.font.mu.Unlock()
	for _, r := range text {
		g := f.glyph(r)
		if g.mask != nil {
			g.draw(out, int(math.Round(origin)), baseline, colour)
		}
		origin += g.advance
	}
}

func (g glyph) draw(out imageio.RGB, x, y int, colour [3]uint8) {
	box := g.place()
	mask := g.mask
	if g.scale != 1 {
		scaled := image.NewAlpha(image.Rect(0, 0, box.Dx(), box.Dy()))
		draw.ApproxBiLinear.Scale(scaled, scaled.Bounds(), g.mask, g.mask.Bounds(), draw.Src, nil)
		mask = scaled
	}
	for dy := range box.Dy() {
		for dx := range box.Dx() {
			_, _, _, a := mask.At(dx, dy).RGBA()
			blend(out, x+box.Min.X+dx, y+box.Min.Y+dy, colour, a>>8)
		}
	}
}
