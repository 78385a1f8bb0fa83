package rng

import "math"

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

// philoxGrain is the number of values worth a goroutine, about 0.1 ms.
const philoxGrain = 2048

// Normal implements Generator.
func (g *philox) Normal(dst []float32) {
	spread(len(dst), philoxGrain, func(from, to int) {
		for i := from; i < to; i++ {
			x, y, _, _ := philoxBlock(g.seed, g.draws, uint32(i))
			u := float64(x)*unitScale + unitScale/2
			angle := float64(y)*angleScale + angleScale/2
			dst[i] = float32(math.Sqrt(-2*math.Log(u)) * math.Sin(angle))
		}
	})
	g.draws++
}

// philoxBlock returns the four words that belong to one element of one draw.
func philoxBlock(seed uint64, draw, element uint32) (c0, c1, c2, c3 uint32) {
	c0, c2 = draw, element
	key0, key1 := uint32(seed), uint32(seed>>32)
	for range philoxRounds {
		p0, p1 := uint64(c0)*philoxMul0, uint64(c2)*philoxMul1
		c0, c1, c2, c3 = uint32(p1>>32)^c1^key0, uint32(p1), uint32(p0>>32)^c3^key1, uint32(p0)
		key0 += philoxWeyl0
		key1 += philoxWeyl1
	}
	return c0, c1, c2, c3
}
