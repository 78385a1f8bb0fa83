package hint

import (
	"slices"

	"sdworker/convnet/depth"
	"sdworker/inference/imageio"
)

// Module is one preprocessor.
type Module struct {
	Name  string // as requests name it
	Label string // as the extension's page shows it; requests may use it, too
	Tags  []string
	// Masked tells that it takes a mask beside the picture, for inpainting.
	Masked bool
	// Vision tells that CLIP's image encoder looks at the picture, for IP-Adapters.
	Vision bool
	// Depth is the version of the depth network that makes the picture, 0 for none.
	Depth depth.Version
	// Sliders are its parameters as the extension bounds them. One that it does not
	// show has no name. The resolution comes first, then the thresholds A and B.
	Sliders [3]Slider

	priority int // of its place in lists
	run      func(m imageio.RGB, s Sliders, limit int) (imageio.RGB, error)
}

// Slider describes one parameter of a preprocessor.
type Slider struct {
	Name            string
	Value, Min, Max float64
	Step            float64
	whole           bool
}

// Whole tells that the extension writes the slider's default as a whole number.
func (s Slider) Whole() bool { return s.whole }

// Sliders are the parameters of one run.
type Sliders struct {
	Resolution int     // short side in pixels at which the preprocessor works
	A, B       float64 // its thresholds
	Seed       uint32  // for what is random
}

var (
	resolution = Slider{Name: "Resolution", Value: 512, Min: 64, Max: 2048, Step: 8, whole: true}
	hidden     = Slider{Value: 0.5, Max: 1, Step: 0.01} // bounded as the extension does, and without effect
)

// Bounded gives parameters out of a slider's range the slider's default, as the
// extension does.
func (mod Module) Bounded(s Sliders) Sliders {
	bound := func(v float64, slider Slider) float64 {
		if !(v >= slider.Min && v <= slider.Max) {
			return slider.Value
		}
		return v
	}
	s.Resolution = int(bound(float64(s.Resolution), mod.Sliders[0]))
	s.A, s.B = bound(s.A, mod.Sliders[1]), bound(s.B, mod.Sliders[2])
	return s
}

// withDefaults replaces what is below 0, or no resolution.
func (mod Module) withDefaults(s Sliders) Sliders {
	if s.Resolution <= 0 {
		s.Resolution = int(resolution.Value)
	}
	if s.A < 0 {
		s.A = mod.Sliders[1].Value
	}
	if s.B < 0 {
		s.B = mod.Sliders[2].Value
	}
	return s
}

// asItIs is for preprocessors that act on something else than the picture.
func asItIs(m imageio.RGB, _ Sliders, _ int) (imageio.RGB, error) { return m, nil }

// onPadded is a preprocessor that works at its resolution.
func onPadded(fn func(m imageio.RGB, s Sliders) imageio.RGB) func(imageio.RGB, Sliders, int) (imageio.RGB, error) {
	return func(m imageio.RGB, s Sliders, limit int) (imageio.RGB, error) {
		return padded(m, s.Resolution, limit, func(m imageio.RGB) imageio.RGB { return fn(m, s) })
	}
}

// atOwnSize is a preprocessor that works on the picture as it is.
func atOwnSize(fn func(m imageio.RGB, s Sliders) imageio.RGB) func(imageio.RGB, Sliders, int) (imageio.RGB, error) {
	return func(m imageio.RGB, s Sliders, _ int) (imageio.RGB, error) { return fn(m, s), nil }
}

// atResolution is a preprocessor that works at its resolution, without the padding.
func atResolution(fn func(m imageio.RGB, s Sliders) imageio.RGB) func(imageio.RGB, Sliders, int) (imageio.RGB, error) {
	return func(m imageio.RGB, s Sliders, limit int) (imageio.RGB, error) {
		m, err := scaleShortSide(m, s.Resolution, limit)
		if err != nil {
			return m, err
		}
		return fn(m, s), nil
	}
}

// shuffleResolution is what the extension fixes for shuffle.
const shuffleResolution = 512

