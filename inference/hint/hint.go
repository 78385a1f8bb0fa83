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

// Module is one preprocessor.
type Module struct {
	Name     string
	Aliases  []string // other names that requests use
	Sliders  []Slider // its parameters, as /controlnet/module_list shows them
	run      func(m imageio.RGB, a, b float64) imageio.RGB
	defaultA float64
	defaultB float64
}

// Slider describes one parameter of a preprocessor.
type Slider struct {
	Name            string
	Value, Min, Max float64
	Step            float64
}

var resolutionSlider = Slider{Name: "Preprocessor Resolution", Value: defaultResolution, Min: 64, Max: 2048, Step: 8}

// defaultResolution is the short side, in pixels, at which preprocessors work
// unless the unit says otherwise.
const defaultResolution = 512

var modules = []Module{
	{Name: "none", Aliases: []string{"None"}},
	{
		Name:     "canny",
		run:      func(m imageio.RGB, low, high float64) imageio.RGB { return Canny(m, low, high).RGB() },
		defaultA: 100, defaultB: 200,
		Sliders: []Slider{
			resolutionSlider,
			{Name: "Canny Low Threshold", Value: 100, Min: 1, Max: 255, Step: 1},
			{Name: "Canny High Threshold", Value: 200, Min: 1, Max: 255, Step: 1},
		},
	},
	{
		Name:    "invert (from white bg & black line)",
		Aliases: []string{"invert"},
		run:     func(m imageio.RGB, _, _ float64) imageio.RGB { return invert(m) },
		Sliders: []Slider{resolutionSlider},
	},
	{
		Name:     "threshold",
		run:      func(m imageio.RGB, level, _ float64) imageio.RGB { return threshold(m, level) },
		defaultA: 127,
		Sliders:  []Slider{resolutionSlider, {Name: "Binarization Threshold", Value: 127, Min: 0, Max: 255, Step: 1}},
	},
}

// Modules lists the preprocessors that are built in.
func Modules() []Module { return slices.Clone(modules) }

// Lookup finds a preprocessor by name or alias.
func Lookup(name string) (Module, bool) {
	for _, m := range modules {
		if m.Name == name || slices.Contains(m.Aliases, name) {
			return m, true
		}
	}
	return Module{}, false
}

// Options say how a hint is made.
type Options struct {
	Module       string  // name of the preprocessor
	Resolution   int     // short side in pixels at which it works; 0 or less = its default
	PixelPerfect bool    // choose Resolution from Width and Height
	ThresholdA   float64 // parameters of the preprocessor; below 0 = its default
	ThresholdB   float64
	ResizeMode   int
	Width        int // pixels of the hint
	Height       int
}

// maxPixels bounds the pictures in between, which grow without limit with the
// resolution and for a long narrow picture: 16 million pixels, or 8 times the hint.
func (o Options) maxPixels() int { return max(1<<24, 8*o.Width*o.Height) }

// check reports a picture in between that is too large.
func (o Options) check(w, h int) error {
	if limit := o.maxPixels(); w > limit/max(h, 1) {
		return fmt.Errorf("the ControlNet picture would be enlarged to %dx%d pixels, want at most %d: crop it or lower processor_res", w, h, limit)
	}
	return nil
}

// Make returns a picture of exactly Width by Height pixels. It fails for an
// unknown preprocessor, and for a picture that would grow too large on the way.
func Make(m imageio.RGB, o Options) (imageio.RGB, error) {
	mod, ok := Lookup(o.Module)
	if !ok {
		return imageio.RGB{}, fmt.Errorf("ControlNet preprocessor %q is not built in: send the preprocessed picture with module \"none\"", o.Module)
	}
	if mod.run == nil {
		return fit(m, o)
	}
	a, b := o.ThresholdA, o.ThresholdB
	if a < 0 {
		a = mod.defaultA
	}
	if b < 0 {
		b = mod.defaultB
	}
	made, err := mod.atResolution(m, o, a, b)
	if err != nil {
		return made, err
	}
	return fit(made, o)
}

