package sampler

import "math"

// The functions below round to float32 after each operation, like torch does.

func sqrt(x float32) float32  { return float32(math.Sqrt(float64(x))) }
func exp(x float32) float32   { return float32(math.Exp(float64(x))) }
func expm1(x float32) float32 { return float32(math.Expm1(float64(x))) }
func log(x float32) float32   { return float32(math.Log(float64(x))) }

func pow(x float32, y float64) float32 {
	return float32(math.Pow(float64(x), y))
}

// fma returns x*y + z with one rounding.
func fma(x, y, z float32) float32 {
	return float32(float64(x)*float64(y) + float64(z))
}

// linspace returns n evenly spaced numbers from start to end, counted from the
// nearer end with fused operations as torch.linspace does.
func linspace(start, end float32, n int) []float32 {
	out := make([]float32, n)
	if n == 1 {
		out[0] = start
		return out
	}
	step := (end - start) / float32(n-1)
	for i := range out {
		if i < n/2 {
			out[i] = fma(step, float32(i), start)
		} else {
			out[i] = fma(-step, float32(n-1-i), end)
		}
	}
	return out
}

// roundHalf rounds to the nearest IEEE half precision number, ties to even. It
// serves values between 2^-24 and 65504.
func roundHalf(x float32) float32 {
	const halfDigits, minExponent = 11, -14
	if x == 0 {
		return 0
	}
	exponent := max(math.Ilogb(float64(x)), minExponent)
	unit := math.Ldexp(1, exponent-halfDigits+1)
	return float32(math.RoundToEven(float64(x)/unit) * unit)
}
