package convnet

import "fmt"

// Op is what a node computes.
type Op int32

// Operations. The engine's netgraph.h numbers them alike.
const (
	Conv      Op = iota // convolution with Weight, Bias, Stride and Pad
	SiLU                // x * sigmoid(x)
	LeakyReLU           // x where it is positive, else Scale * x
	PReLU               // LeakyReLU with a slope for each channel in Weight
	Sigmoid             // 1 / (1 + exp(-x))
	Add                 // A + B
	Mul                 // A * B
	Affine              // Scale * x + Shift
	Concat              // channels of A, then those of B
	Slice               // Channels channels from First on
	Enlarge             // every value Factor times along both axes
	MaxPool             // the largest of Factor by Factor values around each
	Shuffle             // Factor² channels become Factor by Factor values (torch's pixel_shuffle)
	Unshuffle           // the reverse of Shuffle
)

// Node is one layer. A and B number what it reads: 0 is the picture that goes in, n
// the result of Nodes[n-1].
type Node struct {
	Op           Op
	A, B         int
	Weight, Bias int // into Weights, -1 for none
	Stride, Pad  int
	First        int
	Factor       int
	Channels     int // of the result
	Scale, Shift float32
}

// Weight is an array that nodes use, made of tensors of the file.
type Weight struct {
	Shape [4]int   // outputs, inputs, rows, columns of a kernel; 1, channels, 1, 1 of what each channel has
	From  []string // names of the tensors
	fold  func(from [][]float32) []float32
}

// Len is how many values the array has.
func (w Weight) Len() int { return w.Shape[0] * w.Shape[1] * w.Shape[2] * w.Shape[3] }

// Param is a tensor that a network needs.
type Param struct {
	Name  string
	Shape []int64
}

// Net is a network.
type Net struct {
	Channels int // of the picture that goes in
	Nodes    []Node
	Weights  []Weight
	Outputs  []int   // values that come out, numbered as Node.A
	Params   []Param // every tensor that Weights are made of, once
}

// Bytes is the memory that the arrays take.
func (n *Net) Bytes() int64 {
	var bytes int64
	for _, w := range n.Weights {
		bytes += 4 * int64(w.Len())
	}
	return bytes
}

// Load makes the arrays of Weights; read returns the values of a tensor.
func (n *Net) Load(read func(name string) ([]float32, error)) ([][]float32, error) {
	out := make([][]float32, len(n.Weights))
	for i, w := range n.Weights {
		from := make([][]float32, len(w.From))
		for k, name := range w.From {
			var err error
			if from[k], err = read(name); err != nil {
				return nil, err
			}
		}
		if w.fold != nil {
			out[i] = w.fold(from)
		} else {
			out[i] = from[0]
		}
		if len(out[i]) != w.Len() {
			return nil, fmt.Errorf("an array made of %q has %d values where %d are needed", w.From, len(out[i]), w.Len())
		}
	}
	return out, nil
}

// Size is the extent of a value.
type Size struct{ Channels, H, W int }

// Len is how many numbers a value has.
func (s Size) Len() int { return s.Channels * s.H * s.W }

// Sizes returns the extents of all values for a picture of h by w: of the picture
// itself, then of every node's result.
func (n *Net) Sizes(h, w int) []Size {
	sizes := make([]Size, 1, len(n.Nodes)+1)
	sizes[0] = Size{n.Channels, h, w}
	for _, node := range n.Nodes {
		s := sizes[node.A]
		s.Channels = node.Channels
		switch node.Op {
		case Conv:
			kernel := n.Weights[node.Weight].Shape
			s.H = (s.H+2*node.Pad-kernel[2])/node.Stride + 1
			s.W = (s.W+2*node.Pad-kernel[3])/node.Stride + 1
		case Enlarge, Shuffle:
			s.H, s.W = s.H*node.Factor, s.W*node.Factor
		case Unshuffle:
			s.H, s.W = s.H/node.Factor, s.W/node.Factor
		default:
		}
		sizes = append(sizes, s)
	}
	return sizes
}
