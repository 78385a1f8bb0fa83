package imageio

import (
	"image"
	"image/color"
)

// pixels copies a decoded image. 16-bit channels keep their high byte.
func pixels(m image.Image) RGBA {
	b := m.Bounds()
	out := NewRGBA(b.Dx(), b.Dy())
	switch m := m.(type) {
	case *image.NRGBA:
		for y := range out.H {
			copy(out.Pix[4*y*out.W:4*(y+1)*out.W], m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):])
		}
	case *image.YCbCr:
		ycbcrPixels(out, m, jfif)
	case *image.Gray:
		out.each(func(x, y int, p []uint8) {
			v := m.Pix[y*m.Stride+x]
			p[0], p[1], p[2], p[3] = v, v, v, 255
		})
	case *image.Paletted:
		palette := make([]color.NRGBA, 256)
		for i, c := range m.Palette {
			palette[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		out.each(func(x, y int, p []uint8) {
			c := palette[m.Pix[y*m.Stride+x]]
			p[0], p[1], p[2], p[3] = c.R, c.G, c.B, c.A
		})
	case *image.NRGBA64:
		out.each(func(x, y int, p []uint8) {
			v := m.Pix[y*m.Stride+8*x:]
			p[0], p[1], p[2], p[3] = v[0], v[2], v[4], v[6]
		})
	default:
		out.each(func(x, y int, p []uint8) {
			c := color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			p[0], p[1], p[2], p[3] = c.R, c.G, c.B, c.A
		})
	}
	return out
}

// each calls set with the four bytes of every pixel.
func (m RGBA) each(set func(x, y int, p []uint8)) {
	for y := range m.H {
		for x := range m.W {
			i := 4 * (y*m.W + x)
			set(x, y, m.Pix[i:i+4:i+4])
		}
	}
}

// orient turns and mirrors the picture as the EXIF orientation says: 1 or
// anything unknown leaves it, 2 to 4 mirror or turn it by half, 5 to 8 exchange
// width and height.
func (m RGBA) orient(orientation int) RGBA {
	if orientation < 2 || orientation > 8 {
		return m
	}
	out := NewRGBA(m.W, m.H)
	if orientation >= 5 {
		out = NewRGBA(m.H, m.W)
	}
	right, bottom := m.W-1, m.H-1
	out.each(func(x, y int, p []uint8) {
		switch orientation {
		case 2:
			x = right - x
		case 3:
			x, y = right-x, bottom-y
		case 4:
			y = bottom - y
		case 5:
			x, y = y, x
		case 6:
			x, y = y, bottom-x
		case 7:
			x, y = right-y, bottom-x
		case 8:
			x, y = right-y, x
		}
		copy(p, m.Pix[4*(y*m.W+x):])
	})
	return out
}
