package sampler

import "math"

// lmsOrder is the largest number of slopes that LMS combines.
const lmsOrder = 4

// lms is the linear multistep method: it integrates the polynomial through the
// last slopes.
func lms(r *run) error { return linearMultistep(r, lmsOrder) }

func linearMultistep(r *run, order int) error {
	slopes := r.buffers(order)
	for i := range len(r.sigmas) - 1 {
		// The oldest slope makes room for the new one, in front.
		d := slopes[order-1]
		copy(slopes[1:], slopes[:order-1])
		slopes[0] = d
		if err := r.predict(d, r.x, r.sigmas[i]); err != nil {
			return err
		}
		r.report(i)
		slope(d, r.x, d, r.sigmas[i])

		known := min(i+1, order)
		weights := make([]float32, known)
		for j := range weights {
			weights[j] = float32(lmsWeight(r.sigmas, i, j, known))
		}
		for k := range r.x {
			var sum float32
			for j, w := range weights {
				sum += w * slopes[j][k]
			}
			r.x[k] += sum
		}
	}
	return nil
}

// lmsWeight integrates the Lagrange basis polynomial of slope i-j over step i.
// Three Gauss-Legendre points are exact up to degree 5; order 4 needs 3.
func lmsWeight(sigmas []float32, i, j, order int) float64 {
	from, to := float64(sigmas[i]), float64(sigmas[i+1])
	middle, half := (from+to)/2, (to-from)/2
	basis := func(tau float64) float64 {
		product := 1.0
		for k := range order {
			if k != j {
				product *= (tau - float64(sigmas[i-k])) / float64(sigmas[i-j]-sigmas[i-k])
			}
		}
		return product
	}
	offset := half * math.Sqrt(3.0/5)
	return half / 9 * (5*basis(middle-offset) + 8*basis(middle) + 5*basis(middle+offset))
}
