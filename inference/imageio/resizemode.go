package imageio

// Resize modes of image-to-image, as the API numbers them. Mode 3 stretches
// latents and does not concern pictures; here it counts as JustResize.
const (
	JustResize    = 0
	CropAndResize = 1 // cover the target, cut the centre
	ResizeAndFill = 2 // fit into the target, stretch the outermost rows or columns over the rest
)

// ResizeMode brings a picture to w by h pixels as A1111's resize_image does.
// scale changes the size of a whole picture; nil means Lanczos.
func ResizeMode(mode int, m RGB, w, h int, scale func(m RGB, w, h int) (RGB, error)) (RGB, error) {
	if scale == nil {
		scale = func(m RGB, w, h int) (RGB, error) { return m.Resize(w, h, Lanczos), nil }
	}
	p := place(mode, m.W, m.H, w, h)
	m, err := scale(m, p.w, p.h)
	if err != nil || p.whole {
		return m, err
	}
	return RGB{w, h, p.onto(m.Pix, 3, w, h)}, nil
}

// ResizeMaskMode is ResizeMode for a mask, always with Lanczos.
func ResizeMaskMode(mode int, m Gray, w, h int) Gray {
	p := place(mode, m.W, m.H, w, h)
	m = m.Resize(p.w, p.h, Lanczos)
	if p.whole {
		return m
	}
	return Gray{w, h, p.onto(m.Pix, 1, w, h)}
}

// placement is where a scaled picture of w by h lies in the result, and which
// borders it leaves open.
type placement struct {
	w, h, x, y   int
	whole        bool // it is the result
	fillX, fillY int  // width of the open left and right border, height of top and bottom
}

func place(mode, fromW, fromH, w, h int) placement {
	if mode != CropAndResize && mode != ResizeAndFill {
		return placement{w: w, h: h, whole: true}
	}
	p := placement{w: w, h: h}
	ratio, fromRatio := float64(w)/float64(h), float64(fromW)/float64(fromH)
	wider := ratio > fromRatio // the target is wider than the picture
	switch {
	case mode == CropAndResize && wider, mode == ResizeAndFill && ratio < fromRatio:
		p.h = max(fromH*w/fromW, 1)
	default:
		p.w = max(fromW*h/fromH, 1)
	}
	p.x, p.y = w/2-p.w/2, h/2-p.h/2
	if mode == ResizeAndFill {
		switch {
		case ratio < fromRatio:
			p.fillY = p.y
		case wider:
			p.fillX = p.x
		}
	}
	return p
}

// onto lays the scaled pixels on a black w by h picture and fills the borders.
func (p placement) onto(pix []uint8, channels, w, h int) []uint8 {
	out := make([]uint8, w*h*channels)
	paste := func(src []uint8, sw, sh, x, y int) {
		for row := max(y, 0); row < min(y+sh, h); row++ {
			x0, x1 := max(x, 0), min(x+sw, w)
			from := ((row-y)*sw + x0 - x) * channels
			copy(out[(row*w+x0)*channels:(row*w+x1)*channels], src[from:])
		}
	}
	paste(pix, p.w, p.h, p.x, p.y)
	// The borders are a bicubic resize of a box without height (or width) at the
	// edge, which mixes the two outermost rows (or columns) in one fixed ratio.
	if n := p.fillY; n > 0 {
		stretch := func(edge float64) []uint8 {
			return resizeColumns(pix, p.w*channels, n, newTapsIn(p.h, edge, edge, n, Bicubic))
		}
		paste(stretch(0), p.w, n, 0, 0)
		paste(stretch(float64(p.h)), p.w, n, 0, n+p.h)
	}
	if n := p.fillX; n > 0 {
		stretch := func(edge float64) []uint8 {
			return resizeRows(pix, p.w, p.h, channels, n, newTapsIn(p.w, edge, edge, n, Bicubic))
		}
		paste(stretch(0), n, p.h, 0, 0)
		paste(stretch(float64(p.w)), n, p.h, n+p.w, 0)
	}
	return out
}
