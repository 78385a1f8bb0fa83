package hint

import (
	"math"

	"sdworker/convnet/depth"
	"sdworker/inference/imageio"
)

// DepthNetwork runs a Depth Anything network over pixels [3,h,w], which are as it takes
// them, and returns how near things are [h,w].
type DepthNetwork func(version depth.Version, pixels []float32, h, w int) ([]float32, error)

// depthSide is the least side of the pictures that a depth network gets, in pixels.
const depthSide = 518

// Mean and deviation of ImageNet's pictures.
var (
	depthMean      = [3]float64{0.485, 0.456, 0.406}
	depthDeviation = [3]float64{0.229, 0.224, 0.225}
)

// depthMap is the preprocessor depth_anything: white is near.
func depthMap(m imageio.RGB, s Sliders, limit int, version depth.Version, network DepthNetwork) (imageio.RGB, error) {
	var failed error
	out, err := padded(m, s.Resolution, limit, func(m imageio.RGB) imageio.RGB {
		w, h := depthSize(m.W, m.H)
		if failed = checkSize(w, h, limit); failed != nil {
			return m
		}
		var near []float32
		if near, failed = network(version, depthPixels(m, w, h), h, w); failed != nil {
			return m
		}
		return greyOf(stretched(near, w, h, m.W, m.H), m.W, m.H)
	})
	if failed != nil {
		err = failed
	}
	return out, err
}

// depthSize is the size at which the network sees a picture: the short side as near as
// possible to depthSide, both multiples of a patch.
func depthSize(w, h int) (int, int) {
	scale := max(float64(depthSide)/float64(w), float64(depthSide)/float64(h))
	side := func(n int) int {
		patches := math.RoundToEven(scale * float64(n) / depth.Patch)
		if patches*depth.Patch < depthSide {
			patches = math.Ceil(scale * float64(n) / depth.Patch)
		}
		return int(patches) * depth.Patch
	}
	return side(w), side(h)
}

// depthPixels resizes a picture to w by h without rounding, and takes mean and deviation
// out. Red and blue change places, as in the extension.
func depthPixels(m imageio.RGB, w, h int) []float32 {
	columns, rows := plainCubicTaps(w, m.W), plainCubicTaps(h, m.H)
	lines := make([][]float64, m.H)
	line := func(y int) []float64 {
		if lines[y] == nil {
			lines[y] = make([]float64, 3*w)
			for x := range columns {
				t := &columns[x]
				for c := range 3 {
					for k, weight := range t.weight {
						lines[y][3*x+c] += float64(m.Pix[3*(y*m.W+t.at[k])+2-c]) / 255 * weight
					}
				}
			}
		}
		return lines[y]
	}
	out := make([]float32, 3*w*h)
	for y := range rows {
		t := &rows[y]
		for i := range 3 * w {
			sum := 0.0
			for k, weight := range t.weight {
				sum += line(t.at[k])[i] * weight
			}
			out[i%3*w*h+y*w+i/3] = float32((sum - depthMean[i%3]) / depthDeviation[i%3])
		}
	}
	return out
}

// stretched brings values to another size by torch's bilinear interpolation.
func stretched(values []float32, fromW, fromH, w, h int) []float32 {
	part := func(at, from, to int) (first, second int, share float32) {
		place := max((float64(at)+0.5)*float64(from)/float64(to)-0.5, 0)
		first = min(int(place), from-1)
		return first, min(first+1, from-1), float32(place - float64(first))
	}
	out := make([]float32, 0, w*h)
	for y := range h {
		y0, y1, down := part(y, fromH, h)
		for x := range w {
			x0, x1, right := part(x, fromW, w)
			top := values[y0*fromW+x0]*(1-right) + values[y0*fromW+x1]*right
			bottom := values[y1*fromW+x0]*(1-right) + values[y1*fromW+x1]*right
			out = append(out, top*(1-down)+bottom*down)
		}
	}
	return out
}

// greyOf makes the least value black and the greatest white; what is the same everywhere
// is black.
func greyOf(values []float32, w, h int) imageio.RGB {
	least, most := float32(math.Inf(1)), float32(math.Inf(-1))
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	out := imageio.NewGray(w, h)
	if most > least {
		for i, v := range values {
			out.Pix[i] = uint8((v - least) / (most - least) * 255)
		}
	}
	return out.RGB()
}
