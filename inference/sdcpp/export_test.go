//go:build cgo && sdcpp

package sdcpp

// WeightsHash digests every weight as it lies on the device.
func (e *Engine) WeightsHash() uint64 { return e.weightsHash() }

// NativeHeap returns how many bytes C++ has allocated and not freed.
var NativeHeap = nativeHeap
