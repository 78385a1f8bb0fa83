package sampler

// guide sets dst to classifier-free guidance with weighted parts:
// negative + sum of (part - negative) * weight * scale, image by image. Without
// negative rows the first part of each prompt takes their place. A mask multiplies what
// its part adds.
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
			if p.mask != nil {
				addMasked(image, row, base, p.mask, factor)
				continue
			}
			for k, v := range row {
				image[k] += (v - base[k]) * factor
			}
		}
	}
}

// addMasked adds factor * mask * (row - base) to dst. The mask has a plane's values and
// serves all channels.
func addMasked(dst, row, base, mask []float32, factor float32) {
	for at := 0; at < len(row); at += len(mask) {
		for i, m := range mask {
			k := at + i
			dst[k] += (row[k] - base[k]) * (factor * m)
		}
	}
}
