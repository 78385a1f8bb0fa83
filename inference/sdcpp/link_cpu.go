//go:build cgo && sdcpp && !cuda && !vulkan

package sdcpp

// The engine's headers use functions that the newer ggml below it calls deprecated.

// #cgo CXXFLAGS: -Wno-deprecated-declarations
// #cgo LDFLAGS: -L${SRCDIR}/../../third_party/build/cpu/lib -L${SRCDIR}/../../third_party/build/kernels
// #cgo LDFLAGS: -Wl,--start-group -lstable-diffusion -lggml -lggml-cpu -lggml-base -lkernels -Wl,--end-group
// #cgo LDFLAGS: -lstdc++ -l:libgomp.a -lm -ldl -lpthread
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cpu/include/src
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cpu/include/include
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cpu/include/ggml/include
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/cpu/include/thirdparty
import "C"

const (
	backend = "cpu"
	gpu     = false // the backend has a device of its own
)

// noGPU is for Vulkan.
func noGPU() string { return "" }
