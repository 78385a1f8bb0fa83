package sampler

// guide sets dst to classifier-free guidance with weighted parts:
// negative + sum of (part - negative) * weight * scale, image by image. Without
// negative rows the first part of each prompt takes their place.
func guide(dst, out []float32, size int, parts [][]weighted, negative []float32, scale float64) {
	for i, list := range parts {
		image := dst[i*size : (i+1)*size]
		base := out[list[0].row*size : (list[0].row+1)*size]
		if negative != nil {
			base = negative[i*size : (i+1)*size]
		}
		copy(image, base)
		for _, p := range list {
			row := out[p.row*size : (p.row+1)*size]
			factor := float32(p.weight * scale)
			for k, v := range row {
				image[k] += (v - base[k]) * factor
			}
		}
	}
}
