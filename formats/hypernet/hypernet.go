// Package hypernet reads hypernetworks: small networks that change what the keys and
// values of attention are made of, as AUTOMATIC1111's web UI trains and applies them
// (modules/hypernetworks/hypernetwork.py).
package hypernet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sdworker/formats"
	"sdworker/formats/torchfile"
)

// Network is a hypernetwork.
type Network struct {
	Name    string // that it says it has, or the file's without extension
	Modules []Module
}

// Module changes the keys or values of attention over a context of Dim values a token
// to x + strength * Layers(x).
type Module struct {
	Dim    int
	Values bool // of the values; else of the keys
	Layers []Layer
}

// Kind is what a layer does.
type Kind string

// Kinds of layers. Activations have torch's names in lower case.
const (
	Linear    Kind = "linear"
	Norm      Kind = "layer norm"
	ReLU      Kind = "relu"
	LeakyReLU Kind = "leakyrelu"
	ELU       Kind = "elu"
	HardSwish Kind = "hardswish"
	Tanh      Kind = "tanh"
	Sigmoid   Kind = "sigmoid"
	SiLU      Kind = "silu"
	GELU      Kind = "gelu"
	SoftSign  Kind = "softsign"
)

// activations are those that files may name; "swish" is what the web UI calls Hardswish.
var activations = map[string]Kind{
	"relu": ReLU, "leakyrelu": LeakyReLU, "elu": ELU, "swish": HardSwish, "hardswish": HardSwish, "tanh": Tanh, "sigmoid": Sigmoid,
	"silu": SiLU, "gelu": GELU, "softsign": SoftSign,
}

// Layer is one layer of a module. Activations have no weights.
type Layer struct {
	Kind    Kind
	In, Out int
	Weight  []float32 // [Out,In], of Norm [In]
	Bias    []float32 // [Out], of Norm [In]
}

// maxFile is far more than any hypernetwork has, in bytes.
const maxFile = 2 << 30

// Read reads a hypernetwork from a file of PyTorch. A file that says something wrong is
// refused with a sentence.
func Read(path string) (*Network, error) {
	n, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("hypernetwork %s: %w", filepath.Base(path), err)
	}
	return n, nil
}

