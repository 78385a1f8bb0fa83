package synth

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"sync"

	"sdworker/formats/safetensors"
	"sdworker/sd1"
)

// tableBits is the resolution of the normal distribution: values are drawn from
// its 2^16 quantile midpoints, more than binary16 can tell apart near zero. A
// table look-up per value is what makes the full checkpoint a matter of seconds.
const tableBits = 16

// tables holds the quantiles of N(0,1) times a factor, in half precision.
type tables struct {
	mu    sync.Mutex
	bySpr map[float64]*[1 << tableBits]uint16
	unit  [1 << tableBits]float64
}

func newTables() *tables {
	t := &tables{bySpr: map[float64]*[1 << tableBits]uint16{}}
	for i := range t.unit {
		p := (float64(i) + 0.5) / (1 << tableBits)
		t.unit[i] = math.Sqrt2 * math.Erfinv(2*p-1)
	}
	return t
}

func (t *tables) scaled(spread float64) *[1 << tableBits]uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if got, ok := t.bySpr[spread]; ok {
		return got
	}
	out := new([1 << tableBits]uint16)
	for i, z := range t.unit {
		out[i] = safetensors.FloatToHalf(float32(z * spread))
	}
	t.bySpr[spread] = out
	return out
}

// stream is the key of a tensor's random stream.
func stream(seed uint64, name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return mix(h.Sum64() ^ mix(seed))
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// normal fills dst with values first, first+1, ... of a stream; first is a
// multiple of 4, because one 64-bit draw gives four values. Any part of a stream
// can be made without the parts before it.
func normal(dst []byte, table *[1 << tableBits]uint16, key uint64, first int64) {
	const golden = 0x9e3779b97f4a7c15 // splitmix64's increment
	counter := key + uint64(first/4)*golden
	for len(dst) >= 8 {
		r := mix(counter)
		counter += golden
		v := uint64(table[r&0xffff]) | uint64(table[r>>16&0xffff])<<16 |
			uint64(table[r>>32&0xffff])<<32 | uint64(table[r>>48])<<48
		binary.LittleEndian.PutUint64(dst, v)
		dst = dst[8:]
	}
	for r := mix(counter); len(dst) >= 2; r >>= 16 {
		binary.LittleEndian.PutUint16(dst, table[r&0xffff])
		dst = dst[2:]
	}
}

// constant fills dst with one half precision value.
func constant(dst []byte, v float32) {
	h := safetensors.FloatToHalf(v)
	for i := 0; i+1 < len(dst); i += 2 {
		binary.LittleEndian.PutUint16(dst[i:], h)
	}
}

// spread is the standard deviation of the values of p.
func spread(p sd1.Param) float64 {
	if p.Role != sd1.Weight {
		return 0.02
	}
	fanIn := int64(1)
	for _, side := range p.Shape[1:] {
		fanIn *= side
	}
	return 1 / math.Sqrt(float64(fanIn))
}
