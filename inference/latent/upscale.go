package latent

import "math"

// UpscaleMode is one of the ways in which the hires pass enlarges latents.
type UpscaleMode int

// Modes, with the names that requests use.
const (
	Bilinear          UpscaleMode = iota // "Latent"
	BilinearAntialias                    // "Latent (antialiased)"
	Bicubic                              // "Latent (bicubic)"
	BicubicAntialias                     // "Latent (bicubic antialiased)"
	NearestFloor                         // "Latent (nearest)"
	NearestExact                         // "Latent (nearest-exact)"
)

var modeNames = [...]string{
	Bilinear:          "Latent",
	BilinearAntialias: "Latent (antialiased)",
	Bicubic:           "Latent (bicubic)",
	BicubicAntialias:  "Latent (bicubic antialiased)",
	NearestFloor:      "Latent (nearest)",
	NearestExact:      "Latent (nearest-exact)",
}

// UpscaleModes lists the names of the modes in A1111's order.
func UpscaleModes() []string { return modeNames[:] }

// ParseUpscaleMode finds a mode by its exact name. Other upscalers work on
// pictures.
func ParseUpscaleMode(name string) (UpscaleMode, bool) {
	for mode, n := range modeNames {
		if n == name {
			return UpscaleMode(mode), true
		}
	}
	return 0, false
}

// Upscale returns planes of h by w values at toH by toW, smaller sizes included,
// as torch.nn.functional.interpolate does without align_corners. The sides must
// be at least 1.
func Upscale(x []float32, planes, h, w, toH, toW int, mode UpscaleMode) []float32 {
	wide := resample(x, planes*h, w, 1, taps(w, toW, mode))
	return resample(wide, planes, h, toW, taps(h, toH, mode))
}

// resample applies the taps to the middle axis of a tensor [outer,n,inner].
func resample(x []float32, outer, n, inner int, taps [][]tap) []float32 {
	out := make([]float32, outer*len(taps)*inner)
	for o := range outer {
		src := x[o*n*inner : (o+1)*n*inner]
		for i, list := range taps {
			at := (o*len(taps) + i) * inner
			dst := out[at : at+inner]
			for _, t := range list {
				for k, v := range src[t.from*inner : (t.from+1)*inner] {
					dst[k] += v * t.weight
				}
			}
		}
	}
	return out
}

// Resize is Upscale with the mode of img2img's latent resize, bilinear.
func Resize(x []float32, planes, h, w, toH, toW int) []float32 {
	return Upscale(x, planes, h, w, toH, toW, Bilinear)
}

// tap is the contribution of a source value to one result.
type tap struct {
	from   int
	weight float32
}

// taps lists what each of the results along one axis is made of.
func taps(from, to int, mode UpscaleMode) [][]tap {
	scale := float64(from) / float64(to)
	list := make([][]tap, to)
	for i := range list {
		switch mode {
		case Bilinear:
			list[i] = linearTaps(max(scale*(float64(i)+0.5)-0.5, 0), from)
		case Bicubic:
			list[i] = cubicTaps(scale*(float64(i)+0.5)-0.5, from)
		case BilinearAntialias:
			list[i] = areaTaps(i, scale, from, 1, triangle)
		case BicubicAntialias:
			list[i] = areaTaps(i, scale, from, 2, func(x float64) float64 { return cubic(x, antialiasSharpness) })
		case NearestFloor:
			list[i] = []tap{{min(int(scale*float64(i)), from-1), 1}}
		case NearestExact:
			list[i] = []tap{{min(int(scale*(float64(i)+0.5)), from-1), 1}}
		}
	}
	return list
}

func linearTaps(at float64, from int) []tap {
	low := min(int(at), from-1)
	fraction := float32(at - float64(low))
	return []tap{{low, 1 - fraction}, {min(low+1, from-1), fraction}}
}

// Sharpness of the cubic kernel: PyTorch has Pillow's value with antialiasing and
// OpenCV's without.
const (
	antialiasSharpness = -0.5
	plainSharpness     = -0.75
)

// cubicTaps repeats the border values.
func cubicTaps(at float64, from int) []tap {
	low := math.Floor(at)
	list := make([]tap, 4)
	for k := range list {
		position := int(low) + k - 1
		list[k] = tap{
			from:   min(max(position, 0), from-1),
			weight: float32(cubic(at-float64(position), plainSharpness)),
		}
	}
	return list
}

// areaTaps widens the kernel to the source cells under one result and leaves out
// what lies outside, as Pillow does.
func areaTaps(i int, scale float64, from int, support float64, kernel func(float64) float64) []tap {
	widen := max(scale, 1)
	support *= widen
	centre := scale * (float64(i) + 0.5)
	low := max(int(centre-support+0.5), 0)
	high := min(int(centre+support+0.5), from)
	weights := make([]float64, high-low)
	var total float64
	for k := range weights {
		weights[k] = kernel((float64(low+k) - centre + 0.5) / widen)
		total += weights[k]
	}
	list := make([]tap, len(weights))
	for k, weight := range weights {
		list[k] = tap{low + k, float32(weight / total)}
	}
	return list
}

func triangle(x float64) float64 { return max(0, 1-math.Abs(x)) }

// cubic is Keys' convolution kernel.
func cubic(x, a float64) float64 {
	switch x = math.Abs(x); {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}
