//go:build cgo && sdcpp

package sdcpp

// WeightsHash digests every weight as it lies on the device.
func (e *Engine) WeightsHash() uint64 { return e.weightsHash() }

// Weight returns a weight as it lies on the device.
func (e *Engine) Weight(name string) ([]float32, error) { return e.weightValues(name) }

// Native is the arithmetic of merging adapters.
var Native = native{}

// NativeHeap returns how many bytes C++ has allocated and not freed.
var NativeHeap = nativeHeap
