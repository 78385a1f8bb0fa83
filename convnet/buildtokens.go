package convnet

import "strconv"

// Patches makes each square of side by side pixels a token, as a convolution by
// name.weight of that stride does; the bias is name.bias, if there is one.
func (b *Builder) Patches(x int, name string, side int) int {
	out, in := b.Dim(name+".weight", 0), b.Channels(x)
	b.need(name+".weight", out, in, side, side)
	x = b.Tokens(b.Unshuffle(x, side))
	return b.linear(x, name+".weight", b.biasOf(name), Weight{Shape: [4]int{1, 1, out, b.Channels(x)}, From: []string{name + ".weight"}})
}

// Tokens makes each cell of a picture a row of its channels.
func (b *Builder) Tokens(x int) int { return b.add(b.layer(Tokens, x, b.Channels(x))) }

// Lines makes each line of a picture of one channel a row of so many features.
func (b *Builder) Lines(x, features int) int { return b.add(b.layer(Lines, x, features)) }

// Linear multiplies every row by name.weight [out,in] and adds name.bias, if there is one.
func (b *Builder) Linear(x int, name string) int {
	out := b.Dim(name+".weight", 0)
	b.need(name+".weight", out, b.Channels(x))
	return b.linear(x, name+".weight", b.biasOf(name), Weight{Shape: [4]int{1, 1, out, b.Channels(x)}, From: []string{name + ".weight"}})
}

// LinearPart is Linear with some of all outputs of a matrix, those from first on.
func (b *Builder) LinearPart(x int, name string, first, outputs, total int) int {
	in := b.Channels(x)
	b.need(name+".weight", total, in)
	part := func(width int) func([][]float32) []float32 {
		return func(from [][]float32) []float32 { return from[0][first*width : (first+outputs)*width] }
	}
	key := " from " + strconv.Itoa(first)
	n := b.layer(Linear, x, outputs)
	n.Weight = b.weight(name+".weight"+key, Weight{Shape: [4]int{1, 1, outputs, in}, From: []string{name + ".weight"}, fold: part(in)})
	if b.Has(name + ".bias") {
		b.need(name+".bias", total)
		n.Bias = b.weight(name+".bias"+key, Weight{Shape: [4]int{1, 1, 1, outputs}, From: []string{name + ".bias"}, fold: part(1)})
	}
	return b.add(n)
}

// biasOf is the name of a layer's bias, "" without one.
func (b *Builder) biasOf(name string) string {
	if b.Has(name + ".bias") {
		return name + ".bias"
	}
	return ""
}

func (b *Builder) linear(x int, key, bias string, w Weight) int {
	n := b.layer(Linear, x, w.Shape[2])
	n.Weight = b.weight(key, w)
	if bias != "" {
		n.Bias = b.features(bias, w.Shape[2])
	}
	return b.add(n)
}

// features is an array with a value for each feature of a row.
func (b *Builder) features(name string, width int) int {
	b.need(name, width)
	return b.weight(name, Weight{Shape: [4]int{1, 1, 1, width}, From: []string{name}})
}

// LayerNorm normalizes every row and applies name.weight and name.bias.
func (b *Builder) LayerNorm(x int, name string, epsilon float32) int {
	n := b.layer(LayerNorm, x, b.Channels(x))
	n.Scale = epsilon
	n.Weight, n.Bias = b.features(name+".weight", b.Channels(x)), b.features(name+".bias", b.Channels(x))
	return b.add(n)
}

// GELU is x * Phi(x).
func (b *Builder) GELU(x int) int { return b.add(b.layer(GELU, x, b.Channels(x))) }

// Attention is softmax(q k / sqrt(width of a head)) v for each head.
func (b *Builder) Attention(q, k, v, heads int) int {
	width := b.Channels(q)
	if b.Channels(k) != width || b.Channels(v) != width || heads < 1 || width%heads != 0 {
		b.Fail("has an attention of %d, %d and %d features and %d heads", width, b.Channels(k), b.Channels(v), heads)
	}
	n := b.layer(Attention, q, width)
	n.B, n.C, n.Factor = k, v, heads
	return b.add(n)
}

// Array is a tensor of some shape as rows of features.
func (b *Builder) Array(name string, rows, width int, shape ...int) int {
	b.need(name, shape...)
	n := b.layer(Array, 0, width)
	n.Weight = b.weight(name, Weight{Shape: [4]int{1, 1, rows, width}, From: []string{name}})
	return b.add(n)
}

// Computed is an array of rows of features that is made of a tensor of some shape.
func (b *Builder) Computed(name string, rows, width int, shape []int, make func(values []float32) []float32) int {
	b.need(name, shape...)
	n := b.layer(Array, 0, width)
	n.Weight = b.weight(name, Weight{Shape: [4]int{1, 1, rows, width}, From: []string{name}, fold: func(from [][]float32) []float32 { return make(from[0]) }})
	return b.add(n)
}

// LinearScaled is Linear with every output times its value in the tensor scale.
func (b *Builder) LinearScaled(x int, name, scale string) int {
	out, in := b.Dim(name+".weight", 0), b.Channels(x)
	b.need(name+".weight", out, in)
	b.need(name+".bias", out)
	b.need(scale, out)
	times := func(width int) func([][]float32) []float32 {
		return func(from [][]float32) []float32 {
			scaled := make([]float32, len(from[0]))
			for i, v := range from[0] {
				scaled[i] = v * from[1][i/width]
			}
			return scaled
		}
	}
	n := b.layer(Linear, x, out)
	n.Weight = b.weight(name+" scaled", Weight{Shape: [4]int{1, 1, out, in}, From: []string{name + ".weight", scale}, fold: times(in)})
	n.Bias = b.weight(name+" bias scaled", Weight{Shape: [4]int{1, 1, 1, out}, From: []string{name + ".bias", scale}, fold: times(1)})
	return b.add(n)
}

// Cells makes rows the cells of a picture of so many columns.
func (b *Builder) Cells(x, columns int) int { return b.resize(Cells, x, columns, b.Channels(x)) }

// Append puts the rows of y behind those of x.
func (b *Builder) Append(x, y int) int { return b.pair(Append, x, y, b.Channels(x)) }

// Take keeps n rows from first on.
func (b *Builder) Take(x, first, n int) int {
	t := b.layer(Take, x, b.Channels(x))
	t.First, t.Factor = first, n
	return b.add(t)
}

// Fold makes factor rows of every row.
func (b *Builder) Fold(x, factor int) int {
	if factor < 1 || b.Channels(x)%factor != 0 {
		b.Fail("has a layer of %d features, which do not make %d rows", b.Channels(x), factor)
		factor = 1
	}
	return b.resize(Fold, x, factor, b.Channels(x)/factor)
}

// Half keeps the matrices of Linear in half precision.
func (b *Builder) Half() { b.net.Half = true }
