// Package latent has the arithmetic on latents outside of sampling: masks,
// fills and resizing. Latents are float32, row-major [N,C,H,W].
package latent

// Blend mixes x with init where the mask says so: x*mask + init*(1-mask). mask
// has one value for each cell of a [H,W] plane, 1 = keep x (repaint), and serves
// all channels and images.
func Blend(x, init, mask []float32) {
	for at := 0; at < len(x); at += len(mask) {
		plane, base := x[at:at+len(mask)], init[at:at+len(mask)]
		for i, m := range mask {
			plane[i] = plane[i]*m + base[i]*(1-m)
		}
	}
}
