package imageio

// fillBlurs are the standard deviations in pixels, widest first, and how often
// each is laid on top (A1111 modules/masking.py).
var fillBlurs = []struct {
	deviation float32
	repeats   int
}{{256, 1}, {64, 1}, {16, 2}, {4, 4}, {2, 2}, {0, 1}}

// FillMasked replaces what the mask covers by blurred colours of its
// surroundings. A1111 does so before every inpainting whose masked content is not
// "original", the latent fills included. Picture and mask have the same size.
func FillMasked(m RGB, mask Gray) RGB {
	kept := keep(m, mask)
	out := NewRGBA(m.W, m.H)
	for _, b := range fillBlurs {
		blurred := RGBA{m.W, m.H, gaussianBlur(kept.Pix, m.W, m.H, 4, b.deviation)}
		blurred.unpremultiply()
		for range b.repeats {
			out.composite(blurred)
		}
	}
	return out.DropAlpha()
}