// atResolution runs the module's function on the picture at the preprocessor's
// resolution. As in the extension, the picture is extended by its border to
// multiples of 64 meanwhile, which edges at the right and the bottom feel.
func (mod *Module) atResolution(m imageio.RGB, o Options, a, b float64) (imageio.RGB, error) {
	m, err := scaleShortSide(m, o)
	if err != nil {
		return m, err
	}
	const multiple = 64
	w, h := m.W, m.H
	m = extended(m, (w+multiple-1)/multiple*multiple, (h+multiple-1)/multiple*multiple)
	return mod.run(m, a, b).Crop(imageio.Box{X1: w, Y1: h}), nil
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

// scaleShortSide brings the picture to the preprocessor's resolution.
func scaleShortSide(m imageio.RGB, o Options) (imageio.RGB, error) {
	short := min(m.W, m.H)
	res := o.Resolution
	if o.PixelPerfect {
		x, y := float64(o.Width)/float64(m.W), float64(o.Height)/float64(m.H)
		k := max(x, y)
		if o.ResizeMode == Pad {
			k = min(x, y)
		}
		res = int(math.RoundToEven(k * float64(short)))
	}
	if res <= 0 {
		res = defaultResolution
	}
	k := float64(res) / float64(short)
	size := scaled(m, k)
	if err := o.check(size[0], size[1]); err != nil {
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
		size := scaled(m, max(x, y))
		if err := o.check(size[0], size[1]); err != nil {
			return m, err
		}
		m = resize(m, size[0], size[1])
		left, top := max(0, (m.W-o.Width)/2), max(0, (m.H-o.Height)/2)
		return m.Crop(imageio.Box{X0: left, Y0: top, X1: left + o.Width, Y1: top + o.Height}), nil
	case Pad:
		out := imageio.Fill(o.Width, o.Height, borderColour(m))
		size := scaled(m, min(x, y))
		m = resize(m, size[0], size[1])
		out.Paste(m, max(0, (o.Width-m.W)/2), max(0, (o.Height-m.H)/2))
		return out, nil
	}
	return resize(m, o.Width, o.Height), nil
}

func scaled(m imageio.RGB, k float64) [2]int {
	const beyond = 1 << 31 // any use
	side := func(n int) int { return int(min(max(math.RoundToEven(float64(n)*k), 1), beyond)) }
	return [2]int{side(m.W), side(m.H)}
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
	how := cubic
	if w*h < m.W*m.H {
		how = area
	}
	colours := countColours(m, fewColours)
	if 2 < colours && colours < fewColours {
		return resample(m, w, h, nearest)
	}
	out := resample(m, w, h, how)
	if colours != 2 || !isDrawing(m) {
		return out
	}
	grey := &plane{w: w, h: h, pix: make([]uint8, w*h)}
	for i := range grey.pix {
		grey.pix[i] = uint8((int(out.Pix[3*i]) + int(out.Pix[3*i+1]) + int(out.Pix[3*i+2])) / 3)
	}
	if hasThinLines(m) {
		grey.keepRidges()
		grey.binarize()
		grey.thin(w*h > m.W*m.H)
	} else {
		grey.binarize()
	}
	for i, v := range grey.pix {
		out.Pix[3*i], out.Pix[3*i+1], out.Pix[3*i+2] = v, v, v
	}
	return out
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
	var colour [3]uint8
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
		colour[c] = uint8((int(edge[middle-1]) + int(edge[middle])) / 2)
	}
	return colour
}

func invert(m imageio.RGB) imageio.RGB {
	out := imageio.NewRGB(m.W, m.H)
	for i, v := range m.Pix {
		out.Pix[i] = 255 - v
	}
	return out
}

func threshold(m imageio.RGB, level float64) imageio.RGB {
	out := imageio.NewRGB(m.W, m.H)
	for i, v := range m.Pix {
		if float64(v) > level {
			out.Pix[i] = 255
		}
	}
	return out
}
