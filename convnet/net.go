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

	// Operations on tokens: rows of features, which lie beside each other. Channels is
	// the number of features, H that of rows and W is 1.
	Tokens    // a picture's cells as rows, the first line of cells first
	Lines     // a picture of one channel, whose lines become rows
	Linear    // every row times Weight plus Bias
	LayerNorm // every row brought to mean 0 and variance 1, times Weight plus Bias; Scale is added to the variance
	GELU      // x * Phi(x), exact
	Attention // of the queries A over the keys B and values C, with Factor heads
	Array     // the array Weight itself
	Append    // rows of A, then those of B
	Take      // Factor rows from First on
	Fold      // every row becomes Factor rows
	Cells     // rows as the cells of a picture of Factor columns, the reverse of Tokens

	Stretch // bilinear to First lines of Factor values, corners on corners
)

// Node is one layer. A, B and C number what it reads: 0 is the picture that goes in, n
// the result of Nodes[n-1].
type Node struct {
	Op           Op
	A, B, C      int
	Weight, Bias int // into Weights, -1 for none
	Stride, Pad  int
	First        int
	Factor       int
	Channels     int // of the result
	Scale, Shift float32
}

// Weight is an array that nodes use, made of tensors of the file.
type Weight struct {
	// Shape is outputs, inputs, rows, columns of a kernel; 1, channels, 1, 1 of what each
	// channel has; 1, 1, rows, features of what acts on tokens.
	Shape [4]int
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
	Half     bool    // matrices of Linear are kept in half precision
}

// Halved tells which arrays are kept in half precision.
func (n *Net) Halved() []bool {
	out := make([]bool, len(n.Weights))
	for _, node := range n.Nodes {
		if n.Half && node.Op == Linear {
			out[node.Weight] = true
		}
	}
	return out
}

// Bytes is the memory that the arrays take.
func (n *Net) Bytes() int64 {
	var bytes int64
	halved := n.Halved()
	for i, w := range n.Weights {
		if halved[i] {
			bytes += 2 * int64(w.Len())
		} else {
			bytes += 4 * int64(w.Len())
		}
	}
	return bytes
}

// Load makes the arrays of Weights; read returns the values of a tensor.
func (n *Net) Load(read func(name string) ([]float32, error)) ([][]float32, error) {
	out := make([][]float32, len(n.Weights))
	err := n.LoadEach(read, func(i int, values []float32) error { out[i] = values; return nil })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// LoadEach is Load for networks too large to be held twice: take gets one array after
// the other.
func (n *Net) LoadEach(read func(name string) ([]float32, error), take func(i int, values []float32) error) error {
	for i, w := range n.Weights {
		from := make([][]float32, len(w.From))
		for k, name := range w.From {
			var err error
			if from[k], err = read(name); err != nil {
				return err
			}
		}
		var values []float32
		if w.fold != nil {
			values = w.fold(from)
		} else {
			values = from[0]
		}
		if len(values) != w.Len() {
			return fmt.Errorf("an array made of %q has %d values where %d are needed", w.From, len(values), w.Len())
		}
		if err := take(i, values); err != nil {
			return err
		}
	}
	return nil
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
		case Tokens:
			s.H, s.W = s.H*s.W, 1
		case Lines:
			s.W = 1
		case Array:
			s.H, s.W = n.Weights[node.Weight].Shape[2], 1
		case Append:
			s.H += sizes[node.B].H
		case Take:
			s.H = node.Factor
		case Fold:
			s.H *= node.Factor
		case Cells:
			s.H, s.W = s.H/node.Factor, node.Factor
		case Stretch:
			s.H, s.W = node.First, node.Factor
		default:
		}
		sizes = append(sizes, s)
	}
	return sizes
}
