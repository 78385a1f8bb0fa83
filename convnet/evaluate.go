package convnet

import "math"

// Evaluate computes the outputs of a network for a picture of h by w, with the arrays
// that Load returned. It is slow and plain.
func (n *Net) Evaluate(weights [][]float32, picture []float32, h, w int) [][]float32 {
	sizes := n.Sizes(h, w)
	values := make([][]float32, len(sizes))
	values[0] = picture
	for i, node := range n.Nodes {
		e := evaluation{node: node, in: sizes[node.A], size: sizes[i+1], a: values[node.A], b: values[node.B], c: values[node.C]}
		e.out = make([]float32, e.size.Len())
		if node.Weight >= 0 {
			e.weight, e.kernel = weights[node.Weight], n.Weights[node.Weight].Shape
		}
		if node.Bias >= 0 {
			e.bias = weights[node.Bias]
		}
		e.run()
		values[i+1] = e.out
	}
	out := make([][]float32, len(n.Outputs))
	for i, at := range n.Outputs {
		out[i] = values[at]
	}
	return out
}

// evaluation is the computing of one node.
type evaluation struct {
	node         Node
	in, size     Size
	a, b, c, out []float32
	weight, bias []float32
	kernel       [4]int
}

func (e *evaluation) run() {
	n := e.node
	switch n.Op {
	case Conv:
		e.each(e.convolve)
	case MaxPool:
		e.each(e.largest)
	case Enlarge:
		e.each(func(c, y, x int) float32 { return e.at(c, y/n.Factor, x/n.Factor) })
	case Shuffle:
		f := n.Factor
		e.each(func(c, y, x int) float32 { return e.at(c*f*f+y%f*f+x%f, y/f, x/f) })
	case Unshuffle:
		f := n.Factor
		e.each(func(c, y, x int) float32 { return e.at(c/(f*f), y*f+c/f%f, x*f+c%f) })
	case Stretch:
		e.each(e.stretched)
	case Slice:
		e.each(func(c, y, x int) float32 { return e.at(n.First+c, y, x) })
	case Concat, Append:
		copy(e.out[copy(e.out, e.a):], e.b)
	case Tokens, Lines, Linear, LayerNorm, Attention, Array, Take, Fold, Cells:
		e.tokens()
	default:
		plane := e.size.H * e.size.W
		for i, v := range e.a {
			e.out[i] = e.pointwise(v, i, i/plane)
		}
	}
}

// pointwise computes what one value alone decides.
func (e *evaluation) pointwise(v float32, i, channel int) float32 {
	switch e.node.Op {
	case SiLU:
		return v * sigmoid(v)
	case GELU:
		return float32(float64(v) * (1 + math.Erf(float64(v)/math.Sqrt2)) / 2)
	case Sigmoid:
		return sigmoid(v)
	case LeakyReLU:
		return leaky(v, e.node.Scale)
	case PReLU:
		return leaky(v, e.weight[channel])
	case Add:
		return v + e.b[i]
	case Mul:
		return v * e.b[i]
	default: // Affine
		return e.node.Scale*v + e.node.Shift
	}
}

func sigmoid(v float32) float32 { return float32(1 / (1 + math.Exp(-float64(v)))) }

func leaky(v, slope float32) float32 {
	if v < 0 {
		return slope * v
	}
	return v
}

// each fills the result.
func (e *evaluation) each(value func(c, y, x int) float32) {
	i := 0
	for c := range e.size.Channels {
		for y := range e.size.H {
			for x := range e.size.W {
				e.out[i] = value(c, y, x)
				i++
			}
		}
	}
}

// at is a value that goes in.
func (e *evaluation) at(c, y, x int) float32 { return e.a[(c*e.in.H+y)*e.in.W+x] }

func (e *evaluation) inside(y, x int) bool { return y >= 0 && x >= 0 && y < e.in.H && x < e.in.W }

func (e *evaluation) convolve(c, y, x int) float32 {
	sum := float64(0)
	inputs, rows, columns := e.kernel[1], e.kernel[2], e.kernel[3]
	for i := range inputs {
		for dy := range rows {
			for dx := range columns {
				at, from := y*e.node.Stride+dy-e.node.Pad, x*e.node.Stride+dx-e.node.Pad
				if e.inside(at, from) {
					sum += float64(e.weight[((c*inputs+i)*rows+dy)*columns+dx]) * float64(e.at(i, at, from))
				}
			}
		}
	}
	if e.bias != nil {
		sum += float64(e.bias[c])
	}
	return float32(sum)
}

func (e *evaluation) largest(c, y, x int) float32 {
	best := float32(math.Inf(-1))
	half := e.node.Factor / 2
	for dy := -half; dy <= half; dy++ {
		for dx := -half; dx <= half; dx++ {
			if e.inside(y+dy, x+dx) {
				best = max(best, e.at(c, y+dy, x+dx))
			}
		}
	}
	return best
}

// stretched is a value of a picture whose corners stay the corners.
func (e *evaluation) stretched(c, y, x int) float32 {
	part := func(at, from, to int) (first, second int, share float64) {
		if to < 2 || from < 2 {
			return 0, 0, 0
		}
		place := float64(at) * float64(from-1) / float64(to-1)
		first = min(int(place), from-2)
		return first, first + 1, place - float64(first)
	}
	y0, y1, down := part(y, e.in.H, e.size.H)
	x0, x1, right := part(x, e.in.W, e.size.W)
	top := float64(e.at(c, y0, x0))*(1-right) + float64(e.at(c, y0, x1))*right
	bottom := float64(e.at(c, y1, x0))*(1-right) + float64(e.at(c, y1, x1))*right
	return float32(top*(1-down) + bottom*down)
}
