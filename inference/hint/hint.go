// Package hint makes the pictures that steer a ControlNet: it runs a
// preprocessor over a client's picture and fits the result to the size of the
// latent, as the ControlNet extension of AUTOMATIC1111's web UI does.
package hint

import (
	"fmt"
	"math"
	"slices"

	"sdworker/inference/imageio"
)

// Resize modes of a ControlNet unit.
const (
	Stretch = iota // Just Resize
	Crop           // Crop and Resize
	Pad            // Resize and Fill
)

// Picture is what a preprocessor works on.
type Picture struct {
	imageio.RGB
	Mask *imageio.Gray // for inpainting, of the picture's size: above 127 is painted anew; nil without one
}

// Options say how a hint is made.
type Options struct {
	Module string // name of the preprocessor
	Sliders
	PixelPerfect bool // choose Resolution from Width and Height
	ResizeMode   int
	Depth        DepthNetwork // for modules that need it
	Width        int          // pixels of the hint
	Height       int
}

// maxPixels bounds the pictures in between, which grow without limit with the
// resolution and for a long narrow picture: 16 million pixels, or 8 times the hint.
func (o Options) maxPixels() int { return max(MaxPixels, 8*o.Width*o.Height) }

// MaxPixels is how large a picture may become by a preprocessor's resolution.
const MaxPixels = 1 << 24

func checkSize(w, h, limit int) error {
	if w > limit/max(h, 1) {
		return fmt.Errorf("the ControlNet picture would be enlarged to %dx%d pixels, want at most %d: crop it or lower processor_res", w, h, limit)
	}
	return nil
}

// Make returns a hint of exactly Width by Height pixels. It fails for an unknown
// preprocessor, and for a picture that would grow too large on the way.
func Make(p Picture, o Options) (Hint, error) {
	mod, ok := Lookup(o.Module)
	if !ok {
		return Hint{}, fmt.Errorf("ControlNet preprocessor %q is not built in: send the preprocessed picture with module \"none\"", o.Module)
	}
	if o.PixelPerfect {
		o.Resolution = pixelPerfect(p.RGB, o)
	}
	if !mod.Masked {
		p.Mask = nil
	}
	made, err := mod.make(p.RGB, mod.withDefaults(o.Sliders), o.maxPixels(), o.Depth)
	if err != nil {
		return Hint{}, err
	}
	if p.Mask != nil {
		return fitMasked(Picture{made, p.Mask}, o)
	}
	fitted, err := fit(made, o)
	if err != nil {
		return Hint{}, err
	}
	return plainHint(fitted), nil
}

// Preprocess runs a preprocessor alone, as /controlnet/detect shows it: at its own
// resolution, before the picture is fitted to a latent. network may be nil for modules that
// need none.
func Preprocess(mod Module, m imageio.RGB, s Sliders, network DepthNetwork) (imageio.RGB, error) {
	return mod.make(m, mod.withDefaults(s), MaxPixels, network)
}

// make runs the preprocessor.
func (mod Module) make(m imageio.RGB, s Sliders, limit int, network DepthNetwork) (imageio.RGB, error) {
	if mod.Depth != 0 {
		if network == nil {
			return m, fmt.Errorf("ControlNet preprocessor %s needs a network", mod.Name)
		}
		return depthMap(m, s, limit, mod.Depth, network)
	}
	return mod.run(m, s, limit)
}

// pixelPerfect is the resolution at which nothing is resized twice.
func pixelPerfect(m imageio.RGB, o Options) int {
	x, y := float64(o.Width)/float64(m.W), float64(o.Height)/float64(m.H)
	k := max(x, y)
	if o.ResizeMode == Pad {
		k = min(x, y)
	}
	return int(math.RoundToEven(k * float64(min(m.W, m.H))))
}

// extended repeats the last column and row up to the size.
func extended(m imageio.RGB, w, h int) imageio.RGB {
	if m.W == w && m.H == h {
		return m
	}
	out := imageio.NewRGB(w, h)
	for y := range h {
		row := m.Pix[3*m.W*min(y, m.H-1):][:3*m.W]
		to := out.Pix[3*w*y : 3*w*(y+1)]
		for n := copy(to, row); n < len(to); n += 3 {
			copy(to[n:], row[3*(m.W-1):])
		}
	}
	return out
}

// padded brings the short side of the picture to the resolution and extends it by its
// border to multiples of 64, which edges at the right and the bottom feel, while fn runs.
func padded(m imageio.RGB, resolution, limit int, fn func(imageio.RGB) imageio.RGB) (imageio.RGB, error) {
	m, err := scaleShortSide(m, resolution, limit)
	if err != nil {
		return m, err
	}
	const multiple = 64
	w, h := m.W, m.H
	m = extended(m, (w+multiple-1)/multiple*multiple, (h+multiple-1)/multiple*multiple)
	return fn(m).Crop(imageio.Box{X1: w, Y1: h}), nil
}

// scaleShortSide brings the picture to a preprocessor's resolution.
func scaleShortSide(m imageio.RGB, resolution, limit int) (imageio.RGB, error) {
	k := float64(resolution) / float64(min(m.W, m.H))
	size := scaled(m.W, m.H, k)
	if err := checkSize(size[0], size[1], limit); err != nil {
		return m, err
	}
	if m.W == size[0] && m.H == size[1] {
		return m, nil
	}
	how := area
	if k > 1 {
		how = cubic
	}
	return resample(m, size[0], size[1], how), nil
}

