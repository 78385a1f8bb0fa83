package rng

import (
	"math"
	"math/bits"
)

// Constants of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", 2011).
const (
	philoxRounds = 10
	philoxMul0   = 0xD2511F53
	philoxMul1   = 0xCD9E8D57
	philoxWeyl0  = 0x9E3779B9
	philoxWeyl1  = 0xBB67AE85
)

// Scale from a word to (0,1) and to (0,2*pi): the constants of CUDA's cuRAND,
// rounded to float32 as there.
const (
	unitScale  = float64(float32(2.3283064e-10))
	angleScale = float64(float32(2.3283064e-10 * 6.2831855))
)

// philox draws as a CUDA generator does. Every draw starts at element 0 of its
// own counter, so a small draw is a prefix of a larger one.
type philox struct {
	seed  uint64
	draws uint32 // draws made so far
}

func newPhilox(seed uint64) *philox { return &philox{seed: seed} }

// Normal implements Generator.
func (g *philox) Normal(dst []float32) {
	for i := range dst {
		x, y := philoxWords(g.seed, g.draws, uint32(i))
		u := float64(x)*unitScale + unitScale/2
		angle := float64(y)*angleScale + angleScale/2
		dst[i] = float32(math.Sqrt(-2*math.Log(u)) * math.Sin(angle))
	}
	g.draws++
}

// philoxWords returns the first two of the four words that belong to one
// element of one draw.
func philoxWords(seed uint64, draw, element uint32) (x, y uint32) {
	w := philoxBlock(seed, [4]uint32{draw, 0, element, 0})
	return w[0], w[1]
}

func philoxBlock(seed uint64, c [4]uint32) [4]uint32 {
	key0, key1 := uint32(seed), uint32(seed>>32)
	for range philoxRounds {
		hi0, lo0 := bits.Mul32(philoxMul0, c[0])
		hi1, lo1 := bits.Mul32(philoxMul1, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ key0, lo1, hi0 ^ c[3] ^ key1, lo0}
		key0 += philoxWeyl0
		key1 += philoxWeyl1
	}
	return c
}
