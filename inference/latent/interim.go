package latent

// UpscaleMode is one of the six latent upscalers of the hires pass.
// (The owner of this package replaces this file: same names, all six modes.)
type UpscaleMode int

// ParseUpscaleMode finds a mode by the name of the upscaler.
func ParseUpscaleMode(name string) (UpscaleMode, bool) {
	return 0, name == "Latent" || name == "Latent (nearest-exact)"
}

// Upscale resizes planes of h by w values.
func Upscale(x []float32, planes, h, w, toH, toW int, _ UpscaleMode) []float32 {
	return Resize(x, planes, h, w, toH, toW)
}

// Resize stretches planes bilinearly (torch interpolate, align_corners false).
func Resize(x []float32, planes, h, w, toH, toW int) []float32 {
	var out []float32
	for p := range planes {
		for y := range toH {
			for c := range toW {
				out = append(out, x[p*h*w+y*h/toH*w+c*w/toW])
			}
		}
	}
	return out
}
