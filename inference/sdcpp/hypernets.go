//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
import "C"

import (
	"context"
	"runtime"
	"slices"
	"unsafe"

	"sdworker/formats/hypernet"
	"sdworker/inference"
)

var _ inference.HypernetApplier = (*Engine)(nil)

var hyperKinds = map[hypernet.Kind]C.sdw_hyper_kind{
	hypernet.Linear: C.SDW_HYPER_LINEAR, hypernet.Norm: C.SDW_HYPER_NORM, hypernet.ReLU: C.SDW_HYPER_RELU, hypernet.LeakyReLU: C.SDW_HYPER_LEAKY_RELU,
	hypernet.ELU: C.SDW_HYPER_ELU, hypernet.HardSwish: C.SDW_HYPER_HARD_SWISH, hypernet.Tanh: C.SDW_HYPER_TANH, hypernet.Sigmoid: C.SDW_HYPER_SIGMOID,
	hypernet.SiLU: C.SDW_HYPER_SILU, hypernet.GELU: C.SDW_HYPER_GELU, hypernet.SoftSign: C.SDW_HYPER_SOFTSIGN,
}

// SetHypernets implements inference.HypernetApplier.
func (e *Engine) SetHypernets(ctx context.Context, list []inference.Hypernet) error {
	if slices.Equal(list, e.hypernets) {
		return nil
	}
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pin := func(values []float32) *C.float {
		if len(values) > 0 {
			pinned.Pin(unsafe.SliceData(values))
		}
		return floats(values)
	}
	var bytes int64
	var modules []C.sdw_hyper_module
	var layers []C.sdw_hyper_layer
	for _, h := range list {
		for _, m := range h.Network.Modules {
			modules = append(modules, C.sdw_hyper_module{
				dim: C.int(m.Dim), part: flag(m.Values), strength: C.float(h.Strength), first: C.int(len(layers)), count: C.int(len(m.Layers)),
			})
			for _, l := range m.Layers {
				bytes += 4 * int64(len(l.Weight)+len(l.Bias))
				layers = append(layers, C.sdw_hyper_layer{kind: hyperKinds[l.Kind], in: C.int(l.In), out: C.int(l.Out), weight: pin(l.Weight), bias: pin(l.Bias)})
			}
		}
	}
	e.hypernets, e.hyperBytes = nil, 0 // of a call that fails none act
	err := e.call(ctx, "set hypernetworks", func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_set_hypernets(e.c, unsafe.SliceData(modules), C.int(len(modules)), unsafe.SliceData(layers), C.int(len(layers)), buf, n)
	})
	if err == nil {
		e.hypernets, e.hyperBytes = slices.Clone(list), bytes
	}
	return err
}
