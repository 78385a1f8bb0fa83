package convnet

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Shapes are the tensors of a file by name, slowest axis first.
type Shapes map[string][]int64

// Builder puts a network together. What a file lacks or has in another shape is kept
// and told by Build, so that an architecture reads as a list of layers.
type Builder struct {
	shapes   Shapes
	net      Net
	channels []int // of the values so far
	weights  map[string]int
	known    map[string]bool
	problem  string
}

// New begins a network for pictures of some channels.
func New(shapes Shapes, channels int) *Builder {
	return &Builder{shapes: shapes, net: Net{Channels: channels}, channels: []int{channels}, weights: map[string]int{}, known: map[string]bool{}}
}

// Has tells whether the file has a tensor.
func (b *Builder) Has(name string) bool { return b.shapes[name] != nil }

// Count is how many numbered parts there are, by what stands before the number: one more
// than the highest, so that a part which is missing in between is noticed.
func (b *Builder) Count(prefix string) int {
	n := 0
	for name := range b.shapes {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			digits, _, _ := strings.Cut(rest, ".")
			if i, err := strconv.Atoi(digits); err == nil && i < len(b.shapes) {
				n = max(n, i+1)
			}
		}
	}
	return n
}

// Fail keeps the first problem, a predicate to put behind the file's name.
func (b *Builder) Fail(format string, args ...any) {
	if b.problem == "" {
		b.problem = fmt.Sprintf(format, args...)
	}
}

// Problem is what Fail was told first, "" for nothing.
func (b *Builder) Problem() string { return b.problem }

// Build returns the network with the given results, or what is wrong with the file.
func (b *Builder) Build(outputs ...int) (*Net, string) {
	if b.problem != "" {
		return nil, b.problem
	}
	b.net.Outputs = outputs
	return &b.net, ""
}

// Dim is a side of a tensor, 0 if it has no such side.
func (b *Builder) Dim(name string, axis int) int {
	shape := b.shapes[name]
	if axis >= len(shape) || shape[axis] > math.MaxInt32 {
		return 0
	}
	return int(shape[axis])
}

// Channels is how many channels a value has.
func (b *Builder) Channels(x int) int { return b.channels[x] }

// need notes a tensor and checks its shape.
func (b *Builder) need(name string, shape ...int) {
	want := make([]int64, len(shape))
	for i, side := range shape {
		want[i] = int64(side)
	}
	got, ok := b.shapes[name]
	switch {
	case !ok:
		b.Fail("is incomplete: tensor %s is missing", name)
	case !slices.Equal(got, want):
		b.Fail("has a tensor %s of shape %v where %v is needed", name, got, want)
	}
	if !b.known[name] {
		b.known[name] = true
		b.net.Params = append(b.net.Params, Param{name, want})
	}
}

// weight adds an array, once for each key.
func (b *Builder) weight(key string, w Weight) int {
	if at, ok := b.weights[key]; ok {
		return at
	}
	b.net.Weights = append(b.net.Weights, w)
	b.weights[key] = len(b.net.Weights) - 1
	return len(b.net.Weights) - 1
}

// each is an array with a value for each channel.
func (b *Builder) each(name string, channels int) int {
	b.need(name, channels)
	return b.weight(name, Weight{Shape: [4]int{1, channels, 1, 1}, From: []string{name}})
}

func (b *Builder) add(n Node) int {
	b.net.Nodes = append(b.net.Nodes, n)
	b.channels = append(b.channels, n.Channels)
	return len(b.net.Nodes)
}

// layer is a node without weights.
func (b *Builder) layer(op Op, x, channels int) Node {
	return Node{Op: op, A: x, Weight: -1, Bias: -1, Channels: channels}
}

// kernel returns outputs and side of the square kernel that is applied to x.
func (b *Builder) kernel(name string, x int) (out, side int) {
	out, side = b.Dim(name, 0), b.Dim(name, 3)
	if b.Has(name) && (out == 0 || side%2 == 0) {
		b.Fail("has a tensor %s of shape %v, which is no kernel of a convolution", name, b.shapes[name])
	}
	b.need(name, out, b.Channels(x), side, side)
	return out, side
}

