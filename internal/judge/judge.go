// Package judge says what a picture of the demo model shows, for tests of meaning. It
// is a small convolutional network, trained by training/demo on drawings and not on
// pictures that the model made.
package judge

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"sdworker/inference/imageio"
	"sdworker/models/demo/compact"
)

//go:embed judge.safetensors
var weights []byte

// None is what a verdict says where there is nothing.
const None = "none"

// Verdict is what a picture shows. Of two objects the left one comes first.
type Verdict struct {
	Object, Colour   string
	Object2, Colour2 string // None when there is one object
	Place            string // a place, the colour of a plain background, or None
}

// answers are the fields by the names of the judge's questions.
func (v *Verdict) answers() map[string]*string {
	return map[string]*string{"object": &v.Object, "colour": &v.Colour, "object2": &v.Object2, "colour2": &v.Colour2, "place": &v.Place}
}

// side is the width and height in pixels that the network sees.
const side = 64

// layer is a convolution of 3x3 or, with a kernel of 1, a linear layer.
type layer struct {
	out, in, kernel int
	weight, bias    []float32
}

type network struct {
	convolutions, linear []layer
	heads                []head
}

// head is one question with the possible answers.
type head struct {
	name    string
	answers []string
}

var load = sync.OnceValues(func() (*network, error) {
	f, err := compact.Open("judge.safetensors", weights)
	if err != nil {
		return nil, err
	}
	n := new(network)
	for i := range 4 {
		l, err := readLayer(f, fmt.Sprintf("conv%d", i))
		if err != nil {
			return nil, err
		}
		n.convolutions = append(n.convolutions, l)
	}
	for i := range 2 {
		l, err := readLayer(f, fmt.Sprintf("fc%d", i))
		if err != nil {
			return nil, err
		}
		n.linear = append(n.linear, l)
	}
	n.heads, err = readHeads(f.Metadata("heads"))
	return n, err
})

func readLayer(f *compact.File, name string) (layer, error) {
	w, err := f.Read(name + ".weight")
	if err != nil {
		return layer{}, err
	}
	b, err := f.Read(name + ".bias")
	if err != nil {
		return layer{}, err
	}
	l := layer{out: int(w.Shape[0]), in: int(w.Shape[1]), kernel: 1, weight: w.Values, bias: b.Values}
	if len(w.Shape) == 4 {
		l.kernel = int(w.Shape[2])
	}
	return l, nil
}

// readHeads reads a JSON object of lists; their order is that of the outputs.
func readHeads(text string) ([]head, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var heads []head
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		h := head{name: fmt.Sprint(name)}
		if err := d.Decode(&h.answers); err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	if heads == nil {
		return nil, errors.New("the judge's file has no answers")
	}
	return heads, nil
}

// Look judges a square picture whose side is a multiple of 64 pixels.
func Look(m imageio.RGB) (Verdict, error) {
	n, err := load()
	if err != nil {
		return Verdict{}, err
	}
	if m.W != m.H || m.W == 0 || m.W%side != 0 {
		return Verdict{}, fmt.Errorf("a picture of %dx%d pixels cannot be judged", m.W, m.H)
	}
	x := shrink(m)
	size := side
	for _, l := range n.convolutions {
		x = pool(l.convolve(x, size), l.out, size)
		size /= 2
	}
	x = n.linear[1].apply(rectify(n.linear[0].apply(x)))
	var v Verdict
	answers := v.answers()
	for _, h := range n.heads {
		best := 0
		for i := range h.answers {
			if x[i] > x[best] {
				best = i
			}
		}
		*answers[h.name] = h.answers[best]
		x = x[len(h.answers):]
	}
	return v, nil
}

// shrink averages squares of pixels and returns planes of values from -1 to 1.
func shrink(m imageio.RGB) []float32 {
	k := m.W / side
	out := make([]float32, 3*side*side)
	for c := range 3 {
		for y := range side {
			for x := range side {
				sum := 0
				for dy := range k {
					for dx := range k {
						sum += int(m.Pix[3*((y*k+dy)*m.W+x*k+dx)+c])
					}
				}
				out[(c*side+y)*side+x] = float32(sum)/float32(k*k)/127.5 - 1
			}
		}
	}
	return out
}

// convolve keeps the size; outside there are zeros.
func (l layer) convolve(x []float32, size int) []float32 {
	out := make([]float32, l.out*size*size)
	for o := range l.out {
		plane := out[o*size*size:][:size*size]
		for i := range plane {
			plane[i] = l.bias[o]
		}
		for i := range l.in {
			from := x[i*size*size:][:size*size]
			for ky := -1; ky <= 1; ky++ {
				for kx := -1; kx <= 1; kx++ {
					w := l.weight[((o*l.in+i)*3+ky+1)*3+kx+1]
					for y := max(0, -ky); y < min(size, size-ky); y++ {
						for x := max(0, -kx); x < min(size, size-kx); x++ {
							plane[y*size+x] += w * from[(y+ky)*size+x+kx]
						}
					}
				}
			}
		}
	}
	return rectify(out)
}

func rectify(x []float32) []float32 {
	for i := range x {
		x[i] = max(x[i], 0)
	}
	return x
}

// pool keeps the largest of each 2x2 values.
func pool(x []float32, planes, size int) []float32 {
	half := size / 2
	out := make([]float32, planes*half*half)
	for i := range out {
		p, y, c := i/(half*half), i/half%half, i%half
		at := p*size*size + 2*y*size + 2*c
		out[i] = max(x[at], x[at+1], x[at+size], x[at+size+1])
	}
	return out
}

func (l layer) apply(x []float32) []float32 {
	out := make([]float32, l.out)
	for o := range out {
		out[o] = l.bias[o]
		for i, v := range x {
			out[o] += l.weight[o*l.in+i] * v
		}
	}
	return out
}
