// Package detect finds objects in pictures with YOLOv8 networks as ultralytics'
// predict does, and makes masks of what it found as the ADetailer extension does. It
// computes what comes before and after the network.
package detect

import (
	"math"

	"sdworker/convnet/yolo"
	"sdworker/inference/imageio"
)

// DefaultSide is the size that ultralytics trains and looks at unless a file says
// otherwise, pixels.
const DefaultSide = 640

// padding is the grey around a picture that does not fill the network's input.
const padding = 114

// Letterbox is a picture as the network takes it: scaled to the size that the network
// was trained for, then filled up to whole strides.
type Letterbox struct {
	H, W   int       // pixels
	Pixels []float32 // planar RGB [3,H,W], 0..1
	of     imageio.RGB
}

// NewLetterbox scales and fills a picture (LetterBox with auto of ultralytics'
// data/augment.py). sideH and sideW are the network's size.
func NewLetterbox(m imageio.RGB, sideH, sideW int) Letterbox {
	stride := yolo.Strides[len(yolo.Strides)-1]
	sideH, sideW = roundUp(sideH, stride), roundUp(sideW, stride)
	ratio := min(float64(sideH)/float64(m.H), float64(sideW)/float64(m.W))
	w, h := max(1, int(math.RoundToEven(float64(m.W)*ratio))), max(1, int(math.RoundToEven(float64(m.H)*ratio)))
	left, right := halves((sideW - w) % stride)
	top, bottom := halves((sideH - h) % stride)
	l := Letterbox{H: top + h + bottom, W: left + w + right, of: m}
	l.Pixels = make([]float32, 3*l.H*l.W)
	for i := range l.Pixels {
		l.Pixels[i] = padding / 255.0
	}
	scaled := m
	if w != m.W || h != m.H {
		scaled = linear(m, w, h)
	}
	for i, v := range scaled.Pix {
		x, y := i/3%w, i/3/w
		l.Pixels[(i%3*l.H+top+y)*l.W+left+x] = float32(v) / 255
	}
	return l
}

// halves splits n pixels of padding as ultralytics rounds them.
func halves(n int) (before, after int) {
	half := float64(n) / 2
	return int(math.RoundToEven(half - 0.1)), int(math.RoundToEven(half + 0.1))
}

func roundUp(n, step int) int { return (n + step - 1) / step * step }

// toPicture brings a box of the network's input to the picture, cut off at its
// borders (scale_boxes of ultralytics' utils/ops.py, which takes scale and padding
// from the filled size, so that they differ a little from those of the scaling).
func (l *Letterbox) toPicture(b Box) Box {
	w, h := float64(l.of.W), float64(l.of.H)
	gain := min(float64(l.H)/h, float64(l.W)/w)
	padX := math.RoundToEven((float64(l.W)-w*gain)/2 - 0.1)
	padY := math.RoundToEven((float64(l.H)-h*gain)/2 - 0.1)
	move := func(v float32, pad, limit float64) float32 {
		return float32(min(max((float64(v)-pad)/gain, 0), limit))
	}
	return Box{move(b.X1, padX, w), move(b.Y1, padY, h), move(b.X2, padX, w), move(b.Y2, padY, h)}
}

// linear resizes a picture as cv2.resize does with INTER_LINEAR: four pixels are
// mixed, however much smaller the result is, with weights of 11 fractional bits.
func linear(m imageio.RGB, w, h int) imageio.RGB {
	columns, rows := taps(w, m.W), taps(h, m.H)
	out := imageio.NewRGB(w, h)
	for y, r := range rows {
		upper, lower := m.Pix[3*m.W*r.first:], m.Pix[3*m.W*r.second:]
		for x, c := range columns {
			for k := range 3 {
				a := int(upper[3*c.first+k])*c.weight0 + int(upper[3*c.second+k])*c.weight1
				b := int(lower[3*c.first+k])*c.weight0 + int(lower[3*c.second+k])*c.weight1
				out.Pix[3*(y*w+x)+k] = uint8((r.weight0*(a>>4)>>16 + r.weight1*(b>>4)>>16 + 2) >> 2)
			}
		}
	}
	return out
}

// tap is what one position of a result takes of two source positions.
type tap struct{ first, second, weight0, weight1 int }

func taps(n, size int) []tap {
	const one = 1 << 11
	out := make([]tap, n)
	scale := float64(size) / float64(n)
	for i := range out {
		at := float32((float64(i)+0.5)*scale - 0.5)
		floor := int(math.Floor(float64(at)))
		part := at - float32(floor)
		switch {
		case floor < 0:
			floor, part = 0, 0
		case floor >= size-1:
			floor, part = size-1, 0
		}
		t := tap{first: floor, second: min(floor+1, size-1)}
		t.weight0 = int(math.RoundToEven(float64((1 - part) * one)))
		t.weight1 = int(math.RoundToEven(float64(part * one)))
		out[i] = t
	}
	return out
}
