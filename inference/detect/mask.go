package detect

import (
	"sdworker/inference/imageio"
)

// plane is the mask of an object as the network gives it, a quarter of the
// letterbox's size; above 0 is inside.
type plane struct {
	h, w       int
	values     []float32
	boxH, boxW int // of the letterbox
}

// newPlane mixes the prototypes [masks,h,w] and cuts off what lies outside the box
// (process_mask and crop_mask of ultralytics' utils/ops.py).
func newPlane(prototypes []float32, c candidate, l *Letterbox) *plane {
	const shrunk = 4 // the first level's stride is 8, and prototypes are twice as fine
	p := &plane{h: l.H / shrunk, w: l.W / shrunk, boxH: l.H, boxW: l.W}
	p.values = make([]float32, p.h*p.w)
	scaleX, scaleY := float32(p.w)/float32(l.W), float32(p.h)/float32(l.H)
	box := Box{c.Box.X1 * scaleX, c.Box.Y1 * scaleY, c.Box.X2 * scaleX, c.Box.Y2 * scaleY}
	for y := range p.h {
		if float32(y) < box.Y1 || float32(y) >= box.Y2 {
			continue
		}
		for x := range p.w {
			if float32(x) < box.X1 || float32(x) >= box.X2 {
				continue
			}
			sum := float32(0)
			for k, v := range c.coefficients {
				sum += v * prototypes[(k*p.h+y)*p.w+x]
			}
			p.values[y*p.w+x] = sum
		}
	}
	return p
}

// letterbox enlarges the mask to the network's input, white inside.
func (p *plane) letterbox() imageio.Gray {
	out := imageio.NewGray(p.boxW, p.boxH)
	columns, rows := between(p.boxW, p.w), between(p.boxH, p.h)
	for y, r := range rows {
		upper, lower := p.values[r.first*p.w:], p.values[r.second*p.w:]
		for x, c := range columns {
			a := upper[c.first]*(1-c.part) + upper[c.second]*c.part
			b := lower[c.first]*(1-c.part) + lower[c.second]*c.part
			if a*(1-r.part)+b*r.part > 0 {
				out.Pix[y*p.boxW+x] = 255
			}
		}
	}
	return out
}

// mix says of which two source positions a position is a mean.
type mix struct {
	first, second int
	part          float32 // of the second
}

// between computes the mixes of torch's bilinear interpolation of size values to n.
func between(n, size int) []mix {
	out := make([]mix, n)
	scale := float32(size) / float32(n)
	for i := range out {
		at := max((float32(i)+0.5)*scale-0.5, 0)
		first := min(int(at), size-1)
		out[i] = mix{first, min(first+1, size-1), at - float32(first)}
	}
	return out
}

// Mask is the object as white on black, w by h pixels: its outline if the network
// tells it, else its box. The outline is stretched with the letterbox's padding, as
// the extension does, which moves it by up to half a stride.
func (f *Found) Mask(w, h int) imageio.Gray {
	if f.mask != nil {
		return f.mask.letterbox().Resize(w, h, imageio.Bicubic)
	}
	m := imageio.NewGray(w, h)
	for y := max(int(f.Box.Y1), 0); y <= min(int(f.Box.Y2), h-1); y++ {
		for x := max(int(f.Box.X1), 0); x <= min(int(f.Box.X2), w-1); x++ {
			m.Pix[y*w+x] = 255
		}
	}
	return m
}
