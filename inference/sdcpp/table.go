//go:build cgo && sdcpp

package sdcpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"slices"
	"unsafe"

	"sdworker/models"
)

// table is the engine's view of a file: where the tensors lie that it reads. The
// engine keeps nothing of it beyond a call.
type table struct{ c *C.sdw_file }

// table lists what the engine reads of a source, which it opens by the source's name.
func (s *source) table() table { return newTable(s.name(), s.model.weights) }

func newTable(path string, weights []models.Weight) table {
	n := len(weights)
	file := (*C.sdw_file)(C.calloc(1, C.size_t(unsafe.Sizeof(C.sdw_file{}))))
	file.path, file.count = C.CString(path), C.int(n)
	file.tensors = (*C.sdw_tensor)(C.calloc(C.size_t(max(n, 1)), C.size_t(unsafe.Sizeof(C.sdw_tensor{}))))
	var texts []byte
	at := make([]struct{ name, typ int }, n)
	for i, w := range weights {
		at[i].name = len(texts)
		texts = append(append(texts, w.Name...), 0)
		at[i].typ = len(texts)
		texts = append(append(texts, w.Tensor.DType...), 0)
	}
	file.texts = (*C.char)(C.CBytes(append(texts, 0)))
	text := func(at int) *C.char { return (*C.char)(unsafe.Add(unsafe.Pointer(file.texts), at)) }
	tensors := unsafe.Slice(file.tensors, max(n, 1))
	for i, w := range weights {
		t := &tensors[i]
		t.name, t._type = text(at[i].name), text(at[i].typ)
		t.offset, t.rank = C.uint64_t(w.Tensor.Offset), C.int(len(w.Shape))
		for axis, side := range slices.Backward(w.Shape) {
			t.ne[len(w.Shape)-1-axis] = C.int64_t(side)
		}
	}
	return table{file}
}

func (t table) free() {
	for _, p := range []unsafe.Pointer{
		unsafe.Pointer(t.c.path), unsafe.Pointer(t.c.texts), unsafe.Pointer(t.c.tensors), unsafe.Pointer(t.c),
	} {
		C.free(p)
	}
}
