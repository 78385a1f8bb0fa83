package synth

import (
	"math"
	"sort"
	"strconv"

	"sdworker/models/safetensors"
)

// fill says which values a parameter gets.
type fill int

const (
	ones      fill = iota // weights of norms
	small                 // 0.02 * N(0,1): biases and embeddings
	fanIn                 // N(0,1) / sqrt(fan-in): all other weights
	halfScale             // the constant 1/2 * rank: alpha of a LoRA
)

// param is one tensor of a network.
type param struct {
	name  string
	shape []int64
	fill  fill
}

// spread is the factor of the normal values of p.
func (p param) spread() float64 {
	if p.fill == small {
		return 0.02
	}
	n := int64(1)
	for _, side := range p.shape[1:] {
		n *= side
	}
	return 1 / math.Sqrt(float64(n))
}

// net collects parameters under their checkpoint names.
type net []param

func (n *net) add(name string, f fill, shape ...int64) {
	*n = append(*n, param{name, shape, f})
}

func (n *net) norm(name string, c int64) {
	n.add(name+".weight", ones, c)
	n.add(name+".bias", small, c)
}

func (n *net) linear(name string, in, out int64) {
	n.add(name+".weight", fanIn, out, in)
	n.add(name+".bias", small, out)
}

// conv is a square convolution, kernel k, with bias.
func (n *net) conv(name string, in, out, k int64) {
	n.add(name+".weight", fanIn, out, in, k, k)
	n.add(name+".bias", small, out)
}

// tensors sorts n by name, as the usual writers do, and returns its tensors in
// that order, all in half precision.
func (n net) tensors() []safetensors.Tensor {
	sort.Slice(n, func(i, j int) bool { return n[i].name < n[j].name })
	list := make([]safetensors.Tensor, len(n))
	for i, p := range n {
		list[i] = safetensors.Tensor{Name: p.name, DType: safetensors.F16, Shape: p.shape}
	}
	return list
}

// at joins a prefix and numbers to a name: at("in", 3, 0) is "in.3.0".
func at(prefix string, index ...int) string {
	for _, i := range index {
		prefix += "." + strconv.Itoa(i)
	}
	return prefix
}
