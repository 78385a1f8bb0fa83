//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
import "C"

import (
	"context"

	"sdworker/inference"
)

// Profile implements inference.Profiler.
func (e *Engine) Profile(ctx context.Context, calls func(context.Context) error) ([]inference.Operation, error) {
	if err := e.profile(ctx, true); err != nil {
		return nil, err
	}
	if err := calls(ctx); err != nil {
		_ = e.profile(context.WithoutCancel(ctx), false) // calls has failed already
		return nil, err
	}
	var operations []inference.Operation
	err := e.call(ctx, "profile", func(*C.char, C.int) C.sdw_status {
		var o C.sdw_operation
		for i := 0; C.sdw_profiled(e.c, C.int(i), &o) != 0; i++ {
			operations = append(operations, inference.Operation{
				Kind: C.GoString(&o.kind[0]), Shape: C.GoString(&o.shape[0]), Calls: int(o.calls),
				Seconds: float64(o.seconds), CPU: float64(o.cpu_seconds), FLOPs: float64(o.flops),
			})
		}
		C.sdw_profile(e.c, 0)
		return C.SDW_OK
	})
	return operations, err
}

func (e *Engine) profile(ctx context.Context, on bool) error {
	return e.call(ctx, "profile", func(*C.char, C.int) C.sdw_status {
		C.sdw_profile(e.c, flag(on))
		return C.SDW_OK
	})
}

// PeakFLOPS implements inference.Profiler.
func (e *Engine) PeakFLOPS(ctx context.Context) (float64, error) {
	var peak float64
	err := e.call(ctx, "peak", func(*C.char, C.int) C.sdw_status {
		peak = float64(C.sdw_peak(e.c))
		return C.SDW_OK
	})
	return peak, err
}
