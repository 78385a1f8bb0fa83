package imageio

// Overlay is the part of the original that inpainting keeps: opaque where the
// mask is black, transparent where it is white. Both have the same size. Pixels
// go through Pillow's premultiplied form, whose rounding is visible in the result.
func Overlay(m RGB, mask Gray) RGBA {
	out := keep(m, mask)
	out.unpremultiply()
	return out
}

// keep returns the unmasked part with colours multiplied by alpha.
func keep(m RGB, mask Gray) RGBA {
	out := NewRGBA(m.W, m.H)
	for i, v := range mask.Pix {
		alpha := 255 - v
		for c := range 3 {
			out.Pix[4*i+c] = blend(0, m.Pix[3*i+c], alpha)
		}
		out.Pix[4*i+3] = blend(0, 255, alpha)
	}
	return out
}

// unpremultiply divides colours by alpha in place, cutting off fractions.
func (m RGBA) unpremultiply() {
	for i := 0; i < len(m.Pix); i += 4 {
		alpha := int(m.Pix[i+3])
		if alpha == 0 || alpha == 255 {
			continue
		}
		for c := range 3 {
			m.Pix[i+c] = uint8(min(255*int(m.Pix[i+c])/alpha, 255))
		}
	}
}

// LayOver lays the kept part of the original over a result of the same size.
func LayOver(m RGB, overlay RGBA) RGB {
	out := NewRGBA(m.W, m.H)
	for i := range m.W * m.H {
		copy(out.Pix[4*i:], m.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	out.composite(overlay)
	return out.DropAlpha()
}

// PasteOver puts the result of an "only masked" job back into the whole picture,
// with the kept part of the original over it. m has the size of the box that it
// was cut from, the result has the overlay's.
func PasteOver(m RGB, into Box, overlay RGBA) RGB {
	out := NewRGBA(overlay.W, overlay.H)
	for y := max(into.Y0, 0); y < min(into.Y1, out.H); y++ {
		for x := max(into.X0, 0); x < min(into.X1, out.W); x++ {
			from, to := 3*((y-into.Y0)*m.W+x-into.X0), 4*(y*out.W+x)
			copy(out.Pix[to:], m.Pix[from:from+3])
			out.Pix[to+3] = 255
		}
	}
	out.composite(overlay)
	return out.DropAlpha()
}

// composite lays above over m in place, in the integer arithmetic of Pillow's
// alpha_composite.
func (m RGBA) composite(above RGBA) {
	const bits = 7 // extra precision of the coefficients
	for i := 0; i < len(m.Pix); i += 4 {
		dst, src := m.Pix[i:i+4:i+4], above.Pix[i:i+4:i+4]
		alpha := uint32(src[3])
		if alpha == 0 {
			continue
		}
		outAlpha := alpha*255 + uint32(dst[3])*(255-alpha) // in 1/255 of a level
		top := alpha * 255 * 255 * (1 << bits) / outAlpha
		bottom := 255*(1<<bits) - top
		for c := range 3 {
			v := uint32(src[c])*top + uint32(dst[c])*bottom
			dst[c] = uint8(by255(v+0x80<<bits) >> bits)
		}
		dst[3] = uint8(by255(outAlpha + 0x80))
	}
}

// by255 divides by 255 as Pillow does, for sums that already carry their half.
func by255(v uint32) uint32 { return (v>>8 + v) >> 8 }
