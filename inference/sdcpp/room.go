//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
import "C"

import (
	"slices"
)

// graphs are networks whose graphs hold memory from one call to the next.
type graphs C.int

const (
	textGraph    graphs = C.SDW_GRAPH_TEXT
	unetGraph    graphs = C.SDW_GRAPH_UNET
	controlGraph graphs = C.SDW_GRAPH_CONTROL
	vaeGraph     graphs = C.SDW_GRAPH_VAE
	previewGraph graphs = C.SDW_GRAPH_PREVIEW
	allGraphs           = textGraph | unetGraph | controlGraph | vaeGraph | previewGraph
)

// held is what graphs hold, in bytes.
func (e *Engine) held(which graphs) (bytes int64) {
	e.native(func() { bytes = int64(C.sdw_held(e.c, C.int(which))) })
	return bytes
}

// rest frees graphs.
func (e *Engine) rest(which graphs) { e.native(func() { C.sdw_rest(e.c, C.int(which)) }) }

// makeRoom frees what earlier calls left behind, as far as a call that needs so many
// bytes has no room beside it: graphs but its own, which the number is of, then networks
// that it does not use. What it needs, and so its result, does not depend on them.
func (e *Engine) makeRoom(need int64, own graphs, controls []string) {
	room := e.info.Room()
	need = min(need, room) // of pictures in tiles
	if e.restFor(need, own); room < 0 {
		return
	}
	for need+e.beside() > room && e.dropOne(controls) {
	}
}

// restFor is makeRoom for a call that may use any of the networks.
func (e *Engine) restFor(need int64, own graphs) {
	if room := e.info.Room(); room >= 0 && need+e.held(allGraphs&^own)+e.beside() > room {
		e.rest(allGraphs &^ own)
	}
}

// beside are the bytes of the networks that are loaded beside the checkpoint.
func (e *Engine) beside() int64 {
	bytes := e.hyperBytes
	for _, s := range e.controls.sources {
		bytes += s.bytes(2)
	}
	bytes += e.vae.bytes(4) + e.taesd.bytes(4)
	if e.upscaler != nil {
		bytes += e.upscaler.sources[0].bytes(4)
	}
	for _, d := range e.detectors {
		bytes += d.src.bytes(4)
	}
	return bytes
}

// bytes are those of the weights that were read of a file, with so many for a value at
// most.
func (s *source) bytes(width int64) int64 {
	if s == nil {
		return 0
	}
	var bytes int64
	for _, w := range s.model.weights {
		bytes += w.Tensor.Values() * width
	}
	return bytes
}

// dropOne frees a network that a call with the given ControlNets can do without, and
// tells whether there was one.
func (e *Engine) dropOne(controls []string) bool {
	if slot := e.controls.oldest(controls); slot >= 0 {
		e.native(func() { C.sdw_drop_control(e.c, C.int(slot)) })
		e.controls.put(slot, nil)
		return true
	}
	if last := len(e.detectors) - 1; last >= 0 {
		e.detectors[last].close(e)
		e.detectors = slices.Delete(e.detectors, last, last+1)
		return true
	}
	if e.upscaler != nil {
		e.upscaler.close(e)
		e.upscaler = nil
		return true
	}
	return false
}
