package rng

import (
	"errors"
	"math"
	"math/bits"
)

// Python is the generator of Python's random.Random, seeded with whole numbers:
// the same seed gives the same choices as CPython 3 (Lib/random.py,
// Modules/_randommodule.c). It is not safe for concurrent use.
type Python struct{ engine mersenne }

// NewPython returns random.Random(seed).
func NewPython(seed int64) *Python {
	p := &Python{}
	p.Seed(seed)
	return p
}

// Seed starts again, as random.seed does. The sign does not count.
func (p *Python) Seed(seed int64) {
	n := uint64(seed)
	if seed < 0 {
		n = -n
	}
	key := []uint32{uint32(n)}
	if n>>32 != 0 {
		key = append(key, uint32(n>>32))
	}
	p.engine.seedArray(key)
}

// seedArray is init_by_array of the reference code of MT19937.
func (m *mersenne) seedArray(key []uint32) {
	m.seed(19650218)
	s := &m.state
	i, j := 1, 0
	step := func() {
		if i++; i >= mtSize {
			s[0], i = s[mtSize-1], 1
		}
	}
	for range max(mtSize, len(key)) {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1664525) + key[j] + uint32(j)
		if j++; j >= len(key) {
			j = 0
		}
		step()
	}
	for range mtSize - 1 {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941) - uint32(i)
		step()
	}
	s[0] = 1 << 31
	m.next = mtSize
}

// Float64 is random.random(): a number in [0,1) with 53 random bits.
func (p *Python) Float64() float64 { return p.engine.pythonFloat64() }

// pythonFloat64 returns a uniform number in [0,1) with 53 random bits of two words,
// the top bits of each: the rule of Python and NumPy.
func (m *mersenne) pythonFloat64() float64 {
	a, b := m.uint32()>>5, m.uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// Below is random.randrange(n), n above 0: the top bits of words until they are
// below n.
func (p *Python) Below(n int) int {
	k := bits.Len(uint(n))
	for {
		if r := p.bits(k); r < uint64(n) {
			return int(r)
		}
	}
}

// bits is random.getrandbits(k), 1 to 64: the first word is the low one.
func (p *Python) bits(k int) uint64 {
	if k <= 32 {
		return uint64(p.engine.uint32() >> (32 - k))
	}
	low := uint64(p.engine.uint32())
	return low | uint64(p.engine.uint32()>>(64-k))<<32
}

// Between is random.randint(low, high), both ends included.
func (p *Python) Between(low, high int) int { return low + p.Below(high-low+1) }

// ErrWeights reports weights that leave nothing to choose.
var ErrWeights = errors.New("the sum of the weights must be above 0 and finite")

// Weighted is the index of random.choices for running sums of weights, which must
// not be empty.
func (p *Python) Weighted(sums []float64) (int, error) {
	total := sums[len(sums)-1]
	if !(total > 0) || math.IsInf(total, 0) {
		return 0, ErrWeights
	}
	x := p.Float64() * total
	low, high := 0, len(sums)-1
	for low < high { // as bisect does, also where a negative weight breaks the order
		if mid := (low + high) / 2; x < sums[mid] {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low, nil
}

// Shuffle is random.shuffle of n elements.
func (p *Python) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, p.Below(i+1))
	}
}
