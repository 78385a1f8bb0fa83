package imageio

// MaskBox is the smallest box that holds every pixel of the mask above 0. It
// reports false for a blank mask.
func MaskBox(mask Gray) (Box, bool) {
	box := Box{X0: mask.W, Y0: mask.H}
	for y := range mask.H {
		for x, v := range mask.Pix[y*mask.W : (y+1)*mask.W] {
			if v > 0 {
				box = Box{min(box.X0, x), min(box.Y0, y), max(box.X1, x+1), y + 1}
			}
		}
	}
	return box, box.X1 > 0
}

// CropRegion is the part of the picture that "only masked" inpainting works on:
// the mask's box widened by padding pixels and then enlarged to the proportions
// of the processing size, as far as the picture goes. It reports false for a
// blank mask.
func CropRegion(mask Gray, padding, processW, processH int) (Box, bool) {
	box, ok := MaskBox(mask)
	if !ok {
		return Box{}, false
	}
	return box.Pad(padding, mask.W, mask.H).Expand(processW, processH, mask.W, mask.H), true
}

// Onto puts a mask of another size into the box of a black one of w by h pixels, as
// the result of an "only masked" job is put into its picture.
func (m Gray) Onto(b Box, w, h int) Gray {
	m = ResizeMaskMode(CropAndResize, m, b.W(), b.H())
	return m.Crop(Box{-b.X0, -b.Y0, w - b.X0, h - b.Y0})
}

// Pad widens the box by n pixels on each side within a w by h picture.
func (b Box) Pad(n, w, h int) Box {
	return Box{max(b.X0-n, 0), max(b.Y0-n, 0), min(b.X1+n, w), min(b.Y1+n, h)}
}

// Expand enlarges one axis of the box to the proportions processW:processH, with
// the surplus shared between both sides, moved or cut to stay in a w by h picture
// (A1111 modules/masking.py).
func (b Box) Expand(processW, processH, w, h int) Box {
	ratio := float64(processW) / float64(processH)
	if float64(b.W())/float64(b.H()) > ratio {
		grow := int(float64(b.W())/ratio - float64(b.H()))
		b.Y0, b.Y1 = growSpan(b.Y0, b.Y1, grow, h)
	} else {
		grow := int(float64(b.H())*ratio - float64(b.W()))
		b.X0, b.X1 = growSpan(b.X0, b.X1, grow, w)
	}
	return b
}

func growSpan(lo, hi, grow, limit int) (int, int) {
	lo, hi = lo-grow/2, hi+grow-grow/2
	if hi >= limit {
		lo, hi = lo-(hi-limit), limit
	}
	if lo < 0 {
		lo, hi = 0, hi-lo
	}
	return lo, min(hi, limit)
}
