// Package rng makes the noise of a picture: the normal generators that
// AUTOMATIC1111's web UI knows, the noise of a batch with one generator per
// image, variation seeds, and the Brownian noise of the SDE samplers. Equal
// seeds give the numbers that PyTorch 2.1 and torchsde 0.2.6 give there.
package rng

import "fmt"

// Source says which random number generator makes the noise.
type Source int

// Sources, by the names of the option randn_source.
const (
	GPU Source = iota // CUDA's generator, reproduced by NV on any machine
	CPU               // PyTorch's CPU generator, a Mersenne Twister
	NV                // CUDA's generator, Philox4x32-10
)

var sourceNames = [...]string{GPU: "GPU", CPU: "CPU", NV: "NV"}

// SourceNames lists the values of the option randn_source in A1111's order.
func SourceNames() []string { return sourceNames[:] }

// String returns the name that ParseSource reads.
func (s Source) String() string {
	if s < 0 || int(s) >= len(sourceNames) {
		return fmt.Sprintf("Source(%d)", int(s))
	}
	return sourceNames[s]
}

// ParseSource finds a source by its exact name.
func ParseSource(name string) (Source, error) {
	for s, n := range sourceNames {
		if n == name {
			return Source(s), nil
		}
	}
	return 0, fmt.Errorf("unknown noise source %q: use GPU, CPU or NV", name)
}

// Generator draws from the standard normal distribution. It is not safe for
// concurrent use.
type Generator interface {
	// Normal fills dst with the next draw. The numbers depend on the sizes of
	// the draws before it as they do in PyTorch.
	Normal(dst []float32)
}

// NewGenerator returns a fresh generator. The Mersenne Twister uses the low 32
// bits of the seed, Philox all 64.
func NewGenerator(src Source, seed int64) Generator {
	if src == CPU {
		return newTorchCPU(uint64(seed))
	}
	return newPhilox(uint64(seed))
}