// Conv is a convolution by name.weight and, if there is one, name.bias. The result
// is as large as x, divided by stride.
func (b *Builder) Conv(x int, name string, stride int) int {
	out, side := b.kernel(name+".weight", x)
	n := Node{Op: Conv, A: x, Bias: -1, Stride: stride, Pad: side / 2, Channels: out}
	n.Weight = b.weight(name+".weight", Weight{Shape: [4]int{out, b.Channels(x), side, side}, From: []string{name + ".weight"}})
	if b.Has(name + ".bias") {
		n.Bias = b.each(name+".bias", out)
	}
	return b.add(n)
}

// ConvNorm is a convolution by conv.weight, followed by the batch norm of norm, which
// is folded into it.
func (b *Builder) ConvNorm(x int, conv, norm string, stride int, epsilon float64) int {
	out, side := b.kernel(conv+".weight", x)
	parts := []string{norm + ".weight", norm + ".bias", norm + ".running_mean", norm + ".running_var"}
	for _, part := range parts {
		b.need(part, out)
	}
	factor := func(gamma, variance []float32, i int) float64 {
		return float64(gamma[i]) / math.Sqrt(float64(variance[i])+epsilon)
	}
	kernel := Weight{Shape: [4]int{out, b.Channels(x), side, side}, From: []string{conv + ".weight", parts[0], parts[3]}}
	kernel.fold = func(from [][]float32) []float32 {
		row := len(from[0]) / out
		folded := make([]float32, len(from[0]))
		for i, v := range from[0] {
			folded[i] = float32(float64(v) * factor(from[1], from[2], i/row))
		}
		return folded
	}
	bias := Weight{Shape: [4]int{1, out, 1, 1}, From: parts}
	bias.fold = func(from [][]float32) []float32 {
		folded := make([]float32, out)
		for i := range folded {
			folded[i] = float32(float64(from[1][i]) - float64(from[2][i])*factor(from[0], from[3], i))
		}
		return folded
	}
	return b.add(Node{
		Op: Conv, A: x, Stride: stride, Pad: side / 2, Channels: out,
		Weight: b.weight(conv+".weight", kernel), Bias: b.weight(norm, bias),
	})
}

// Double is a transposed convolution of side 2 and stride 2.
func (b *Builder) Double(x int, name string) int { return b.Spread(x, name, 2) }

// Spread is a transposed convolution whose stride is its side, which is a convolution of
// one pixel to the side² that come of it.
func (b *Builder) Spread(x int, name string, side int) int {
	in, out, all := b.Channels(x), b.Dim(name+".weight", 1), side*side
	b.need(name+".weight", in, out, side, side)
	b.need(name+".bias", out)
	kernel := Weight{Shape: [4]int{all * out, in, 1, 1}, From: []string{name + ".weight"}}
	kernel.fold = func(from [][]float32) []float32 {
		folded := make([]float32, all*out*in)
		for i := range in {
			for o := range all * out {
				folded[o*in+i] = from[0][i*all*out+o]
			}
		}
		return folded
	}
	bias := Weight{Shape: [4]int{1, all * out, 1, 1}, From: []string{name + ".bias"}}
	bias.fold = func(from [][]float32) []float32 {
		folded := make([]float32, all*out)
		for o := range folded {
			folded[o] = from[0][o/all]
		}
		return folded
	}
	y := b.add(Node{
		Op: Conv, A: x, Stride: 1, Channels: all * out,
		Weight: b.weight(name+".weight", kernel), Bias: b.weight(name+".bias", bias),
	})
	return b.Shuffle(y, side)
}

// Folded is a convolution of side 3 whose kernel and bias are computed from several
// tensors of the given names and shapes.
func (b *Builder) Folded(x int, key string, out int, names []string, shapes [][]int, fold func(from [][]float32) (kernel, bias []float32)) int {
	for i, name := range names {
		b.need(name, shapes[i]...)
	}
	kernel := Weight{Shape: [4]int{out, b.Channels(x), 3, 3}, From: names}
	kernel.fold = func(from [][]float32) []float32 { k, _ := fold(from); return k }
	bias := Weight{Shape: [4]int{1, out, 1, 1}, From: names}
	bias.fold = func(from [][]float32) []float32 { _, v := fold(from); return v }
	return b.add(Node{Op: Conv, A: x, Stride: 1, Pad: 1, Channels: out, Weight: b.weight(key, kernel), Bias: b.weight(key+" bias", bias)})
}

