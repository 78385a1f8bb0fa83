package sdcpp

import (
	"github.com/rs/zerolog"

	"sdworker/inference"
)

// Attention says whether attention runs as one fused kernel.
type Attention int

// Choices of attention. Fused is faster on a GPU and slower on a CPU, which is
// what AttentionAuto chooses by.
const (
	AttentionAuto Attention = iota
	AttentionFused
	AttentionPlain
)

// Options configures Open.
type Options struct {
	Checkpoint  string             // safetensors, ckpt or gguf file of a Stable Diffusion 1.x model
	AllowPickle bool               // also take PyTorch files (ckpt, pt, pth)
	Device      string             // auto, cpu, or a name such as cuda0 or vulkan0; "" is auto
	Threads     int                // of the CPU; 0 is one for each physical core
	HostMemory  int64              // bytes of the machine's memory that an engine on the CPU may use; 0 is all that the container has
	Attention   Attention          // see the constants
	Tiles       inference.TileMode // what inference.TileAuto means in a call
	GPUGraphs   bool               // a CPU computes the graphs that a GPU would get, with ggml's kernels; for tests
	Log         zerolog.Logger     // receives the engine's own log; process-wide, the last Open wins

	// Progress, unless nil, is called while weights load and before Open returns,
	// from another goroutine. Open passes its panic on.
	Progress func(done, total int)
}

// OnCPU tells whether an engine on a device, as Options.Device names it, runs on
// the CPU. It does not look: a program built for a GPU is taken to find one.
func OnCPU(device string) bool { return !gpu || device == "cpu" }

// Build says which engine this program contains and where it runs.
type Build struct {
	Pin         string   // packages and versions of the source, or "local source"
	Key         string   // hash of source, patches, flags and compiler
	GGML        string   // version of the tensor library
	Backend     string   // cpu, cuda, vulkan, or none in a program built without the engine
	CPUFeatures []string // instruction sets the engine was compiled for
	Allocator   string   // malloc implementation in use
	Devices     []Device
	NoGPU       string // why Vulkan has no GPU, "" when it has one
}

// Device is something an Engine can run on.
type Device struct {
	Name        string // such as CPU or CUDA0: what Options.Device takes
	Description string // of the manufacturer
	GPU         bool
	Software    bool // a GPU that the CPU plays, such as Mesa's lavapipe: used only when it is named
	FreeBytes   uint64
	TotalBytes  uint64
}
