package demo

import "math"

// The functions here give the same bits on every processor: those of package math
// are written in assembly for some, and the compiler joins a product and a sum to
// one rounding on others unless a conversion stands between them. Roots are exact
// everywhere.

// sqrt32 is the root of a small whole number.
func sqrt32(k int) float32 { return float32(math.Sqrt(float64(k))) }

// logarithm is the natural one of x > 0.
func logarithm(x float64) float64 {
	fraction, exponent := math.Frexp(x) // in [0.5, 1)
	t := (fraction - 1) / (fraction + 1)
	square := float64(t * t)
	sum, power := 0.0, t
	for k := 1; k < 60; k += 2 { // ln f = 2 (t + t^3/3 + t^5/5 ...)
		sum += float64(power / float64(k))
		power = float64(power * square)
	}
	return float64(2*sum) + float64(float64(exponent)*math.Ln2)
}

// sineCosine is of x in [0, 1], by its series.
func sineCosine(x float64) (sine, cosine float64) {
	term := 1.0
	for k := range 24 {
		switch k % 4 {
		case 0:
			cosine += term
		case 1:
			sine += term
		case 2:
			cosine -= term
		case 3:
			sine -= term
		}
		term = float64(float64(term*x) / float64(k+1))
	}
	return sine, cosine
}
