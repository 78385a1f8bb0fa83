package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode widens or narrows the little-endian values in raw to float32. The
// lengths must agree.
func Decode(dst []float32, raw []byte, d DType) error {
	if int64(len(raw)) != int64(len(dst))*d.Size() {
		return fmt.Errorf("%d bytes are not %d values of type %s", len(raw), len(dst), d)
	}
	switch d {
	case F8E4M3:
		decode8(dst, raw, &e4m3)
	case F8E5M2:
		decode8(dst, raw, &e5m2)
	case F16:
		for i := range dst {
			dst[i] = HalfToFloat(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		}
	default:
		return fmt.Errorf("type %s holds no floating point values that can be read", d)
	}
	return nil
}

// IsFloat tells whether Decode reads the type.
func (d DType) IsFloat() bool {
	switch d {
	case F8E4M3, F8E5M2, F16, BF16, F32, F64:
		return true
	default:
		return false
	}
}

// Encode stores values as F16, BF16 or F32, little endian. The lengths must
// agree. It returns how many finite values became infinite.
func Encode(raw []byte, src []float32, d DType) (overflows int, err error) {
	if int64(len(raw)) != int64(len(src))*d.Size() {
		return 0, fmt.Errorf("%d bytes are not %d values of type %s", len(raw), len(src), d)
	}
	switch d {
	case F16:
		for i, v := range src {
			h := FloatToHalf(v)
			if h&0x7fff == 0x7c00 && !math.IsInf(float64(v), 0) {
				overflows++
			}
			binary.LittleEndian.PutUint16(raw[2*i:], h)
		}
	case BF16:
		for i, v := range src {
			b := floatToBrain(v)
			if b&0x7fff == 0x7f80 && !math.IsInf(float64(v), 0) {
				overflows++
			}
			binary.LittleEndian.PutUint16(raw[2*i:], b)
		}
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
		}
	default:
		return 0, fmt.Errorf("values are not written as %s", d)
	}
	return overflows, nil
}

// floatToBrain rounds to the nearest bfloat16, ties to even.
func floatToBrain(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40 // NaN, kept quiet
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// Values of the eight-bit formats (OCP FP8 specification; "FN" for e4m3: no
// infinities, one NaN).
var (
	e4m3 = table8(4, 3, true)
	e5m2 = table8(5, 2, false)
)

func table8(exponentBits, fractionBits int, finite bool) (t [256]float32) {
	bias := 1<<(exponentBits-1) - 1
	top := 1<<exponentBits - 1
	for i := range t {
		exp := i >> fractionBits & top
		frac := i & (1<<fractionBits - 1)
		v := math.Ldexp(1+float64(frac)/float64(int(1)<<fractionBits), exp-bias)
		switch {
		case exp == 0:
			v = math.Ldexp(float64(frac)/float64(int(1)<<fractionBits), 1-bias)
		case finite && exp == top && frac == 1<<fractionBits-1, !finite && exp == top && frac != 0:
			v = math.NaN()
		case !finite && exp == top:
			v = math.Inf(1)
		}
		if i >= 128 {
			v = -v
		}
		t[i] = float32(v)
	}
	return t
}

func decode8(dst []float32, raw []byte, table *[256]float32) {
	for i, b := range raw {
		dst[i] = table[b]
	}
}