func read(path string) (*Network, error) {
	f, size, err := formats.OpenSmall(path, maxFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := torchfile.ReadPlain(f, size)
	if err != nil {
		return nil, err
	}
	s, err := structureOf(content.Notes)
	if err != nil {
		return nil, err
	}
	tensors := map[string]torchfile.Tensor{}
	var dims []int
	for _, t := range content.Tensors {
		head, rest, _ := strings.Cut(t.Name, ".")
		dim, err := strconv.Atoi(head)
		if err != nil {
			continue
		}
		if dim < 1 || dim > 1<<16 {
			return nil, fmt.Errorf("it has layers for a context of %d values", dim)
		}
		if !slices.Contains(dims, dim) {
			dims = append(dims, dim)
		}
		tensors[fmt.Sprintf("%d.%s", dim, oldName(rest))] = t
	}
	if len(dims) == 0 {
		return nil, fmt.Errorf("it holds no hypernetwork: no layers for a size of context")
	}
	from := &source{file: f, tensors: tensors, room: size}
	out := &Network{Name: content.Notes["name"]}
	if out.Name == "" {
		out.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	for _, dim := range dims {
		for part := range 2 {
			m := Module{Dim: dim, Values: part == 1}
			for _, p := range s.plan(dim) {
				layer := Layer{Kind: p.kind, In: p.in, Out: p.out}
				if p.kind == Linear || p.kind == Norm {
					name := fmt.Sprintf("%d.%d.linear.%d.", dim, part, p.index)
					shape := []int64{int64(p.out), int64(p.in)}
					if p.kind == Norm {
						shape = shape[1:]
					}
					if layer.Weight, err = from.values(name+"weight", shape); err != nil {
						return nil, err
					}
					if layer.Bias, err = from.values(name+"bias", shape[:1]); err != nil {
						return nil, err
					}
				}
				m.Layers = append(m.Layers, layer)
			}
			out.Modules = append(out.Modules, m)
		}
	}
	return out, nil
}

// oldName is the present name of a tensor of the first files.
func oldName(name string) string {
	for old, now := range map[string]string{"linear1.": "linear.0.", "linear2.": "linear.1."} {
		name = strings.Replace(name, old, now, 1)
	}
	return name
}

// source reads tensors from a file as long as they are no larger than the file: a
// view can repeat a few values without end.
type source struct {
	file    *os.File
	tensors map[string]torchfile.Tensor
	room    int64 // bytes that are left
}

func (s *source) values(name string, shape []int64) ([]float32, error) {
	t, ok := s.tensors[name]
	if !ok {
		return nil, fmt.Errorf("tensor %s is missing", name)
	}
	if !slices.Equal(t.Shape, shape) {
		return nil, fmt.Errorf("tensor %s has shape %v, want %v", name, t.Shape, shape)
	}
	if s.room -= t.Size; s.room < 0 {
		return nil, fmt.Errorf("tensor %s has more values than the file", name)
	}
	list, err := t.Float32s(s.file)
	if err == nil && slices.ContainsFunc(list, func(v float32) bool { return v-v != 0 }) { // NaN, as of an infinity
		err = fmt.Errorf("tensor %s holds values that are no numbers", name)
	}
	return list, err
}

// structure is how a file says that its modules are built.
type structure struct {
	sizes      []float64 // of layers, as multiples of the context's
	activation Kind      // "" = none
	norm       bool
	last       bool // the last layer has an activation, too
	dropout    []float64
}

// structureOf reads the description of the modules, with the defaults of old files.
func structureOf(notes map[string]string) (s structure, err error) {
	s.sizes = []float64{1, 2, 1}
	if text, ok := notes["layer_structure"]; ok {
		if s.sizes, err = numbers(text); err != nil || len(s.sizes) < 2 || len(s.sizes) > 64 || s.sizes[0] != 1 || s.sizes[len(s.sizes)-1] != 1 {
			return s, fmt.Errorf("its layer structure %.100s does not begin and end with 1", text)
		}
	}
	for _, v := range s.sizes {
		if !(v > 0 && v <= 64) {
			return s, fmt.Errorf("its layer structure has a layer of %g times the context's size", v)
		}
	}
	if name, ok := notes["activation_func"]; ok && name != "linear" {
		if s.activation, ok = activations[strings.ToLower(name)]; !ok {
			return s, fmt.Errorf("its activation function %.50q is not known", name)
		}
	}
	s.norm = notes["is_layer_norm"] == "True"
	s.last = notes["activate_output"] != "False"
	if text, ok := notes["dropout_structure"]; ok {
		if s.dropout, err = numbers(text); err != nil || len(s.dropout) != len(s.sizes) {
			return s, fmt.Errorf("its dropout structure %.100s does not fit its layers", text)
		}
		return s, nil
	}
	s.dropout = make([]float64, len(s.sizes))
	if notes["use_dropout"] == "True" {
		for i := 1; i < len(s.sizes)-2; i++ {
			s.dropout[i] = 0.3
		}
		if notes["last_layer_dropout"] == "True" && len(s.sizes) > 2 {
			s.dropout[len(s.sizes)-2] = 0.3
		}
	}
	return s, nil
}

func numbers(text string) ([]float64, error) {
	var out []float64
	err := json.Unmarshal([]byte(text), &out)
	return out, err
}

// planned is one layer before its weights are read.
type planned struct {
	kind    Kind
	index   int // in the names of tensors
	in, out int
}

// plan lists the layers of a module for a context. Dropout does nothing here, but has an
// index.
func (s structure) plan(dim int) []planned {
	var out []planned
	index := 0
	add := func(kind Kind, in, size int) {
		out = append(out, planned{kind, index, in, size})
		index++
	}
	for i := range len(s.sizes) - 1 {
		in, size := int(float64(dim)*s.sizes[i]), int(float64(dim)*s.sizes[i+1])
		add(Linear, in, size)
		if s.activation != "" && (i < len(s.sizes)-2 || s.last) {
			add(s.activation, size, size)
		}
		if s.norm {
			add(Norm, size, size)
		}
		if s.dropout[i+1] > 0 {
			index++
		}
	}
	return out
}