// modules are those of version 1.1.455 of the extension that are built in, with
// its names, labels, tags, sliders and priorities
// (scripts/preprocessor/{model_free_preprocessors,inpaint}.py, legacy/preprocessor_compiled.py).
var modules = sorted([]Module{
	{Name: "none", Label: "none", Tags: []string{"InstructP2P"}, Sliders: [3]Slider{resolution, hidden, hidden}, priority: 10, run: asItIs},
	{
		Name: "canny", Label: "canny", Tags: []string{"Canny"}, priority: 100,
		Sliders: [3]Slider{
			resolution,
			{Name: "Low Threshold", Value: 100, Min: 1, Max: 255, Step: 1, whole: true},
			{Name: "High Threshold", Value: 200, Min: 1, Max: 255, Step: 1, whole: true},
		},
		run: onPadded(func(m imageio.RGB, s Sliders) imageio.RGB {
			return Canny(m, float64(int(s.A)), float64(int(s.B))).RGB()
		}),
	},
	{
		Name: "invert", Label: "invert (from white bg & black line)", Tags: []string{"Canny", "Lineart", "Scribble", "MLSD"}, priority: 20,
		Sliders: [3]Slider{hidden, hidden, hidden},
		run:     atOwnSize(func(m imageio.RGB, _ Sliders) imageio.RGB { return invert(m) }),
	},
	{
		Name: "blur_gaussian", Label: "blur_gaussian", Tags: []string{"Tile"},
		Sliders: [3]Slider{resolution, {Name: "Sigma", Value: 9, Min: 0.01, Max: 64, Step: 0.01}, hidden},
		run:     atResolution(func(m imageio.RGB, s Sliders) imageio.RGB { return m.Blur(s.A) }),
	},
	{
		Name: "scribble_xdog", Label: "scribble_xdog", Tags: []string{"Scribble", "SparseCtrl"},
		Sliders: [3]Slider{resolution, {Name: "XDoG Threshold", Value: 32, Min: 1, Max: 64, Step: 0.01, whole: true}, hidden},
		run:     onPadded(func(m imageio.RGB, s Sliders) imageio.RGB { return scribble(m, s.A) }),
	},
	{
		Name: "shuffle", Label: "shuffle", Tags: []string{"Shuffle"},
		Sliders: [3]Slider{{Value: shuffleResolution, Max: 1, whole: true}, hidden, hidden},
		run:     atResolution(func(m imageio.RGB, s Sliders) imageio.RGB { return shuffle(m, s.Seed) }),
	},
	{
		Name: "inpaint", Label: "inpaint_global_harmonious", Tags: []string{"Inpaint"}, Masked: true,
		Sliders: [3]Slider{hidden, hidden, hidden}, run: asItIs,
	},
	{
		Name: "inpaint_only", Label: "inpaint_only", Tags: []string{"Inpaint"}, Masked: true, priority: 100,
		Sliders: [3]Slider{hidden, hidden, hidden}, run: asItIs,
	},
	{
		Name: "tile_resample", Label: "tile_resample", Tags: []string{"Tile"}, priority: 100,
		Sliders: [3]Slider{resolution, {Name: "Down Sampling Rate", Value: 1, Min: 1, Max: 8, Step: 0.01}, hidden},
		run:     atOwnSize(func(m imageio.RGB, s Sliders) imageio.RGB { return downsampled(m, s.A) }),
	},
	{
		Name: "tile_colorfix", Label: "tile_colorfix", Tags: []string{"Tile"},
		Sliders: [3]Slider{resolution, variation, hidden}, run: asItIs,
	},
	{
		Name: "tile_colorfix+sharp", Label: "tile_colorfix+sharp", Tags: []string{"Tile"},
		Sliders: [3]Slider{resolution, variation, {Name: "Sharpness", Value: 1, Max: 2, Step: 0.01}}, run: asItIs,
	},
	{
		Name: "lineart_standard", Label: "lineart_standard (from white bg & black line)", Tags: []string{"Lineart"}, priority: 100,
		Sliders: [3]Slider{resolution, hidden, hidden},
		run:     onPadded(func(m imageio.RGB, _ Sliders) imageio.RGB { return lineart(m) }),
	},
	{
		Name: "recolor_luminance", Label: "recolor_luminance", Tags: []string{"Recolor"}, priority: 100,
		Sliders: [3]Slider{resolution, gamma, hidden},
		run:     atOwnSize(func(m imageio.RGB, s Sliders) imageio.RGB { return luminance(m, s.A) }),
	},
	{
		Name: "recolor_intensity", Label: "recolor_intensity", Tags: []string{"Recolor"},
		Sliders: [3]Slider{resolution, gamma, hidden},
		run:     atOwnSize(func(m imageio.RGB, s Sliders) imageio.RGB { return intensity(m, s.A) }),
	},
	{
		Name: "ip-adapter-auto", Label: "ip-adapter-auto", Tags: []string{"IP-Adapter"}, Vision: true, priority: 1000,
		Sliders: [3]Slider{resolution, hidden, hidden}, run: asItIs,
	},
	{
		Name: "ip-adapter_clip_sd15", Label: "ip-adapter_clip_h", Tags: []string{"IP-Adapter"}, Vision: true, priority: 100,
		Sliders: [3]Slider{resolution, hidden, hidden}, run: asItIs,
	},
	{Name: "depth_anything", Label: "depth_anything", Tags: []string{"Depth"}, Depth: depth.V1, Sliders: [3]Slider{resolution, hidden, hidden}},
	{Name: "depth_anything_v2", Label: "depth_anything_v2", Tags: []string{"Depth"}, Depth: depth.V2, Sliders: [3]Slider{resolution, hidden, hidden}},
	{
		Name: "threshold", Label: "threshold",
		Sliders: [3]Slider{resolution, {Name: "Binarization Threshold", Value: 127, Max: 255, Step: 0.01, whole: true}, hidden},
		run:     onPadded(func(m imageio.RGB, s Sliders) imageio.RGB { return threshold(m, s.A) }),
	},
})

var (
	variation = Slider{Name: "Variation", Value: 8, Min: 3, Max: 32, Step: 1}
	gamma     = Slider{Name: "Gamma Correction", Value: 1, Min: 0.1, Max: 2, Step: 0.001}
)

// sorted puts modules in the order of the extension's lists: "none", then by
// priority and label, the highest first.
func sorted(list []Module) []Module {
	slices.SortStableFunc(list[1:], func(a, b Module) int {
		if a.priority != b.priority {
			return b.priority - a.priority
		}
		if a.Label > b.Label {
			return -1
		}
		return 1
	})
	return list
}

// Modules lists the preprocessors that are built in, "none" first.
func Modules() []Module { return slices.Clone(modules) }

// Lookup finds a preprocessor by name or label; "None" is "none".
func Lookup(name string) (Module, bool) {
	if name == "None" {
		name = "none"
	}
	if name == "CLIP-ViT-H (IPAdapter)" { // Forge's name
		name = "ip-adapter_clip_sd15"
	}
	for _, m := range modules {
		if m.Name == name || m.Label == name {
			return m, true
		}
	}
	return Module{}, false
}
