//go:build cgo && sdcpp && vulkan

package sdcpp

// The engine's headers use functions that the newer ggml below it calls deprecated.

// The loader of Vulkan's drivers is opened by libvulkan.c.

// #cgo CPPFLAGS: -DSDW_VULKAN
// #cgo CXXFLAGS: -Wno-deprecated-declarations
// #cgo LDFLAGS: -L${SRCDIR}/../../third_party/build/vulkan/lib -L${SRCDIR}/../../third_party/build/kernels
// #cgo LDFLAGS: -Wl,--start-group -lstable-diffusion -lggml -lggml-cpu -lggml-vulkan -lggml-base -lkernels -Wl,--end-group
// #cgo LDFLAGS: -lstdc++ -l:libgomp.a -lm -ldl -lpthread
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/vulkan/include/src
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/vulkan/include/include
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/vulkan/include/ggml/include
// #cgo CXXFLAGS: -I${SRCDIR}/../../third_party/build/vulkan/include/thirdparty
// #include "libvulkan.h"
import "C"

// noGPU says why there is no GPU, "" when there is one.
func noGPU() string { return C.GoString(C.sdw_vulkan_problem()) }

const (
	backend = "vulkan"
	gpu     = true // the backend has a device of its own
)
