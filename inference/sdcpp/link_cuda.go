//go:build cgo && sdcpp && cuda

package sdcpp

// The engine's headers use functions that the newer ggml below it calls deprecated.

// CUDA's own libraries are found by the linker's usual paths and by CGO_LDFLAGS,
// which the Makefile sets from CUDA_HOME. The driver's is loaded by libcuda.c.

// #cgo CPPFLAGS: -DSDW_CUDA
// #cgo CXXFLAGS: -Wno-deprecated-declarations
// #cgo LDFLAGS: -L${SRCDIR}/../../third_party/build/cuda/lib -L${SRCDIR}/../../third_party/build/kernels
// #cgo LDFLAGS: -Wl,--start-group -lstable-diffusion -lggml -lggml-cpu -lggml-cuda -lggml-base -lkernels -Wl,--end-group
// #cgo LDFLAGS: -lcudart -lcublas -lcublasLt
// #cgo LDFLAGS: -lstdc++ -l:libgomp.a -lm -ldl -lpthread -lrt
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cuda/include/src
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cuda/include/include
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cuda/include/ggml/include
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cuda/include/thirdparty
import "C"

const (
	backend = "cuda"
	gpu     = true // the backend has a device of its own
)

// noGPU is for Vulkan.
func noGPU() string { return "" }
