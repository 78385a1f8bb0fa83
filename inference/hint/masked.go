package hint

import (
	"math"
	"slices"

	"sdworker/inference/imageio"
)

// Hint is a picture fitted to a latent.
type Hint struct {
	W, H   int
	Pixels []float32 // planar RGB [3,H,W], 0..1; a resized picture of inpainting may lie a little outside
	Mask   []float32 // [H,W], 1 = painted anew, 0 = kept; nil without a mask
}

func plainHint(m imageio.RGB) Hint {
	h := Hint{W: m.W, H: m.H, Pixels: make([]float32, len(m.Pix))}
	plane := m.W * m.H
	for i := range plane {
		for c := range 3 {
			h.Pixels[c*plane+i] = float32(m.Pix[3*i+c]) / 255
		}
	}
	return h
}

// Seen is what the ControlNet sees, planar RGB [3,H,W]: the picture, with -1 where
// it is masked.
func (h Hint) Seen() []float32 {
	if h.Mask == nil {
		return h.Pixels
	}
	seen := slices.Clone(h.Pixels)
	for i, v := range h.Mask {
		if v > 0 {
			for c := range 3 {
				seen[c*h.W*h.H+i] = -1
			}
		}
	}
	return seen
}

// Shown is the hint as people look at it: what is masked is half transparent.
func (h Hint) Shown() imageio.RGBA {
	out := imageio.NewRGBA(h.W, h.H)
	plane := h.W * h.H
	for i := range plane {
		for c := range 3 {
			// Back from a 255th, which may have lost a little.
			v := float64(h.Pixels[c*plane+i]) * 255
			out.Pix[4*i+c] = uint8(min(max(math.Floor(v+1e-3), 0), 255))
		}
		out.Pix[4*i+3] = 255
		if h.Mask != nil && h.Mask[i] > 0 {
			out.Pix[4*i+3] = 128
		}
	}
	return out
}

