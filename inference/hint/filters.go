package hint

import (
	"math"
	"slices"

	"sdworker/inference/imageio"
	"sdworker/inference/rng"
)

func invert(m imageio.RGB) imageio.RGB {
	out := imageio.NewRGB(m.W, m.H)
	for i, v := range m.Pix {
		out.Pix[i] = 255 - v
	}
	return out
}

// threshold whitens the pixels that are above the level in all channels.
func threshold(m imageio.RGB, level float64) imageio.RGB {
	out := imageio.NewGray(m.W, m.H)
	for i := range out.Pix {
		if float64(slices.Min(m.Pix[3*i:3*i+3])) > level {
			out.Pix[i] = 255
		}
	}
	return out.RGB()
}

// downsampled shrinks a picture by a rate of 1.1 or more.
func downsampled(m imageio.RGB, rate float64) imageio.RGB {
	if rate < 1.1 {
		return m
	}
	return resample(m, max(1, int(float64(m.W)/rate)), max(1, int(float64(m.H)/rate)), area)
}

// luminance is the lightness L of CIE L*a*b* to the power of gamma. As in the
// extension, red and blue are taken for one another.
func luminance(m imageio.RGB, gamma float64) imageio.RGB {
	swapped := m.Clone()
	for i := 0; i < len(swapped.Pix); i += 3 {
		swapped.Pix[i], swapped.Pix[i+2] = swapped.Pix[i+2], swapped.Pix[i]
	}
	return corrected(imageio.Gray{W: m.W, H: m.H, Pix: imageio.ToLab(swapped)[0]}, gamma)
}

// intensity is the value V of HSV to the power of gamma.
func intensity(m imageio.RGB, gamma float64) imageio.RGB {
	v := imageio.NewGray(m.W, m.H)
	for i := range v.Pix {
		v.Pix[i] = slices.Max(m.Pix[3*i : 3*i+3])
	}
	return corrected(v, gamma)
}

func corrected(m imageio.Gray, gamma float64) imageio.RGB {
	var table [256]uint8
	for i := range table {
		v := float32(math.Pow(float64(float32(i)/255), gamma))
		table[i] = uint8(min(max(v*255, 0), 255))
	}
	for i, v := range m.Pix {
		m.Pix[i] = table[v]
	}
	return m.RGB()
}

// scribble draws lines where a picture is darker than around, at two scales: an
// extended difference of Gaussians (XDoG).
func scribble(m imageio.RGB, level float64) imageio.RGB {
	fine, coarse := blurFloat(m, 0.5), blurFloat(m, 5)
	out := imageio.NewGray(m.W, m.H)
	for i := range out.Pix {
		least := float32(math.Inf(1))
		for c := range 3 {
			least = min(least, coarse[3*i+c]-fine[3*i+c])
		}
		dog := uint8(min(max(255-least, 0), 255))
		// Twice a byte is a byte in numpy.
		if float64(2*(255-dog)) > level {
			out.Pix[i] = 255
		}
	}
	return out.RGB()
}

// lineart draws what is darker than around, at a strength that makes the median of
// its visible lines grey.
func lineart(m imageio.RGB) imageio.RGB {
	around := blurFloat(m, 6)
	lines := make([]float32, m.W*m.H)
	var visible []float32
	for i := range lines {
		least := float32(math.Inf(1))
		for c := range 3 {
			least = min(least, around[3*i+c]-float32(m.Pix[3*i+c]))
		}
		lines[i] = min(max(least, 0), 255)
		if lines[i] > 8 {
			visible = append(visible, lines[i])
		}
	}
	scale := max(16, median(visible))
	out := imageio.NewGray(m.W, m.H)
	for i, v := range lines {
		out.Pix[i] = uint8(min(v/scale*127, 255))
	}
	return out.RGB()
}

// median is 0 for no values.
func median(values []float32) float32 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// blurFloat is OpenCV's GaussianBlur of float32 values with the kernel that it
// chooses by itself: four sigma to each side, edges mirrored without repeating the
// outermost pixel.
func blurFloat(m imageio.RGB, sigma float64) []float32 {
	n := int(math.RoundToEven(sigma*8+1)) | 1
	kernel := make([]float32, n)
	sum := 0.0
	for i := range kernel {
		x := float64(i - n/2)
		sum += math.Exp(-x * x / (2 * sigma * sigma))
	}
	for i := range kernel {
		x := float64(i - n/2)
		kernel[i] = float32(math.Exp(-x*x/(2*sigma*sigma)) / sum)
	}
	stride := 3 * m.W
	across := make([]float32, len(m.Pix))
	line := make([]float32, 3*(m.W+n-1))
	for y := range m.H {
		row := m.Pix[y*stride:][:stride]
		for x := range m.W + n - 1 {
			from := imageio.Mirror(x-n/2, m.W)
			for c := range 3 {
				line[3*x+c] = float32(row[3*from+c])
			}
		}
		to := across[y*stride:][:stride]
		for k, weight := range kernel {
			for x, v := range line[3*k:][:stride] {
				to[x] += float32(v * weight)
			}
		}
	}
	out := make([]float32, len(m.Pix))
	for y := range m.H {
		to := out[y*stride:][:stride]
		for k, weight := range kernel {
			for x, v := range across[stride*imageio.Mirror(y+k-n/2, m.H):][:stride] {
				to[x] += float32(v * weight)
			}
		}
	}
	return out
}

