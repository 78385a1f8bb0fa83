// Package sd1 knows the names and shapes of the tensors of Stable Diffusion 1.x
// and its companions, as the original (ldm) checkpoints spell them.
package sd1

import (
	"slices"
	"strconv"
	"strings"
)

// Role tells what a parameter is for.
type Role int

// Roles.
const (
	Weight    Role = iota // of a linear or convolution layer
	Bias                  // of a layer or norm
	NormScale             // weight of a norm
	Embedding             // a table of vectors
	Alpha                 // the scalar of a LoRA, rank for an unscaled adapter
)

// Param is one tensor of a network.
type Param struct {
	Name  string
	Shape []int64 // slowest axis first: [out,in,kh,kw] or [out,in]
	Role  Role
}

// Net is a list of parameters.
type Net []Param

// Sort orders the parameters by name, the order of the usual writers.
func (n Net) Sort() {
	slices.SortFunc(n, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
}

func (n *Net) add(name string, r Role, shape ...int64) {
	*n = append(*n, Param{name, shape, r})
}

func (n *Net) norm(name string, c int64) {
	n.add(name+".weight", NormScale, c)
	n.add(name+".bias", Bias, c)
}

func (n *Net) linear(name string, in, out int64) {
	n.add(name+".weight", Weight, out, in)
	n.add(name+".bias", Bias, out)
}

// conv is a convolution with a square kernel of side k, and a bias.
func (n *Net) conv(name string, in, out, k int64) {
	n.add(name+".weight", Weight, out, in, k, k)
	n.add(name+".bias", Bias, out)
}

// at joins a prefix and numbers to a name: at("in", 3, 0) is "in.3.0".
func at(prefix string, index ...int) string {
	for _, i := range index {
		prefix += "." + strconv.Itoa(i)
	}
	return prefix
}
