package imageio

// RGB is a picture of W by H pixels with three bytes each, red first, rows from
// top to bottom without padding: len(Pix) == 3*W*H.
type RGB struct {
	W, H int
	Pix  []uint8
}

// RGBA is a picture of W by H pixels with four bytes each. Alpha is straight
// (colours are not multiplied by it), 255 is opaque.
type RGBA struct {
	W, H int
	Pix  []uint8
}

// Gray is a single-channel picture of W by H pixels, one byte each. As a mask,
// 255 (white) means "repaint" and 0 means "keep".
type Gray struct {
	W, H int
	Pix  []uint8
}

// Box is a rectangle of pixels. The right and bottom edges are exclusive.
type Box struct{ X0, Y0, X1, Y1 int }

// W is the width of the box in pixels.
func (b Box) W() int { return b.X1 - b.X0 }

// H is the height of the box in pixels.
func (b Box) H() int { return b.Y1 - b.Y0 }

// NewRGB returns a black picture.
func NewRGB(w, h int) RGB { return RGB{w, h, make([]uint8, 3*w*h)} }

// NewRGBA returns a transparent black picture.
func NewRGBA(w, h int) RGBA { return RGBA{w, h, make([]uint8, 4*w*h)} }

// NewGray returns a black picture.
func NewGray(w, h int) Gray { return Gray{w, h, make([]uint8, w*h)} }

// Fill returns a w by h picture of one colour.
func Fill(w, h int, colour [3]uint8) RGB {
	m := NewRGB(w, h)
	for i := 0; i < len(m.Pix); i += 3 {
		copy(m.Pix[i:], colour[:])
	}
	return m
}

// Clone returns a picture with pixels of its own.
func (m RGB) Clone() RGB { return RGB{m.W, m.H, append([]uint8(nil), m.Pix...)} }

// Clone returns a picture with pixels of its own.
func (m Gray) Clone() Gray { return Gray{m.W, m.H, append([]uint8(nil), m.Pix...)} }

// Crop returns the pixels inside the box; what lies outside the picture is black.
func (m RGB) Crop(b Box) RGB {
	return RGB{b.W(), b.H(), crop(m.Pix, m.W, m.H, 3, b)}
}

// Crop returns the pixels inside the box; what lies outside the picture is
// transparent black.
func (m RGBA) Crop(b Box) RGBA {
	return RGBA{b.W(), b.H(), crop(m.Pix, m.W, m.H, 4, b)}
}

// Crop returns the pixels inside the box; what lies outside the picture is black.
func (m Gray) Crop(b Box) Gray {
	return Gray{b.W(), b.H(), crop(m.Pix, m.W, m.H, 1, b)}
}

func crop(src []uint8, w, h, channels int, b Box) []uint8 {
	dst := make([]uint8, channels*b.W()*b.H())
	x0, x1 := max(b.X0, 0), min(b.X1, w)
	for y := max(b.Y0, 0); y < min(b.Y1, h); y++ {
		if x0 >= x1 {
			break
		}
		at := ((y-b.Y0)*b.W() + x0 - b.X0) * channels
		copy(dst[at:], src[(y*w+x0)*channels:(y*w+x1)*channels])
	}
	return dst
}

// Paste copies src into m with its top left corner at (x, y). What falls outside
// m is left out.
func (m RGB) Paste(src RGB, x, y int) {
	x0, x1 := max(x, 0), min(x+src.W, m.W)
	if x0 >= x1 {
		return
	}
	for row := max(y, 0); row < min(y+src.H, m.H); row++ {
		from := ((row-y)*src.W + x0 - x) * 3
		copy(m.Pix[(row*m.W+x0)*3:(row*m.W+x1)*3], src.Pix[from:])
	}
}

// Flatten lays the picture on a background colour and drops its alpha, in
// Pillow's arithmetic for pasting through a mask.
func (m RGBA) Flatten(background [3]uint8) RGB {
	out := NewRGB(m.W, m.H)
	for i, j := 0, 0; i < len(m.Pix); i, j = i+4, j+3 {
		alpha := m.Pix[i+3]
		for c := range 3 {
			out.Pix[j+c] = blend(background[c], m.Pix[i+c], alpha)
		}
	}
	return out
}

// DropAlpha returns the colours alone.
func (m RGBA) DropAlpha() RGB {
	out := NewRGB(m.W, m.H)
	for i, j := 0, 0; i < len(m.Pix); i, j = i+4, j+3 {
		copy(out.Pix[j:j+3], m.Pix[i:i+3])
	}
	return out
}

// Alpha returns the alpha channel.
func (m RGBA) Alpha() Gray {
	out := NewGray(m.W, m.H)
	for i := range out.Pix {
		out.Pix[i] = m.Pix[4*i+3]
	}
	return out
}

// Opaque reports whether no pixel is even slightly transparent.
func (m RGBA) Opaque() bool {
	for i := 3; i < len(m.Pix); i += 4 {
		if m.Pix[i] != 255 {
			return false
		}
	}
	return true
}

// Luma returns the picture in shades of grey: ITU-R 601-2 weights in the 16-bit
// fixed point of Pillow's convert("L").
func (m RGB) Luma() Gray {
	out := NewGray(m.W, m.H)
	for i := range out.Pix {
		p := m.Pix[3*i : 3*i+3 : 3*i+3]
		out.Pix[i] = uint8((uint32(p[0])*19595 + uint32(p[1])*38470 + uint32(p[2])*7471 + 0x8000) >> 16)
	}
	return out
}

// RGB returns the shades as a colour picture.
func (m Gray) RGB() RGB {
	out := NewRGB(m.W, m.H)
	for i, v := range m.Pix {
		out.Pix[3*i], out.Pix[3*i+1], out.Pix[3*i+2] = v, v, v
	}
	return out
}

// blend mixes two bytes by a third, rounding as Pillow's BLEND macro does.
func blend(below, above, alpha uint8) uint8 {
	t := uint32(below)*(255-uint32(alpha)) + uint32(above)*uint32(alpha) + 128
	return uint8((t>>8 + t) >> 8)
}
