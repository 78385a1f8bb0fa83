// Package superres builds networks that enlarge pictures from the tensors of their
// files: ESRGAN and Real-ESRGAN (RRDB), the compact Real-ESRGAN networks (SRVGG) and
// SPAN. They take and give pictures of 0..1.
package superres

import (
	"fmt"
	"math"

	"sdworker/convnet"
)

// Model is an upscaler.
type Model struct {
	Net    *convnet.Net
	Factor int // by which it enlarges
	Group  int // both sides of what it is given must be multiples of it
}

// Factors are what models may enlarge by.
var Factors = []int{1, 2, 3, 4}

// colours of a picture.
const colours = 3

// architecture is a family of networks.
type architecture struct {
	is    func(has func(string) bool) bool
	build func(*builder) (out, factor int)
}

var architectures = []architecture{
	{func(has func(string) bool) bool { return has("conv_first.weight") && has("body.0.rdb1.conv1.weight") }, (*builder).rrdb},
	{func(has func(string) bool) bool {
		return has("body.0.weight") && has("body.1.weight") && has("body.2.weight") && has("body.2.bias")
	}, (*builder).compact},
	{func(has func(string) bool) bool {
		return has("conv_1.sk.weight") && has("block_1.c1_r.sk.weight") && has("upsampler.0.weight")
	}, (*builder).span},
}

// Is tells whether a file looks like one of these networks.
func Is(has func(name string) bool) bool {
	for _, a := range architectures {
		if a.is(has) {
			return true
		}
	}
	return false
}

// Build makes the network, or says what is wrong with the file in a predicate. Names
// are those of BasicSR's code.
func Build(shapes convnet.Shapes) (*Model, string) {
	for _, a := range architectures {
		if !a.is(func(name string) bool { return shapes[name] != nil }) {
			continue
		}
		b := &builder{convnet.New(shapes, colours)}
		out, factor := a.build(b)
		if b.Channels(out) != colours {
			b.Fail("gives pictures of %d channels; accepted are models of 3", b.Channels(out))
		}
		if factor < Factors[0] || factor > Factors[len(Factors)-1] {
			b.Fail("enlarges by %d; accepted are models that enlarge by 1 to 4", factor)
		}
		net, problem := b.Build(out)
		if problem != "" {
			return nil, problem
		}
		m := &Model{Net: net, Factor: factor, Group: 1}
		if first := net.Nodes[0]; first.Op == convnet.Unshuffle {
			m.Group = first.Factor
		}
		return m, ""
	}
	return nil, "is an upscaler of an unknown kind; accepted are ESRGAN, Real-ESRGAN, its compact kind (SRVGG) and SPAN"
}

type builder struct{ *convnet.Builder }

// rrdb is ESRGAN's network, residual blocks of dense blocks (RRDBNet of BasicSR).
// That of Real-ESRGAN x2plus and x1 sees the picture with its pixels as channels.
func (b *builder) rrdb() (out, factor int) {
	const slope = 0.2
	if b.Has("body.0.rdb1.conv1x1.weight") {
		b.Fail("is an ESRGAN+ model, which has more layers; accepted are plain ESRGAN models")
	}
	shrink := int(math.Sqrt(float64(b.Dim("conv_first.weight", 1) / colours)))
	x := 0
	if shrink > 1 {
		x = b.Unshuffle(0, shrink)
	}
	first := b.Conv(x, "conv_first", 1)
	x = first
	for i := range b.Count("body.") {
		before := x
		for k := 1; k <= 3; k++ {
			x = b.dense(x, fmt.Sprintf("body.%d.rdb%d.conv", i, k), slope)
		}
		x = b.residual(before, x)
	}
	x = b.Add(first, b.Conv(x, "conv_body", 1))
	factor = 1
	for i := 1; b.Has(fmt.Sprintf("conv_up%d.weight", i)); i++ {
		x = b.LeakyReLU(b.Conv(b.Enlarge(x, 2), fmt.Sprintf("conv_up%d", i), 1), slope)
		factor *= 2
	}
	if shrink < 1 || factor%max(shrink, 1) != 0 {
		b.Fail("takes pictures of %d channels; accepted are ESRGAN models of 3, 12 or 48", b.Dim("conv_first.weight", 1))
		shrink = 1
	}
	return b.Conv(b.LeakyReLU(b.Conv(x, "conv_hr", 1), slope), "conv_last", 1), factor / shrink
}

// residual adds a fifth of what a block gives to what it got.
func (b *builder) residual(x, block int) int { return b.Add(x, b.Affine(block, 0.2, 0)) }

// dense is a block of five convolutions, each of which sees the results of all before.
func (b *builder) dense(x int, name string, slope float32) int {
	joined := x
	for i := 1; i < 5; i++ {
		joined = b.Concat(joined, b.LeakyReLU(b.Conv(joined, fmt.Sprint(name, i), 1), slope))
	}
	return b.residual(x, b.Conv(joined, name+"5", 1))
}

