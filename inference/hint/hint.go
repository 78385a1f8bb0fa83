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
	sized    bool // works at the preprocessor resolution
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
		defaultA: 100, defaultB: 200, sized: true,
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
		sized:   true,
		Sliders: []Slider{resolutionSlider},
	},
	{
		Name:     "threshold",
		run:      func(m imageio.RGB, level, _ float64) imageio.RGB { return threshold(m, level) },
		defaultA: 127, sized: true,
		Sliders: []Slider{resolutionSlider, {Name: "Binarization Threshold", Value: 127, Min: 0, Max: 255, Step: 1}},
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
	if mod.sized {
		var err error
		if m, err = scaleShortSide(m, o); err != nil {
			return m, err
		}
	}
	a, b := o.ThresholdA, o.ThresholdB
	if a < 0 {
		a = mod.defaultA
	}
	if b < 0 {
		b = mod.defaultB
	}
	return fit(mod.run(m, a, b), o)
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
	filter := imageio.AreaAverage
	if k > 1 {
		filter = imageio.Lanczos
	}
	return m.Resize(size[0], size[1], filter), nil
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
		m = resize(m, size)
		left, top := max(0, (m.W-o.Width)/2), max(0, (m.H-o.Height)/2)
		return exact(m.Crop(imageio.Box{X0: left, Y0: top, X1: min(m.W, left+o.Width), Y1: min(m.H, top+o.Height)}), o), nil
	case Pad:
		m = resize(m, scaled(m, min(x, y)))
		out := imageio.Fill(o.Width, o.Height, borderColour(m))
		out.Paste(m, max(0, (o.Width-m.W)/2), max(0, (o.Height-m.H)/2))
		return out, nil
	}
	return exact(m, o), nil
}

func exact(m imageio.RGB, o Options) imageio.RGB { return resize(m, [2]int{o.Width, o.Height}) }

func scaled(m imageio.RGB, k float64) [2]int {
	const beyond = 1 << 31 // any use
	side := func(n int) int { return int(min(max(math.RoundToEven(float64(n)*k), 1), beyond)) }
	return [2]int{side(m.W), side(m.H)}
}

// resize keeps drawings of two colours, such as edges, free of grey.
func resize(m imageio.RGB, size [2]int) imageio.RGB {
	w, h := size[0], size[1]
	if m.W == w && m.H == h {
		return m
	}
	binary := isBinary(m)
	filter := imageio.Bicubic
	if w*h < m.W*m.H {
		filter = imageio.AreaAverage
	}
	m = m.Resize(w, h, filter)
	if binary {
		m = threshold(m, 127)
	}
	return m
}

// isBinary reports whether the picture holds black and white only.
func isBinary(m imageio.RGB) bool {
	for _, v := range m.Pix {
		if v != 0 && v != 255 {
			return false
		}
	}
	return true
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
		colour[c] = edge[len(edge)/2]
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