// fit gives the picture its final size by the resize mode.
func fit(m imageio.RGB, o Options) (imageio.RGB, error) {
	x, y := float64(o.Width)/float64(m.W), float64(o.Height)/float64(m.H)
	switch o.ResizeMode {
	case Crop:
		size := scaled(m.W, m.H, max(x, y))
		if err := checkSize(size[0], size[1], o.maxPixels()); err != nil {
			return m, err
		}
		m = resize(m, size[0], size[1])
		left, top := max(0, (m.W-o.Width)/2), max(0, (m.H-o.Height)/2)
		return m.Crop(imageio.Box{X0: left, Y0: top, X1: left + o.Width, Y1: top + o.Height}), nil
	case Pad:
		out := imageio.Fill(o.Width, o.Height, borderColour(m))
		size := scaled(m.W, m.H, min(x, y))
		m = resize(m, size[0], size[1])
		out.Paste(m, max(0, (o.Width-m.W)/2), max(0, (o.Height-m.H)/2))
		return out, nil
	}
	return resize(m, o.Width, o.Height), nil
}

func scaled(w, h int, k float64) [2]int {
	const beyond = 1 << 31 // any use
	side := func(n int) int { return int(min(max(math.RoundToEven(float64(n)*k), 1), beyond)) }
	return [2]int{side(w), side(h)}
}

// fewColours is the number below which a picture counts as a map whose colours
// have meanings, such as a segmentation, and must not be mixed.
const fewColours = 200

// resize scales a hint as the extension does: maps of few colours without mixing
// them, drawings of two colours so that they stay black and white and lines of one
// pixel stay lines of one pixel.
func resize(m imageio.RGB, w, h int) imageio.RGB {
	if m.W == w && m.H == h {
		return m
	}
	how, drawing := wayToResize(m, w, h)
	out := resample(m, w, h, how)
	if !drawing {
		return out
	}
	grey := &plane{w: w, h: h, pix: make([]uint8, w*h)}
	for i := range grey.pix {
		grey.pix[i] = uint8((int(out.Pix[3*i]) + int(out.Pix[3*i+1]) + int(out.Pix[3*i+2])) / 3)
	}
	return grey.redrawn(m).RGB()
}

// wayToResize chooses the interpolation for a picture, and tells whether the result
// must become black and white again.
func wayToResize(m imageio.RGB, w, h int) (how interpolation, drawing bool) {
	colours := countColours(m, fewColours)
	switch {
	case 2 < colours && colours < fewColours:
		return nearest, false
	case w*h < m.W*m.H:
		how = area
	default:
		how = cubic
	}
	return how, colours == 2 && isDrawing(m)
}

// redrawn makes a resized drawing of m black and white again.
func (p *plane) redrawn(m imageio.RGB) imageio.Gray {
	if hasThinLines(m) {
		p.keepRidges()
		p.binarize()
		p.thin(p.w*p.h > m.W*m.H)
	} else {
		p.binarize()
	}
	return imageio.Gray{W: p.w, H: p.h, Pix: p.pix}
}

// countColours counts the colours of a picture up to enough.
func countColours(m imageio.RGB, enough int) int {
	seen := make(map[[3]uint8]bool, enough)
	var last [3]uint8
	for i := 0; i < len(m.Pix); i += 3 {
		colour := [3]uint8(m.Pix[i:])
		if i > 0 && colour == last {
			continue
		}
		last = colour
		if seen[colour] = true; len(seen) >= enough {
			break
		}
	}
	return len(seen)
}

// isDrawing tells whether a picture of two colours is near black and near white
// in them.
func isDrawing(m imageio.RGB) bool {
	return slices.Min(m.Pix) < 16 && slices.Max(m.Pix) > 240
}

// hasThinLines tells whether more than half of what is bright in a drawing would
// vanish with lines of one or two pixels.
func hasThinLines(m imageio.RGB) bool {
	thin, bright := 0, 0
	for c := range 3 {
		channel := &plane{w: m.W, h: m.H, pix: make([]uint8, m.W*m.H)}
		for i := range channel.pix {
			channel.pix[i] = m.Pix[3*i+c]
		}
		for i, v := range channel.opened().pix {
			if v < channel.pix[i] {
				thin++
			}
			if channel.pix[i] > 127 {
				bright++
			}
		}
	}
	return 2*thin > bright
}

// borderColour is the median colour of the outermost pixels.
func borderColour(m imageio.RGB) [3]uint8 {
	median := borderMedian(m)
	return [3]uint8{uint8(median[0]), uint8(median[1]), uint8(median[2])}
}

// borderMedian is the median of the outermost pixels in each channel.
func borderMedian(m imageio.RGB) [3]float32 {
	var colour [3]float32
	for c := range colour {
		var edge []uint8
		for x := range m.W {
			edge = append(edge, m.Pix[3*x+c], m.Pix[3*((m.H-1)*m.W+x)+c])
		}
		for y := range m.H {
			edge = append(edge, m.Pix[3*y*m.W+c], m.Pix[3*(y*m.W+m.W-1)+c])
		}
		slices.Sort(edge)
		middle := len(edge) / 2 // there is an even number
		colour[c] = (float32(edge[middle-1]) + float32(edge[middle])) / 2
	}
	return colour
}
