//go:build cgo && sdcpp

package sdcpp

/*
#include <stdlib.h>
#include "quantize.h"
*/
import "C"

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/rs/zerolog"

	"sdworker/inference"
	"sdworker/models"
)

// Quantize writes a safetensors or GGUF file as GGUF, with values of the type
// given by its ggml name, such as q8_0 or f16. The engine decides which tensors
// take it: never biases, and no tensor whose rows the type's blocks do not divide,
// as those of 3x3 convolutions. It needs memory for the whole new file and stops
// only at its end when ctx ends. Nothing is visible under dst before it is complete.
func Quantize(ctx context.Context, src, dst, typ string, log zerolog.Logger) error {
	const op = "quantize"
	var files checker
	info, err := models.Inspect(src)
	if err == nil {
		err = files.verdict(info, models.Unknown)
	}
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(dst), "."+filepath.Base(dst)+".*.gguf")
	if err != nil {
		return &inference.Error{Code: inference.Invalid, Op: op, Msg: dst + " cannot be written", Err: err}
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()

	initialize()
	engineLog.Store(&log)
	source, destination, name := C.CString(src), C.CString(tmp.Name()), C.CString(typ)
	defer C.free(unsafe.Pointer(source))
	defer C.free(unsafe.Pointer(destination))
	defer C.free(unsafe.Pointer(name))
	err = status(op, func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_quantize(source, destination, name, buf, n)
	})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return canceled(op, ctx.Err())
	}
	if _, err := models.Inspect(tmp.Name()); err != nil { // the engine does not notice that a disk is full
		return &inference.Error{Code: inference.Exhausted, Op: op, Msg: dst + " could not be written completely; is the disk full?", Err: err}
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), os.Rename(tmp.Name(), dst)); err != nil {
		return &inference.Error{Code: inference.Invalid, Op: op, Msg: dst + " cannot be written", Err: err}
	}
	return nil
}
