//go:build cgo && sdcpp

package sdcpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"slices"
	"strings"
	"unsafe"

	"sdworker/inference"
	"sdworker/models"
)

// SetLoRAs implements inference.LoRAApplier.
func (e *Engine) SetLoRAs(ctx context.Context, loras []inference.LoRA) ([]string, error) {
	const op = "set loras"
	if slices.Equal(loras, e.loras) && !slices.ContainsFunc(e.loraFiles, func(s *source) bool { return s.stale }) {
		return slices.Clone(e.loraNotes), nil
	}
	if e.checkpoint.overwritten() { // weights that an adapter changed come back from it
		e.broken = true
		return nil, changedInUse(op, e.checkpoint)
	}
	notes := make([]string, len(loras))
	files := (**C.char)(C.calloc(C.size_t(len(loras)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(files))
	names := unsafe.Slice(files, len(loras)+1)
	unet, text := make([]float32, len(loras)), make([]float32, len(loras))
	used := 0
	var sources []*source
	for i, l := range loras {
		src, err := e.files.open(l.Path, models.LoRA)
		if err != nil {
			notes[i] = "left out: " + strings.TrimPrefix(err.Error(), l.Path+" ")
			continue
		}
		sources = append(sources, src)
		names[used] = C.CString(l.Path)
		defer C.free(unsafe.Pointer(names[used]))
		unet[used], text[used] = float32(l.UNet), float32(l.TextEncoder)
		used++
	}
	took := false
	err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		st := C.sdw_set_loras(e.c, files, floats(unet), floats(text), C.int(used), buf, n)
		closeAll(e.loraFiles)
		e.loras, e.loraFiles, e.loraNotes = nil, nil, nil // a call that fails takes all of them out
		if took = st == C.SDW_OK; took {
			e.loras, e.loraFiles, e.loraNotes = slices.Clone(loras), sources, notes
		}
		return st
	})
	if err == nil && e.checkpoint.overwritten() {
		e.broken = true
		err = changedInUse(op, e.checkpoint)
	}
	for _, s := range sources {
		if s.stale = s.id.Replaced() || s.overwritten(); s.stale && err == nil {
			err = beingWritten(s.id.Path)
		}
	}
	if !took {
		closeAll(sources)
	}
	return slices.Clone(notes), err
}

func closeAll(list []*source) {
	for _, s := range list {
		s.close()
	}
}
