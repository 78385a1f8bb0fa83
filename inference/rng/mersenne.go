package rng

// Parameters of MT19937 (Matsumoto and Nishimura, 1998).
const (
	mtSize      = 624
	mtShift     = 397
	mtMatrix    = 0x9908B0DF
	mtUpperMask = 0x80000000
	mtLowerMask = 0x7FFFFFFF
)

// mersenne is the MT19937 engine behind PyTorch's CPU generator.
type mersenne struct {
	state [mtSize]uint32
	next  int
}

func (m *mersenne) seed(seed uint32) {
	m.state[0] = seed
	for i := 1; i < mtSize; i++ {
		prev := m.state[i-1]
		m.state[i] = 1812433253*(prev^prev>>30) + uint32(i)
	}
	m.next = mtSize
}

// uint32 returns the next tempered word.
func (m *mersenne) uint32() uint32 {
	if m.next == mtSize {
		m.twist()
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9D2C5680
	y ^= y << 15 & 0xEFC60000
	return y ^ y>>18
}

func (m *mersenne) twist() {
	s := &m.state
	mix := func(high, low, far uint32) uint32 {
		y := high&mtUpperMask | low&mtLowerMask
		return far ^ y>>1 ^ -(low&1)&mtMatrix
	}
	for i := range mtSize - mtShift {
		s[i] = mix(s[i], s[i+1], s[i+mtShift])
	}
	for i := mtSize - mtShift; i < mtSize-1; i++ {
		s[i] = mix(s[i], s[i+1], s[i+mtShift-mtSize])
	}
	s[mtSize-1] = mix(s[mtSize-1], s[0], s[mtShift-1])
	m.next = 0
}

// float32 returns a uniform number in [0,1) with 24 random bits, torch.rand's
// rule for float32.
func (m *mersenne) float32() float32 {
	return float32(m.uint32()&(1<<24-1)) / (1 << 24)
}

// float64 returns a uniform number in [0,1) with 53 random bits of two words,
// the first one high: torch.rand's rule for float64.
func (m *mersenne) float64() float64 {
	high := uint64(m.uint32())
	word := high<<32 | uint64(m.uint32())
	return float64(word&(1<<53-1)) / (1 << 53)
}