// shuffleCell is the distance in pixels of the random points of a shuffle.
const shuffleCell = 256

// shuffle moves the pixels of a picture about along two smooth fields of noise.
func shuffle(m imageio.RGB, seed uint32) imageio.RGB {
	random := rng.NewNumPy(seed)
	x, y := noiseField(random, m.W, m.H, m.W-1), noiseField(random, m.W, m.H, m.H-1)
	out := imageio.NewRGB(m.W, m.H)
	for i := range m.W * m.H {
		remap(out.Pix[3*i:3*i+3], m, x[i], y[i])
	}
	return out
}

// noiseField enlarges a few uniform numbers and scales what is seen of them to 0..top.
func noiseField(random *rng.NumPy, w, h, top int) []float32 {
	cellsX, cellsY := w/shuffleCell+2, h/shuffleCell+2
	cells := make([]float64, cellsX*cellsY)
	for i := range cells {
		cells[i] = random.Float64()
	}
	columns, rows := singleCubicTaps(w+2*shuffleCell, cellsX), singleCubicTaps(h+2*shuffleCell, cellsY)
	across := make([]float64, w*cellsY)
	for y := range cellsY {
		for x := range w {
			t := &columns[x+shuffleCell]
			for k, weight := range t.weight {
				across[y*w+x] += cells[y*cellsX+t.at[k]] * weight
			}
		}
	}
	field := make([]float64, w*h)
	for y := range h {
		t := &rows[y+shuffleCell]
		for x := range w {
			for k, weight := range t.weight {
				field[y*w+x] += across[t.at[k]*w+x] * weight
			}
		}
	}
	least := slices.Min(field)
	for i := range field {
		field[i] -= least
	}
	most := slices.Max(field)
	out := make([]float32, len(field))
	for i, v := range field {
		out[i] = float32(v / most * float64(top))
	}
	return out
}

// singleCubicTaps are cubicTaps in the single precision that OpenCV's own code, which
// resizes float64 values, has for positions and weights.
func singleCubicTaps(n, size int) []cubicTap {
	const a = float32(-0.75)
	out := cubicTaps(n, size)
	scale := float64(size) / float64(n)
	for i := range out {
		at := float32((float64(i)+0.5)*scale - 0.5)
		x := at - float32(math.Floor(float64(at)))
		y, z := x+1, 1-x
		var w [4]float32
		w[0] = float32(float32(float32(float32(a*y)-5*a)*y)+8*a)*y - 4*a
		w[1] = float32(float32(float32((a+2)*x)-(a+3))*x)*x + 1
		w[2] = float32(float32(float32((a+2)*z)-(a+3))*z)*z + 1
		w[3] = 1 - w[0] - w[1] - w[2]
		for k, v := range w {
			out[i].weight[k] = float64(v)
		}
	}
	return out
}

// remap takes the colour at a point between pixels, as cv2.remap does with
// INTER_LINEAR: the point is rounded to 1/32 pixel, and the weights to 1/32768. What
// lies beyond the border is black.
func remap(out []uint8, m imageio.RGB, x, y float32) {
	const bits, one = 5, 1 << 15
	px, py := int(math.RoundToEven(float64(x)*(1<<bits))), int(math.RoundToEven(float64(y)*(1<<bits)))
	left, up := px>>bits, py>>bits
	fx, fy := px&(1<<bits-1), py&(1<<bits-1)
	for c := range out {
		sum := one / 2
		for k := range 4 {
			cx, cy := left+k%2, up+k/2
			if cx < 0 || cy < 0 || cx >= m.W || cy >= m.H {
				continue
			}
			wx, wy := fx, fy
			if k%2 == 0 {
				wx = 1<<bits - fx
			}
			if k/2 == 0 {
				wy = 1<<bits - fy
			}
			sum += int(m.Pix[3*(cy*m.W+cx)+c]) * wx * wy * (one >> (2 * bits))
		}
		out[c] = uint8(sum / one)
	}
}
