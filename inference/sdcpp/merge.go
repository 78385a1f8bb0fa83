//go:build cgo && sdcpp

package sdcpp

// #include "merge.h"
import "C"

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/models/adapter"
)

// native is the arithmetic of merge.cpp.
type native struct{ adapter.Plain }

var _ adapter.Math = native{}

// Decode implements adapter.Math.
func (p native) Decode(dst []float32, raw []byte, t safetensors.DType) error {
	stored, ok := map[safetensors.DType]C.int{safetensors.F16: C.SDW_F16, safetensors.BF16: C.SDW_BF16, safetensors.F32: C.SDW_F32}[t]
	if !ok || int64(len(raw)) != int64(len(dst))*t.Size() {
		return p.Plain.Decode(dst, raw, t)
	}
	C.sdw_widen(floats(dst), unsafe.Pointer(unsafe.SliceData(raw)), C.int64_t(len(dst)), stored)
	return nil
}

// MulAdd implements adapter.Math.
func (native) MulAdd(c, a, b []float32, m, k, n int, scale float32) {
	_, _, _ = c[:m*n], a[:m*k], b[:k*n]
	C.sdw_mul_add(floats(c), floats(a), floats(b), C.int64_t(m), C.int64_t(k), C.int64_t(n), C.float(scale))
}

// Pack implements adapter.Math.
func (native) Pack(ar *adapter.Arena, b []float32, k, n int) adapter.Packed {
	out := ar.Floats(int(C.sdw_packed_size(C.int64_t(k), C.int64_t(n))))
	C.sdw_pack(floats(out), floats(b[:k*n]), C.int64_t(k), C.int64_t(n))
	return adapter.Packed{K: k, N: n, Values: out}
}

// MulAddPacked implements adapter.Math.
func (native) MulAddPacked(c, a []float32, b adapter.Packed, m int, scale float32) {
	_, _ = c[:m*b.N], a[:m*b.K]
	C.sdw_mul_add_packed(floats(c), floats(a), floats(b.Values), C.int64_t(m), C.int64_t(b.K), C.int64_t(b.N), C.float(scale))
}

// AddScaled implements adapter.Math.
func (native) AddScaled(dst, x []float32, scale float32) {
	C.sdw_add_scaled(floats(dst), floats(x[:len(dst)]), C.int64_t(len(dst)), C.float(scale))
}

// AddProduct implements adapter.Math.
func (native) AddProduct(dst, x, y []float32, scale float32) {
	C.sdw_add_product(floats(dst), floats(x[:len(dst)]), floats(y[:len(dst)]), C.int64_t(len(dst)), C.float(scale))
}

// Blend implements adapter.Math.
func (native) Blend(dst, x []float32, a, b float32) {
	C.sdw_blend(floats(dst), floats(x[:len(dst)]), C.int64_t(len(dst)), C.float(a), C.float(b))
}

// BlendRows implements adapter.Math.
func (native) BlendRows(dst []float32, dstRow int, x []float32, xRow, cols int, a float32, b []float32) {
	if len(b) == 0 {
		return
	}
	_, _ = dst[:(len(b)-1)*dstRow+cols], x[:(len(b)-1)*xRow+cols]
	C.sdw_blend_rows(floats(dst), C.int64_t(dstRow), floats(x), C.int64_t(xRow), C.int64_t(len(b)), C.int64_t(cols), C.float(a), floats(b))
}

// BlendColumns implements adapter.Math.
func (native) BlendColumns(dst, x []float32, a float32, b []float32) {
	C.sdw_blend_columns(floats(dst), floats(x[:len(dst)]), C.int64_t(len(dst)/len(b)), C.int64_t(len(b)), C.float(a), floats(b))
}

// Turn implements adapter.Math.
func (native) Turn(ar *adapter.Arena, w []float32, cols int, t adapter.Turns, keep float32, factors []float32) {
	_, _ = w[:t.Span*cols], factors[:t.Span]
	scratch := ar.Scratch(int(C.sdw_turn_scratch(C.int64_t(t.Span))))
	C.sdw_turn(floats(w), C.int64_t(cols), C.int64_t(t.Span), int32s(t.Sides), C.int64_t(len(t.Sides)), int32s(t.Rows), floats(t.Matrices), C.float(keep), floats(factors), floats(scratch))
}

// int32s is where whole numbers lie.
func int32s(x []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(x))) }

// RowSquares implements adapter.Math.
func (native) RowSquares(dst, x []float32, cols int) {
	C.sdw_row_squares(floats(dst), floats(x[:len(dst)*cols]), C.int64_t(len(dst)), C.int64_t(cols))
}

// spareProcessor gives Go's scheduler one processor more than there are threads that merge,
// until the returned function is called. When calls of C hold all processors, the runtime
// wakes every 20 µs to take them back, which made merging a sixth slower on 2 cores.
func spareProcessor(threads int) (restore func()) {
	before := runtime.GOMAXPROCS(0)
	if before > threads {
		return func() {}
	}
	runtime.GOMAXPROCS(threads + 1)
	return func() { runtime.GOMAXPROCS(before) }
}

// MergeSpeed returns how many multiplications with addition a second merging does on
// all threads with matrices that stay in the processor's cache: the best of some
// tries. Merging with factors takes at least their products divided by it.
func (e *Engine) MergeSpeed(ctx context.Context) (float64, error) {
	const m, k, n = 60, 128, 256
	defer spareProcessor(e.workers)()
	best := 0.0
	for range 5 {
		if ctx.Err() != nil {
			return 0, fault.Stopped(ctx, "merge speed")
		}
		var done atomic.Int64
		var wait sync.WaitGroup
		start := time.Now()
		for range e.workers {
			wait.Go(func() {
				var arena adapter.Arena
				a, b, c := arena.Floats(m*k), arena.Floats(k*n), arena.Floats(m*n)
				for _, values := range [][]float32{a, b, c} {
					for i := range values {
						values[i] = float32(i%7) / 64
					}
				}
				packed := native{}.Pack(&arena, b, k, n)
				for time.Since(start) < 50*time.Millisecond {
					native{}.MulAddPacked(c, a, packed, m, 1)
					done.Add(m * k * n)
				}
			})
		}
		wait.Wait()
		best = max(best, float64(done.Load())/time.Since(start).Seconds())
	}
	return best, nil
}
