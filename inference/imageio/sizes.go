package imageio

import "math"

// FloorToLatent returns the side of the picture that a requested side gives:
// latent cells are 8 pixels, and A1111 drops what does not fill one.
func FloorToLatent(side int) int { return side / 8 * 8 }

// UpscaleSize is the size an upscaler delivers for a w by h picture and a factor:
// scaled sides are cut to whole pixels, then to multiples of 8 (A1111
// modules/upscaler.py).
func UpscaleSize(w, h int, scale float64) (int, int) {
	return FloorToLatent(int(float64(w) * scale)), FloorToLatent(int(float64(h) * scale))
}

// HiresSize says how the second pass of a text-to-image job gets its size.
type HiresSize struct {
	W, H                 int // the first pass is scaled to this, pixels
	TruncateX, TruncateY int // latent cells cut away after scaling; half of them, rounded down, left and top
}

// Final is the size of the finished picture in pixels.
func (s HiresSize) Final() (w, h int) {
	return (s.W/8 - s.TruncateX) * 8, (s.H/8 - s.TruncateY) * 8
}

// Hires computes the second pass of a w by h first pass. With resizeX and
// resizeY both 0 the scale counts; one of them alone keeps the proportions; both
// cover the wanted size and cut the surplus.
func Hires(w, h int, scale float64, resizeX, resizeY int) HiresSize {
	switch {
	case resizeX == 0 && resizeY == 0:
		return HiresSize{W: int(float64(w) * scale), H: int(float64(h) * scale)}
	case resizeY == 0:
		return HiresSize{W: resizeX, H: resizeX * h / w}
	case resizeX == 0:
		return HiresSize{W: resizeY * w / h, H: resizeY}
	}
	s := HiresSize{W: resizeY * w / h, H: resizeY}
	if float64(w)/float64(h) < float64(resizeX)/float64(resizeY) {
		s.W, s.H = resizeX, resizeX*h/w
	}
	s.TruncateX, s.TruncateY = (s.W-resizeX)/8, (s.H-resizeY)/8
	return s
}

// FirstPass512 is the first-pass size of A1111's oldest hires fix for a wanted
// w by h picture: the area of 512x512 in the same proportions, sides rounded up
// to multiples of 64.
func FirstPass512(w, h int) (int, int) {
	scale := math.Sqrt(512 * 512 / (float64(w) * float64(h)))
	round := func(side int) int { return int(math.Ceil(scale*float64(side)/64)) * 64 }
	return round(w), round(h)
}