// Scaled is factor * x + shift with a shift for each channel.
func (b *Builder) Scaled(x int, factor float32, shift []float32) int {
	n := len(shift)
	kernel := Weight{Shape: [4]int{n, n, 1, 1}}
	kernel.fold = func([][]float32) []float32 {
		out := make([]float32, n*n)
		for i := range n {
			out[i*n+i] = factor
		}
		return out
	}
	bias := Weight{Shape: [4]int{1, n, 1, 1}, fold: func([][]float32) []float32 { return shift }}
	return b.add(Node{Op: Conv, A: x, Stride: 1, Channels: n, Weight: b.weight("scale", kernel), Bias: b.weight("shift", bias)})
}

// SiLU is x * sigmoid(x).
func (b *Builder) SiLU(x int) int { return b.add(b.layer(SiLU, x, b.Channels(x))) }

// LeakyReLU multiplies negative values by slope.
func (b *Builder) LeakyReLU(x int, slope float32) int {
	n := b.layer(LeakyReLU, x, b.Channels(x))
	n.Scale = slope
	return b.add(n)
}

// PReLU multiplies negative values by the channel's slope in name.weight.
func (b *Builder) PReLU(x int, name string) int {
	n := b.layer(PReLU, x, b.Channels(x))
	n.Weight = b.each(name+".weight", b.Channels(x))
	return b.add(n)
}

// Sigmoid is 1 / (1 + exp(-x)).
func (b *Builder) Sigmoid(x int) int { return b.add(b.layer(Sigmoid, x, b.Channels(x))) }

// Add is x + y.
func (b *Builder) Add(x, y int) int { return b.pair(Add, x, y, b.Channels(x)) }

// Mul is x * y.
func (b *Builder) Mul(x, y int) int { return b.pair(Mul, x, y, b.Channels(x)) }

func (b *Builder) pair(op Op, x, y, channels int) int {
	if op != Concat && b.Channels(x) != b.Channels(y) {
		b.Fail("adds layers of %d and %d channels", b.Channels(x), b.Channels(y))
	}
	n := b.layer(op, x, channels)
	n.B = y
	return b.add(n)
}

// Affine is scale * x + shift.
func (b *Builder) Affine(x int, scale, shift float32) int {
	n := b.layer(Affine, x, b.Channels(x))
	n.Scale, n.Shift = scale, shift
	return b.add(n)
}

// Concat puts the channels of all values behind each other.
func (b *Builder) Concat(x int, more ...int) int {
	for _, y := range more {
		x = b.pair(Concat, x, y, b.Channels(x)+b.Channels(y))
	}
	return x
}

// Slice takes n channels from first on.
func (b *Builder) Slice(x, first, n int) int {
	if first+n > b.Channels(x) {
		b.Fail("has a layer of %d channels where %d are needed", b.Channels(x), first+n)
	}
	s := b.layer(Slice, x, n)
	s.First = first
	return b.add(s)
}

// Enlarge repeats every value along both axes, factor times.
func (b *Builder) Enlarge(x, factor int) int { return b.resize(Enlarge, x, factor, b.Channels(x)) }

// Stretch resizes to h by w, bilinear, with the corners on the corners.
func (b *Builder) Stretch(x, h, w int) int {
	n := b.layer(Stretch, x, b.Channels(x))
	n.First, n.Factor = h, w
	return b.add(n)
}

// ReLU is max(x, 0).
func (b *Builder) ReLU(x int) int { return b.LeakyReLU(x, 0) }

// MaxPool takes the largest of side by side values around each.
func (b *Builder) MaxPool(x, side int) int { return b.resize(MaxPool, x, side, b.Channels(x)) }

// Shuffle makes factor² channels factor by factor values.
func (b *Builder) Shuffle(x, factor int) int {
	if b.Channels(x)%(factor*factor) != 0 {
		b.Fail("has a last layer of %d channels, which do not make pixels by %d", b.Channels(x), factor)
	}
	return b.resize(Shuffle, x, factor, b.Channels(x)/(factor*factor))
}

// Unshuffle is the reverse of Shuffle.
func (b *Builder) Unshuffle(x, factor int) int {
	return b.resize(Unshuffle, x, factor, b.Channels(x)*factor*factor)
}

func (b *Builder) resize(op Op, x, factor, channels int) int {
	if factor == 1 { // as it is, and ggml refuses to enlarge so
		return x
	}
	n := b.layer(op, x, channels)
	n.Factor = factor
	return b.add(n)
}
