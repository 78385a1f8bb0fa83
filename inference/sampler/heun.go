package sampler

import "slices"

// heun is algorithm 2 of Karras et al. (2022): Euler steps corrected by the slope
// at their end.
func heun(r *run) error {
	b := r.buffers(3)
	for i := range len(r.sigmas) - 1 {
		sigma := r.churn(b[0], i)
		if err := r.heunStep(b, i, sigma, r.sigmas[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// heunStep moves x from sigma to next, with an Euler step if next is 0. b has
// three scratch tensors.
func (r *run) heunStep(b [][]float32, step int, sigma, next float32) error {
	d, x2, d2 := b[0], b[1], b[2]
	if err := r.predict(d, r.x, sigma); err != nil {
		return err
	}
	r.report(step)
	slope(d, r.x, d, sigma)
	dt := next - sigma
	if next != 0 {
		advance(x2, r.x, d, dt)
		if err := r.predict(d2, x2, next); err != nil {
			return err
		}
		slope(d2, x2, d2, next)
		average(d, d2)
	}
	advance(r.x, r.x, d, dt)
	return nil
}

// Restart lengths and levels that A1111 chooses: Xu et al., "Restart sampling for
// improving generative processes" (2023).
const (
	restartFrom     = 20  // steps from which there are restarts
	restartTwice    = 36  // steps from which there are two
	restartLength   = 9   // steps of a single restart
	restartMinSigma = 0.1 // level from which it goes back up
	restartMaxSigma = 2   // level it goes up to
)

// restart is Heun's method that goes back to a higher noise level near the end
// and walks down again. Its schedule is Karras between the given ends as soon as
// there are restarts.
func restart(r *run) error {
	b := r.buffers(3)
	pairs := restartSteps(r.sigmas)
	for i, p := range pairs {
		if i > 0 && pairs[i-1].to < p.from {
			last := pairs[i-1].to
			r.addNoise(b[0], last, p.from, sqrt(p.from*p.from-last*last))
		}
		if err := r.heunStep(b, i, p.from, p.to); err != nil {
			return err
		}
	}
	return nil
}

// sigmaStep is one step between two noise levels.
type sigmaStep struct{ from, to float32 }

// restartSteps lists the steps of a run, restarts included.
func restartSteps(sigmas []float32) []sigmaStep {
	steps := len(sigmas) - 1
	if steps < restartFrom {
		return pairs(sigmas)
	}
	length, times := restartLength, 1
	if steps >= restartTwice {
		length, times = steps/4, 2
	}
	sigmas = karrasBetween(sigmas[steps-1], sigmas[0], steps-length*times)
	low, high := nearestSigma(sigmas, restartMinSigma), nearestSigma(sigmas, restartMaxSigma)
	if low == 0 || high >= low {
		return pairs(sigmas)
	}
	list := pairs(sigmas[:low+1])
	again := karrasBetween(sigmas[low], sigmas[high], length+1)
	for range times {
		list = append(list, pairs(again[:len(again)-1])...) // without the 0
	}
	return append(list, pairs(sigmas[low:])...)
}

// pairs lists the steps between neighbours.
func pairs(sigmas []float32) []sigmaStep {
	var list []sigmaStep
	for i := range len(sigmas) - 1 {
		list = append(list, sigmaStep{sigmas[i], sigmas[i+1]})
	}
	return list
}

func karrasBetween(low, high float32, n int) []float32 {
	return karrasSigmas(scheduleInput{sigmaMin: float64(low), sigmaMax: float64(high), rho: karrasRho}, n)
}

// nearestSigma returns the index of the first sigma that is nearest to level.
func nearestSigma(sigmas []float32, level float32) int {
	distance := func(s float32) float32 { return max(s-level, level-s) }
	nearest := slices.MinFunc(sigmas, func(a, b float32) int {
		switch da, db := distance(a), distance(b); {
		case da < db:
			return -1
		case da > db:
			return 1
		}
		return 0
	})
	return slices.Index(sigmas, nearest)
}