// ShowMask is a picture with its mask before it is fitted, as people look at it.
func ShowMask(p Picture) imageio.RGBA {
	out := imageio.NewRGBA(p.W, p.H)
	for i := range p.W * p.H {
		copy(out.Pix[4*i:], p.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 255
		if p.Mask != nil {
			out.Pix[4*i+3] = 255 - p.Mask.Pix[i]/2
		}
	}
	return out
}

// floats is a picture with its mask as the extension resizes them for inpainting:
// four channels of float32, 0..255, which are not rounded.
type floats struct {
	w, h int
	pix  []float32 // [h,w,4]
}

// fitMasked gives a picture with a mask its final size by the resize mode. What
// "Resize and Fill" adds is masked.
func fitMasked(p Picture, o Options) (Hint, error) {
	x, y := float64(o.Width)/float64(p.W), float64(o.Height)/float64(p.H)
	var m floats
	switch o.ResizeMode {
	case Crop:
		size := scaled(p.W, p.H, max(x, y))
		if err := checkSize(size[0], size[1], o.maxPixels()); err != nil {
			return Hint{}, err
		}
		resized := resizeMasked(p, size[0], size[1])
		m = newFloats(o.Width, o.Height, [4]float32{})
		m.copyFrom(resized, -max(0, (resized.w-o.Width)/2), -max(0, (resized.h-o.Height)/2))
	case Pad:
		size := scaled(p.W, p.H, min(x, y))
		resized := resizeMasked(p, size[0], size[1])
		border := borderMedian(p.RGB)
		m = newFloats(o.Width, o.Height, [4]float32{border[0], border[1], border[2], 255})
		m.copyFrom(resized, max(0, (o.Width-resized.w)/2), max(0, (o.Height-resized.h)/2))
	default:
		m = resizeMasked(p, o.Width, o.Height)
	}
	return m.hint(), nil
}

func newFloats(w, h int, colour [4]float32) floats {
	return floats{w, h, slices.Repeat(colour[:], w*h)}
}

// copyFrom lays a picture with its left upper corner at x, y.
func (m floats) copyFrom(from floats, x, y int) {
	for j := max(0, -y); j < min(from.h, m.h-y); j++ {
		x0, x1 := max(0, -x), min(from.w, m.w-x)
		if x0 < x1 {
			copy(m.pix[4*((y+j)*m.w+x+x0):], from.pix[4*(j*from.w+x0):4*(j*from.w+x1)])
		}
	}
}

func (m floats) hint() Hint {
	plane := m.w * m.h
	h := Hint{W: m.w, H: m.h, Pixels: make([]float32, 3*plane), Mask: make([]float32, plane)}
	for i := range plane {
		for c := range 3 {
			h.Pixels[c*plane+i] = m.pix[4*i+c] / 255
		}
		if m.pix[4*i+3] > 127 {
			h.Mask[i] = 1
		}
	}
	return h
}

// resizeMasked is resize for a picture with a mask.
func resizeMasked(p Picture, w, h int) floats {
	m := newFloats(p.W, p.H, [4]float32{})
	for i := range p.W * p.H {
		for c := range 3 {
			m.pix[4*i+c] = float32(p.Pix[3*i+c])
		}
		m.pix[4*i+3] = float32(p.Mask.Pix[i])
	}
	if m.w == w && m.h == h {
		return m
	}
	how, drawing := wayToResize(p.RGB, w, h)
	m = m.resample(w, h, how)
	if !drawing {
		return m
	}
	grey := &plane{w: w, h: h, pix: make([]uint8, w*h)}
	for i := range grey.pix {
		grey.pix[i] = uint8(min(max((m.pix[4*i]+m.pix[4*i+1]+m.pix[4*i+2])/3, 0), 255))
	}
	for i, v := range grey.redrawn(p.RGB).Pix {
		m.pix[4*i], m.pix[4*i+1], m.pix[4*i+2] = float32(v), float32(v), float32(v)
	}
	return m
}

// taps are what one position of a resized side takes of the source.
type taps struct {
	at     []int
	weight []float64
}

// tapsOf are the taps of all n positions of a side of size pixels for float32
// values; smaller tells that no side grows.
func tapsOf(how interpolation, n, size int, smaller bool) []taps {
	out := make([]taps, n)
	switch {
	case how == nearest:
		for i, at := range nearestTaps(n, size) {
			out[i] = taps{[]int{at}, []float64{1}}
		}
	case how == cubic:
		for i, t := range cubicTaps(n, size) {
			out[i] = taps{t.at[:], t.weight[:]}
		}
	case smaller:
		for i, s := range areas(n, size) {
			for k, weight := range s.weights {
				out[i].at, out[i].weight = append(out[i].at, s.first+k), append(out[i].weight, float64(weight))
			}
		}
	default: // INTER_AREA is linear as soon as one side grows
		for i, t := range linearTaps(n, size) {
			out[i] = taps{[]int{t.first, t.second}, []float64{1 - float64(t.exact), float64(t.exact)}}
		}
	}
	return out
}

func (m floats) resample(w, h int, how interpolation) floats {
	smaller := w <= m.w && h <= m.h
	columns, rows := tapsOf(how, w, m.w, smaller), tapsOf(how, h, m.h, smaller)
	across := make([]float64, 4*w*m.h)
	for y := range m.h {
		for x, t := range columns {
			for k, at := range t.at {
				for c := range 4 {
					across[4*(y*w+x)+c] += float64(m.pix[4*(y*m.w+at)+c]) * t.weight[k]
				}
			}
		}
	}
	out := newFloats(w, h, [4]float32{})
	line := make([]float64, 4*w)
	for y, t := range rows {
		clear(line)
		for k, at := range t.at {
			for i, v := range across[4*w*at:][:4*w] {
				line[i] += v * t.weight[k]
			}
		}
		for i, v := range line {
			out.pix[4*w*y+i] = float32(v)
		}
	}
	return out
}
