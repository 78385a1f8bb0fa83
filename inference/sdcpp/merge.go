//go:build cgo && sdcpp

package sdcpp

// #include "merge.h"
import "C"

import (
	"unsafe"

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

// SumSquares implements adapter.Math.
func (native) SumSquares(x []float32) float64 {
	return float64(C.sdw_sum_squares(floats(x), C.int64_t(len(x))))
}
