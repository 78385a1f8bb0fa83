//go:build cgo && sdcpp

package sdcpp

/*
#include <stdlib.h>
#include "quantize.h"
*/
import "C"

import (
	"context"
	"unsafe"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/internal/atomicfile"
	"sdworker/models"
)

// Quantize writes a safetensors or GGUF file as GGUF, with values of the type
// given by its ggml name, such as q8_0 or f16. The engine decides which tensors
// take it: never biases, and no tensor whose rows the type's blocks do not divide,
// as those of 3x3 convolutions. It needs memory for the whole new file and stops
// only at its end when ctx ends. Nothing is visible under dst before it is complete.
func Quantize(ctx context.Context, src, dst, typ string, log zerolog.Logger) error {
	const op = "quantize"
	weights, err := everything(src)
	if err != nil {
		return err
	}
	source := newTable(src, weights)
	defer source.free()
	tmp, err := atomicfile.Create(dst)
	if err != nil {
		return &fault.Error{Code: fault.Invalid, Op: op, Msg: dst + " cannot be written", Err: err}
	}
	defer tmp.Discard()

	initialize()
	engineLog.Store(&log)
	destination, name := C.CString(tmp.Name()), C.CString(typ)
	defer C.free(unsafe.Pointer(destination))
	defer C.free(unsafe.Pointer(name))
	err = status(op, func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_quantize(source.c, destination, name, buf, n)
	})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fault.Stopped(ctx, op)
	}
	if _, err := models.Inspect(tmp.Name()); err != nil { // the engine does not notice that a disk is full
		return &fault.Error{Code: fault.Exhausted, Op: op, Msg: dst + " could not be written completely; is the disk full?", Err: err}
	}
	if err := tmp.Commit(); err != nil {
		return &fault.Error{Code: fault.Invalid, Op: op, Msg: dst + " cannot be written", Err: err}
	}
	return nil
}

// everything lists the tensors of a file of any kind that a GGUF file can hold:
// those with values, of the types it knows.
func everything(path string) ([]models.Weight, error) {
	info, err := models.Inspect(path)
	if err != nil {
		return nil, err
	}
	var list []models.Weight
	for _, t := range info.Tensors {
		if !info.Format.EngineReads(t.DType) || t.Bytes == 0 {
			continue
		}
		if len(t.Shape) > maxRank || t.Strided {
			return nil, fault.Errorf(fault.Invalid, "quantize", "%s has a tensor %s of a shape that GGUF does not hold", path, t.Name)
		}
		list = append(list, models.Weight{Name: t.Name, Shape: t.Shape, Tensor: t})
	}
	if len(list) == 0 {
		return nil, fault.Errorf(fault.Invalid, "quantize", "%s has no weights", path)
	}
	return list, nil
}

// maxRank is the most sides that a tensor of the engine has (GGML_MAX_DIMS).
const maxRank = 4
