//go:build cgo && sdcpp && vulkan && vulkanheap

package sdcpp

// #cgo CPPFLAGS: -DSDW_VULKAN_HEAP
// #include "libvulkan.h"
import "C"

// limitHeap makes allocations fail that would take more than some bytes of the
// device's memory together.
func limitHeap(bytes uint64) { C.sdw_vulkan_limit(C.uint64_t(bytes)) }

// heapUsed returns how many bytes of the device's memory are allocated.
func heapUsed() uint64 { return uint64(C.sdw_vulkan_used()) }
