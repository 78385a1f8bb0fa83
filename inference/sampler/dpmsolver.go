package sampler

import (
	"errors"
	"math"
)

// dpmSolver takes the steps of DPM-Solver (Lu et al., "DPM-Solver: a fast ODE
// solver for diffusion probabilistic models", 2022) in t = -log(sigma). eps is
// the noise that a prediction implies.
type dpmSolver struct {
	r                 *run
	x2                []float32
	eps, eps1, eps2   []float32
	fresh             []float32
	tEnd, eta, sNoise float32
}

func newDPMSolver(r *run) *dpmSolver {
	b := r.buffers(5)
	return &dpmSolver{
		r: r, x2: b[0], eps: b[1], eps1: b[2], eps2: b[3], fresh: b[4],
		tEnd: logTime(r.sigmaMin), eta: float32(r.options.Eta), sNoise: float32(r.options.SNoise),
	}
}

// noiseAt sets dst to the noise that the model finds in x.
func (s *dpmSolver) noiseAt(dst, x []float32, t float32) error {
	sigma := timeSigma(t)
	if err := s.r.predict(dst, x, sigma); err != nil {
		return err
	}
	slope(dst, x, dst, sigma)
	return nil
}

// ancestralEnd returns the time to step to before noise of deviation up is added
// to reach the level of end.
func (s *dpmSolver) ancestralEnd(from, end float32) (to, up float32) {
	if s.eta == 0 {
		return end, 0
	}
	down, _ := ancestralStep(timeSigma(from), timeSigma(end), s.eta)
	to = min(s.tEnd, logTime(down))
	level, stepped := timeSigma(end), timeSigma(to)
	return to, sqrt(level*level - stepped*stepped)
}

// first sets dst to x after a first order step; s.eps is the noise at t.
func (s *dpmSolver) first(dst []float32, t, end float32) {
	factor := -(timeSigma(end) * expm1(end-t))
	advance(dst, s.r.x, s.eps, factor)
}

// inner sets s.eps1 to the noise at the fraction ratio of the step.
func (s *dpmSolver) inner(t, end, ratio float32) error {
	h := end - t
	t1 := t + ratio*h
	advance(s.x2, s.r.x, s.eps, -(timeSigma(t1) * expm1(ratio*h)))
	return s.noiseAt(s.eps1, s.x2, t1)
}

// second sets dst to x after a second order step with s.eps1 at ratio.
func (s *dpmSolver) second(dst []float32, t, end, ratio float32) {
	h := end - t
	a := timeSigma(end) * expm1(h)
	b := timeSigma(end) / (2 * ratio) * expm1(h)
	for i, e := range s.eps {
		dst[i] = s.r.x[i] - a*e - b*(s.eps1[i]-e)
	}
}

// Fractions of the inner evaluations of a third order step, and of a second
// order one.
const (
	thirdInner1, thirdInner2 = 1.0 / 3, 2.0 / 3
	secondInner              = 1.0 / 2
)

// third sets dst to x after a third order step with s.eps1 at thirdInner1.
func (s *dpmSolver) third(dst []float32, t, end float32) error {
	h := end - t
	t2 := t + thirdInner2*h
	e2 := expm1(thirdInner2 * h)
	a := timeSigma(t2) * e2
	b := timeSigma(t2) * float32(thirdInner2/thirdInner1) * (e2/(thirdInner2*h) - 1)
	for i, e := range s.eps {
		s.x2[i] = s.r.x[i] - a*e - b*(s.eps1[i]-e)
	}
	if err := s.noiseAt(s.eps2, s.x2, t2); err != nil {
		return err
	}
	a = timeSigma(end) * expm1(h)
	b = timeSigma(end) / thirdInner2 * (expm1(h)/h - 1)
	for i, e := range s.eps {
		dst[i] = s.r.x[i] - a*e - b*(s.eps2[i]-e)
	}
	return nil
}

