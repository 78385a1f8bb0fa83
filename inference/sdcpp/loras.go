//go:build cgo && sdcpp

package sdcpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"os"
	"slices"
	"strings"
	"unsafe"

	"sdworker/inference"
	"sdworker/models"
)

// SetLoRAs implements inference.LoRAApplier.
func (e *Engine) SetLoRAs(ctx context.Context, loras []inference.LoRA) ([]string, error) {
	const op = "set loras"
	if slices.Equal(loras, e.loras) {
		return slices.Clone(e.loraNotes), nil
	}
	// Weights that an adapter changed come back from the file.
	now, err := os.Stat(e.info.Checkpoint)
	if err != nil || !os.SameFile(now, e.checkpoint) || now.Size() != e.checkpoint.Size() || !now.ModTime().Equal(e.checkpoint.ModTime()) {
		return nil, &inference.Error{Code: inference.Broken, Op: op, Msg: "the checkpoint file changed while it was in use", Err: err}
	}
	notes := make([]string, len(loras))
	files := (**C.char)(C.calloc(C.size_t(len(loras)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(files))
	names := unsafe.Slice(files, len(loras)+1)
	unet, text := make([]float32, len(loras)), make([]float32, len(loras))
	used := 0
	for i, l := range loras {
		if _, err := e.files.check(l.Path, models.LoRA); err != nil {
			notes[i] = "left out: " + strings.TrimPrefix(err.Error(), l.Path+" ")
			continue
		}
		names[used] = C.CString(l.Path)
		defer C.free(unsafe.Pointer(names[used]))
		unet[used], text[used] = float32(l.UNet), float32(l.TextEncoder)
		used++
	}
	err = e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		st := C.sdw_set_loras(e.c, files, floats(unet), floats(text), C.int(used), buf, n)
		e.loras, e.loraNotes = nil, nil // a call that fails takes all of them out
		if st == C.SDW_OK {
			e.loras, e.loraNotes = slices.Clone(loras), notes
		}
		return st
	})
	return slices.Clone(notes), err
}
