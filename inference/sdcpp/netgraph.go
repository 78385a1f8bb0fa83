//go:build cgo && sdcpp

package sdcpp

// #include "netgraph.h"
import "C"

import (
	"context"
	"unsafe"

	"sdworker/convnet"
)

// The operations are numbered alike on both sides, or this does not compile.
var (
	_ = [1]struct{}{}[C.SDW_CONV-convnet.Conv]
	_ = [1]struct{}{}[C.SDW_STRETCH-convnet.Stretch]
)

// netGraph is a network of package convnet on the engine's device.
type netGraph struct {
	net *convnet.Net
	c   *C.sdw_net
}

// openNet makes a network on the device, without the values of its arrays.
func (e *Engine) openNet(ctx context.Context, op string, net *convnet.Net) (*netGraph, error) {
	nodes := make([]C.sdw_node, len(net.Nodes))
	for i, n := range net.Nodes {
		nodes[i] = C.sdw_node{
			op: C.int32_t(n.Op), a: C.int32_t(n.A), b: C.int32_t(n.B), c: C.int32_t(n.C), weight: C.int32_t(n.Weight), bias: C.int32_t(n.Bias),
			stride: C.int32_t(n.Stride), pad: C.int32_t(n.Pad), first: C.int32_t(n.First), factor: C.int32_t(n.Factor),
			channels: C.int32_t(n.Channels), scale: C.float(n.Scale), shift: C.float(n.Shift),
		}
	}
	shapes := make([]int32, 0, 4*len(net.Weights))
	for _, w := range net.Weights {
		for _, side := range w.Shape {
			shapes = append(shapes, int32(side))
		}
	}
	halved := make([]int32, len(net.Weights))
	for i, half := range net.Halved() {
		halved[i] = int32(flag(half))
	}
	outputs := make([]int32, len(net.Outputs))
	for i, at := range net.Outputs {
		outputs[i] = int32(at)
	}
	g := &netGraph{net: net}
	err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_net_open(e.c, C.int(net.Channels), unsafe.SliceData(nodes), C.int(len(nodes)), ints(shapes), ints(halved), C.int(len(net.Weights)),
			ints(outputs), C.int(len(outputs)), &g.c, buf, n)
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// set fills array i.
func (g *netGraph) set(ctx context.Context, e *Engine, op string, i int, values []float32) error {
	return e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status { return C.sdw_net_set(g.c, C.int(i), floats(values), buf, n) })
}

func ints(s []int32) *C.int32_t { return (*C.int32_t)(unsafe.SliceData(s)) }

// run computes the outputs for a picture of h by w.
func (g *netGraph) run(ctx context.Context, e *Engine, op string, pixels []float32, h, w int) ([][]float32, error) {
	sizes := g.net.Sizes(h, w)
	total := 0
	for _, at := range g.net.Outputs {
		total += sizes[at].Len()
	}
	all := make([]float32, total)
	err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_net_run(e.c, g.c, floats(pixels), C.int(h), C.int(w), floats(all), buf, n)
	})
	if err != nil {
		return nil, err
	}
	out := make([][]float32, len(g.net.Outputs))
	for i, at := range g.net.Outputs {
		out[i], all = all[:sizes[at].Len()], all[sizes[at].Len():]
	}
	return out, nil
}

// rest frees what run keeps between calls of one size.
func (g *netGraph) rest(e *Engine) { e.native(func() { C.sdw_net_rest(g.c) }) }

// close frees the network, if there is one.
func (g *netGraph) close(e *Engine) {
	if g != nil {
		e.native(func() { C.sdw_net_close(g.c) })
	}
}

// native runs what cannot fail on the engine's thread, unless the engine is closed and
// has freed everything.
func (e *Engine) native(fn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.thread != nil {
		e.thread.run(fn)
	}
}
