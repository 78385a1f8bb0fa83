// Package gpustat tells how busy and how warm the GPUs of the machine are. NVIDIA's
// are asked by NVML, whose library comes with the driver and is looked for at run
// time, in programs that are built for CUDA.
package gpustat

// Card is one GPU at one moment. What the driver does not tell is negative.
type Card struct {
	Index       int
	Name        string  // such as "NVIDIA L4"
	UUID        string  // as nvidia-smi shows it
	Utilization float64 // part of the last second in which a kernel ran, 0..1
	Celsius     float64
	Watts       float64
	MemoryUsed  int64 // bytes, of all processes
	MemoryTotal int64 // bytes
}
