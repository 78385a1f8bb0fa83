package rng

import "math"

// torchBlock is the size of the blocks in which PyTorch fills a tensor; smaller
// draws take another path and other numbers.
const torchBlock = 16

// torchGrain is the number of blocks worth a goroutine, about 0.1 ms.
const torchGrain = 256

// torchCPU draws as torch.randn does with a CPU generator.
type torchCPU struct {
	engine   mersenne
	spare    float64 // second half of a pair made by a small draw
	hasSpare bool
}

func newTorchCPU(seed uint64) *torchCPU {
	g := new(torchCPU)
	g.engine.seed(uint32(seed))
	return g
}

// Normal implements Generator.
func (g *torchCPU) Normal(dst []float32) {
	if len(dst) < torchBlock {
		for i := range dst {
			dst[i] = float32(g.scalar())
		}
		return
	}
	for i := range dst {
		dst[i] = g.engine.float32()
	}
	blocks := len(dst) / torchBlock
	spread(blocks, torchGrain, func(from, to int) {
		for b := from; b < to; b++ {
			boxMullerBlock(dst[b*torchBlock:])
		}
	})
	if len(dst)%torchBlock != 0 {
		last := dst[len(dst)-torchBlock:]
		for i := range last {
			last[i] = g.engine.float32()
		}
		boxMullerBlock(last)
	}
}

// scalar returns one number of a small draw. A pair yields two; the second one
// waits for the next small draw, however many large ones come between.
func (g *torchCPU) scalar() float64 {
	if g.hasSpare {
		g.hasSpare = false
		return g.spare
	}
	u1, u2 := g.engine.float64(), g.engine.float64()
	radius := math.Sqrt(-2 * math.Log1p(-u2))
	sin, cos := math.Sincos(2 * math.Pi * u1)
	g.spare, g.hasSpare = radius*sin, true
	return radius * cos
}

// boxMullerBlock turns 16 uniform numbers into normal ones in place; element j
// and element j+8 are a pair.
func boxMullerBlock(v []float32) {
	const half = torchBlock / 2
	v = v[:torchBlock]
	for j := range half {
		radius := math.Sqrt(-2 * math.Log(float64(1-v[j])))
		sin, cos := math.Sincos(float64(2 * math.Pi * v[j+half]))
		v[j], v[j+half] = float32(radius*cos), float32(radius*sin)
	}
}