// addNoise adds the ancestral noise of a step.
func (s *dpmSolver) addNoise(x []float32, t, end, up float32) {
	if s.eta == 0 {
		return
	}
	s.r.noise(s.fresh, timeSigma(t), timeSigma(end))
	factor := up * s.sNoise
	addScaled(x, s.fresh, factor)
}

// dpmFast is DPM-Solver-fast: count evaluations in steps of order 3, the last
// ones lower.
func dpmFast(r *run) error {
	if len(r.sigmas) < 2 || r.count < 1 {
		return nil
	}
	s := newDPMSolver(r)
	orders := fastOrders(r.count)
	ts := linspace(logTime(r.sigmaMax), s.tEnd, len(orders)+1)
	for i, order := range orders {
		t, next := ts[i], ts[i+1]
		end, up := s.ancestralEnd(t, next)
		if err := s.noiseAt(s.eps, r.x, t); err != nil {
			return err
		}
		r.report(i)
		var err error
		switch order {
		case 1:
			s.first(r.x, t, end)
		case 2:
			if err = s.inner(t, end, secondInner); err == nil {
				s.second(r.x, t, end, secondInner)
			}
		default:
			if err = s.inner(t, end, thirdInner1); err == nil {
				err = s.third(r.x, t, end)
			}
		}
		if err != nil {
			return err
		}
		s.addNoise(r.x, t, next, up)
	}
	return nil
}

// fastOrders splits n evaluations into the orders of the steps.
func fastOrders(n int) []int {
	var orders []int
	for ; n > 3; n -= 3 {
		orders = append(orders, 3)
	}
	if n == 3 {
		return append(orders, 2, 1)
	}
	return append(orders, n)
}

// Settings of DPM-Solver-12/23 with adaptive step size that k-diffusion has as
// defaults and A1111 does not change.
const (
	adaptiveOrder  = 3
	adaptiveRTol   = 0.05
	adaptiveATol   = 0.0078
	adaptiveStart  = 0.05 // first step in log(sigma)
	adaptiveSafety = 0.81 // factor below which a step is refused
	adaptiveTail   = 1e-5 // distance to the end that is close enough
)

// dpmAdaptive is DPM-Solver-23 with step sizes from the difference of the two
// orders, measured over the whole batch.
func dpmAdaptive(r *run) error {
	if len(r.sigmas) < 2 {
		return nil
	}
	s := newDPMSolver(r)
	b := r.buffers(3)
	low, high, previous := b[0], b[1], b[2]
	copy(previous, r.x)
	exponent := 1.0 / adaptiveOrder
	if s.eta != 0 {
		exponent = 1 / 1.5 // noise lowers the order of the error
	}
	t, h := logTime(r.sigmaMax), adaptiveStart
	for step := 0; t < s.tEnd-adaptiveTail; step++ {
		next := min(s.tEnd, t+float32(h))
		end, up := s.ancestralEnd(t, next)
		if err := s.noiseAt(s.eps, r.x, t); err != nil {
			return err
		}
		if err := s.inner(t, end, thirdInner1); err != nil {
			return err
		}
		s.second(low, t, end, thirdInner1)
		if err := s.third(high, t, end); err != nil {
			return err
		}
		difference := adaptiveError(low, high, previous)
		factor := 1 + math.Atan(math.Pow(1/(difference+1e-8), exponent)-1)
		if math.IsNaN(factor) {
			return errors.New("DPM adaptive found no step size: the prediction is not a number")
		}
		if factor >= adaptiveSafety {
			previous, low = low, previous
			r.x, high = high, r.x
			s.addNoise(r.x, t, next, up)
			t = next
		}
		h *= factor
		r.report(step)
	}
	return nil
}

// adaptiveError is the scaled root mean square of the difference of two orders.
func adaptiveError(low, high, previous []float32) float64 {
	abs := func(v float32) float32 { return max(v, -v) }
	var sum float64
	for i, l := range low {
		delta := max(adaptiveATol, adaptiveRTol*max(abs(l), abs(previous[i])))
		e := (l - high[i]) / delta
		sum += float64(e) * float64(e)
	}
	return math.Sqrt(sum) / math.Sqrt(float64(len(low)))
}
