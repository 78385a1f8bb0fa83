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

// linspace returns n evenly spaced numbers from start to end, counted from the
// nearer end as torch.linspace does.
func linspace(start, end float32, n int) []float32 {
	out := make([]float32, n)
	if n == 1 {
		out[0] = start
		return out
	}
	step := (end - start) / float32(n-1)
	for i := range out {
		if i < n/2 {
			out[i] = start + step*float32(i)
		} else {
			out[i] = end - step*float32(n-1-i)
		}
	}
	return out
}
