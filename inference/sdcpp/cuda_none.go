//go:build !cgo || !sdcpp || !cuda

package sdcpp

// CUDAInfo asks the CUDA runtime; nil in a program that is not built for CUDA.
func CUDAInfo() *CUDA { return nil }
