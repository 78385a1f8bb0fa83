package sampler

import "math"

// betaQuantile returns the x at which the cumulative beta distribution with
// shapes a and b reaches p.
func betaQuantile(p, a, b float64) float64 {
	if p <= 0 {
		return 0
	}
	if p >= 1 {
		return 1
	}
	low, high := 0.0, 1.0
	for range 80 { // bisection down to the last bit
		mid := (low + high) / 2
		if mid == low || mid == high {
			break
		}
		if betaCDF(mid, a, b) < p {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// betaCDF is the regularised incomplete beta function I_x(a,b), evaluated with
// the continued fraction 8.17.22 of the NIST Digital Library of Mathematical
// Functions by Lentz's method.
func betaCDF(x, a, b float64) float64 {
	if x > (a+1)/(a+b+2) {
		return 1 - betaCDF(1-x, b, a) // the fraction converges fast on this side only
	}
	if x <= 0 {
		return 0
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a

	const tiny, tolerance, maxTerms = 1e-300, 1e-16, 300
	nonZero := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/nonZero(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < maxTerms; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		for _, term := range [2]float64{even, odd} {
			d = 1 / nonZero(1+term*d)
			c = nonZero(1 + term/c)
			f *= c * d
		}
		if math.Abs(c*d-1) < tolerance {
			break
		}
	}
	return front * f
}