// compact is SRVGGNetCompact of Real-ESRGAN: a row of convolutions at the picture's
// size, added to the enlarged picture.
func (b *builder) compact() (out, factor int) {
	x := 0
	for i := range b.Count("body.") {
		name := fmt.Sprintf("body.%d", i)
		if i%2 == 1 {
			x = b.PReLU(x, name)
		} else {
			x = b.Conv(x, name, 1)
		}
	}
	if factor = int(math.Sqrt(float64(b.Channels(x) / colours))); factor < 1 {
		b.Fail("has a last layer of %d channels, which make no picture", b.Channels(x))
		return x, 1
	}
	return b.Add(b.Enlarge(0, factor), b.Shuffle(x, factor)), factor
}

// SPAN normalizes pictures unless its file says no_norm.
var spanMean = [colours]float32{0.4488, 0.4371, 0.4040}

const spanRange = 255

// span is the Swift Parameter-free Attention Network of Wan et al. 2024.
func (b *builder) span() (out, factor int) {
	x := 0
	if !b.Has("no_norm") {
		var shift [colours]float32
		for i, mean := range spanMean {
			shift[i] = -spanRange * mean
		}
		x = b.Scaled(0, spanRange, shift[:])
	}
	first := b.triple(x, "conv_1")
	x = first
	var one, last int
	for i := 1; i <= 6; i++ {
		x, last = b.attentive(x, fmt.Sprintf("block_%d.", i))
		if i == 1 {
			one = x
		}
	}
	x = b.Conv(b.Concat(first, b.triple(x, "conv_2"), one, last), "conv_cat", 1)
	x = b.Conv(x, "upsampler.0", 1)
	if factor = int(math.Sqrt(float64(b.Channels(x) / colours))); factor < 1 {
		b.Fail("has a last layer of %d channels, which make no picture", b.Channels(x))
		return x, 1
	}
	return b.Shuffle(x, factor), factor
}

// attentive is a block of SPAN. Beside its result it returns that of its first
// convolution, after the activation, which the original code computes in place.
func (b *builder) attentive(x int, name string) (out, early int) {
	early = b.SiLU(b.triple(x, name+"c1_r"))
	third := b.triple(b.SiLU(b.triple(early, name+"c2_r")), name+"c3_r")
	attention := b.Affine(b.Sigmoid(third), 1, -0.5)
	return b.Mul(b.Add(third, x), attention), early
}

// triple is SPAN's Conv3XC: three convolutions in a row without activation and one
// around them, which are one convolution of side 3.
func (b *builder) triple(x int, name string) int {
	in, out := b.Channels(x), b.Dim(name+".sk.weight", 0)
	middleIn, middleOut := b.Dim(name+".conv.0.weight", 0), b.Dim(name+".conv.1.weight", 0)
	names := []string{name + ".sk.weight", name + ".sk.bias"}
	shapes := [][]int{{out, in, 1, 1}, {out}}
	for i, shape := range [][]int{{middleIn, in, 1, 1}, {middleOut, middleIn, 3, 3}, {out, middleOut, 1, 1}} {
		names = append(names, fmt.Sprintf("%s.conv.%d.weight", name, i), fmt.Sprintf("%s.conv.%d.bias", name, i))
		shapes = append(shapes, shape, []int{shape[0]})
	}
	return b.Folded(x, name, out, names, shapes, func(from [][]float32) (kernel, bias []float32) {
		return merge(from, in, middleIn, middleOut, out)
	})
}

// merge multiplies the kernels of a triple: from holds weight and bias of the one
// around, then of the three in a row.
func merge(from [][]float32, in, middleIn, middleOut, out int) (kernel, bias []float32) {
	around, aroundBias := from[0], from[1]
	w1, b1, w2, b2, w3, b3 := from[2], from[3], from[4], from[5], from[6], from[7]
	const cells = 9
	// The first two: [middleOut][in][cells].
	two, twoBias := make([]float64, middleOut*in*cells), make([]float64, middleOut)
	for m := range middleOut {
		twoBias[m] = float64(b2[m])
		for k := range middleIn {
			for c := range cells {
				v := float64(w2[(m*middleIn+k)*cells+c])
				twoBias[m] += v * float64(b1[k])
				for i := range in {
					two[(m*in+i)*cells+c] += v * float64(w1[k*in+i])
				}
			}
		}
	}
	kernel, bias = make([]float32, out*in*cells), make([]float32, out)
	for o := range out {
		sum, total := make([]float64, in*cells), float64(b3[o])+float64(aroundBias[o])
		for m := range middleOut {
			v := float64(w3[o*middleOut+m])
			total += v * twoBias[m]
			for i, x := range two[m*in*cells:][:in*cells] {
				sum[i] += v * x
			}
		}
		for i := range in {
			sum[i*cells+cells/2] += float64(around[o*in+i])
		}
		for i, x := range sum {
			kernel[o*in*cells+i] = float32(x)
		}
		bias[o] = float32(total)
	}
	return kernel, bias
}
