//go:build cgo && sdcpp && vulkan && vulkanheap

package sdcpp

// LimitHeap makes allocations fail that would take more than some bytes of the
// device's memory together.
var LimitHeap = limitHeap

// HeapUsed returns how many bytes of the device's memory are allocated.
var HeapUsed = heapUsed
