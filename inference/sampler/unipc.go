package sampler

import (
	"errors"
	"fmt"
	"math"
)

// uniPC is Zhao et al., "UniPC: a unified predictor-corrector framework for fast
// sampling of diffusion models" (2023), predicting the picture. It places its own
// times between 1 and 1/1000 and takes only the number of timesteps from A1111's
// list, and in img2img the last one.
func uniPC(r *run) error {
	steps := len(r.timesteps)
	if steps == 0 {
		return nil
	}
	o := r.options.UniPC
	if o.Order < 1 {
		return fmt.Errorf("uni_pc_order is %d: use 1 or more", o.Order)
	}
	start := 1.0
	if r.img2img {
		start = float64(r.timesteps[steps-1]+1) / trainingSteps
	}
	u := &uniPCSolver{r: r, variant: o.Variant}
	times, err := u.times(o.SkipType, start, 1.0/trainingSteps, steps)
	if err != nil {
		return err
	}

	order := min(o.Order, steps) // A1111 fails with fewer steps than order
	first, err := u.predict(r.x, times[0])
	if err != nil {
		return err
	}
	u.remember(first, order)
	for step := 1; step <= steps; step++ {
		now := min(order, step)
		if o.LowerOrderFinal && step >= order {
			now = min(now, steps+1-step)
		}
		found, err := u.step(times[step], now, step < steps)
		if err != nil {
			return err
		}
		r.report(step - 1)
		if found != nil {
			u.remember(found, order)
		}
	}
	return nil
}

// uniPCPoint is a prediction at a time, with the half log-SNR there.
type uniPCPoint struct {
	lambda, deviation float64
	original          []float32
}

type uniPCSolver struct {
	r       *run
	variant string
	history []uniPCPoint // newest first
}

func (u *uniPCSolver) remember(p *uniPCPoint, order int) {
	u.history = append([]uniPCPoint{*p}, u.history...)
	u.history = u.history[:min(len(u.history), order)]
}

// logAlpha interpolates log(sqrt(alphas_cumprod)) at a time in (0,1], where
// timestep i is at (i+1)/1000, and goes on in a straight line beyond the table.
func (m *noiseModel) logAlpha(time float64) float64 {
	at := time*float64(len(m.alphasCumprod)) - 1
	low := min(max(int(math.Floor(at)), 0), len(m.alphasCumprod)-2)
	a := 0.5 * math.Log(float64(m.alphasCumprod[low]))
	b := 0.5 * math.Log(float64(m.alphasCumprod[low+1]))
	return a + (at-float64(low))*(b-a)
}

// deviation is the noise that belongs to a log(alpha).
func deviation(logAlpha float64) float64 { return math.Sqrt(1 - math.Exp(2*logAlpha)) }

func halfLogSNR(logAlpha float64) float64 { return logAlpha - math.Log(deviation(logAlpha)) }

// timeOf inverts the half log-SNR between half the first time and 1.
func (m *noiseModel) timeOf(lambda float64) float64 {
	low, high := 0.5/trainingSteps, 1.0
	for range 60 {
		mid := (low + high) / 2
		if halfLogSNR(m.logAlpha(mid)) > lambda {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// times returns steps+1 falling times.
func (u *uniPCSolver) times(skipType string, start, end float64, steps int) ([]float64, error) {
	model := u.r.model
	var space, back func(float64) float64
	switch skipType {
	case "time_uniform":
		space = func(t float64) float64 { return t }
		back = space
	case "time_quadratic":
		space = math.Sqrt
		back = func(v float64) float64 { return v * v }
	case "logSNR":
		space = func(t float64) float64 { return halfLogSNR(model.logAlpha(t)) }
		back = model.timeOf
	default:
		return nil, fmt.Errorf("unknown uni_pc_skip_type %q: use time_uniform, time_quadratic or logSNR", skipType)
	}
	times := make([]float64, steps+1)
	from, to := space(start), space(end)
	for i := range times {
		times[i] = back(from + (to-from)*float64(i)/float64(steps))
	}
	return times, nil
}

// predict returns the picture that the model sees in x at a time.
func (u *uniPCSolver) predict(x []float32, time float64) (*uniPCPoint, error) {
	original := make([]float32, len(x))
	timestep := float32((time - 1.0/trainingSteps) * trainingSteps)
	if err := u.r.predict(original, x, max(timestep, 0)); err != nil {
		return nil, err
	}
	logAlpha := u.r.model.logAlpha(time)
	alpha, noise := float32(math.Exp(logAlpha)), float32(deviation(logAlpha))
	for i, eps := range original {
		original[i] = (x[i] - noise*eps) / alpha
	}
	return &uniPCPoint{halfLogSNR(logAlpha), deviation(logAlpha), original}, nil
}

// step moves x to a time with the given order. With correct it evaluates the
// model at the predicted x, corrects x with it and returns the evaluation.
func (u *uniPCSolver) step(time float64, order int, correct bool) (*uniPCPoint, error) {
	r, last := u.r, u.history[0]
	logAlpha := r.model.logAlpha(time)
	alpha, h := math.Exp(logAlpha), halfLogSNR(logAlpha)-last.lambda

	ratios := make([]float64, order) // of the points used, in units of h; 1 is the end
	for i := range order - 1 {
		ratios[i] = (u.history[i+1].lambda - last.lambda) / h
	}
	ratios[order-1] = 1
	predictor, corrector, err := uniPCWeights(u.variant, ratios, -h)
	if err != nil {
		return nil, err
	}

	base := make([]float32, len(r.x))
	mix(base, float32(deviation(logAlpha)/last.deviation), r.x, float32(-alpha*math.Expm1(-h)), last.original)
	move := func(dst []float32, weights []float64, found []float32) {
		copy(dst, base)
		for k, w := range weights {
			point := found
			if k < order-1 {
				point = u.history[k+1].original
			}
			factor := float32(alpha * w / ratios[k])
			for i, p := range point {
				dst[i] -= factor * (p - last.original[i])
			}
		}
	}
	move(r.x, predictor, nil)
	if !correct {
		return nil, nil
	}
	found, err := u.predict(r.x, time)
	if err != nil {
		return nil, err
	}
	move(r.x, corrector, found.original)
	return found, nil
}

// uniPCWeights returns the weights of the differences to the last point, divided
// by their ratios, without the end point (predictor) and with it (corrector). hh
// is the step in -log-SNR.
func uniPCWeights(variant string, ratios []float64, hh float64) (predictor, corrector []float64, err error) {
	switch variant {
	case "bh1":
		predictor, corrector, err = bhWeights(ratios, hh, hh)
	case "bh2":
		predictor, corrector, err = bhWeights(ratios, hh, math.Expm1(hh))
	case "vary_coeff":
		predictor, corrector, err = varyingWeights(ratios, hh)
	default:
		return nil, nil, fmt.Errorf("unknown uni_pc_variant %q: use bh1, bh2 or vary_coeff", variant)
	}
	return predictor, corrector, err
}

// bhWeights solves for the weights with the scale B(h). Order 2 predicts and
// order 1 corrects with the fixed weight 1/2, as the authors do.
func bhWeights(ratios []float64, hh, scale float64) (predictor, corrector []float64, err error) {
	n := len(ratios)
	rows, right := make([][]float64, n), make([]float64, n)
	phi, factorial := math.Expm1(hh)/hh-1, 1.0
	for i := range n {
		rows[i] = make([]float64, n)
		for k, ratio := range ratios {
			rows[i][k] = math.Pow(ratio, float64(i))
		}
		right[i] = phi * factorial / scale
		factorial *= float64(i + 2)
		phi = phi/hh - 1/factorial
	}
	switch n {
	case 1:
		corrector = []float64{0.5}
	case 2:
		predictor = []float64{0.5}
		corrector, err = solve(rows, right)
	default:
		if predictor, err = solve(rows[:n-1], right[:n-1]); err == nil {
			corrector, err = solve(rows, right)
		}
	}
	for _, weights := range [][]float64{predictor, corrector} {
		for k := range weights {
			weights[k] *= scale
		}
	}
	return predictor, corrector, err
}

// varyingWeights sums the terms of the exponential integrator with the inverse of
// the matrix C of its Taylor coefficients. The corrector repeats a slip of the
// authors' code that A1111 has too: the last term takes the row before the last
// of the inverse and nothing else.
func varyingWeights(ratios []float64, hh float64) (predictor, corrector []float64, err error) {
	n := len(ratios)
	phis := make([]float64, n+1)
	phi, factorial := math.Expm1(hh), 1.0
	for k := range phis {
		phis[k] = phi
		phi = phi/hh - 1/factorial
		factorial *= float64(k + 2)
	}
	// Weights w = phi*inverse(C) solve transpose(C)*w = phi.
	if predictor, err = solve(taylorColumns(ratios[:n-1]), phis[1:n]); err != nil {
		return nil, nil, err
	}
	columns := taylorColumns(ratios)
	right := append(append([]float64(nil), phis[1:n]...), 0)
	if corrector, err = solve(columns, right); err != nil {
		return nil, nil, err
	}
	unit := make([]float64, n)
	unit[max(n-2, 0)] = 1
	row, err := solve(columns, unit)
	if err != nil {
		return nil, nil, err
	}
	corrector[n-1] = phis[n] * row[n-1]
	return predictor, corrector, nil
}

// taylorColumns returns the columns ratio^k/(k+1)! of the matrix C.
func taylorColumns(ratios []float64) [][]float64 {
	columns := make([][]float64, len(ratios))
	for k := range columns {
		columns[k] = make([]float64, len(ratios))
		for i, ratio := range ratios {
			if k == 0 {
				columns[k][i] = 1
			} else {
				columns[k][i] = columns[k-1][i] * ratio / float64(k+1)
			}
		}
	}
	return columns
}

// solve returns the solution of a small linear system by Gaussian elimination
// with partial pivoting.
func solve(a [][]float64, b []float64) ([]float64, error) {
	n := len(b)
	m := make([][]float64, n)
	for i := range m {
		m[i] = append(append([]float64(nil), a[i][:n]...), b[i])
	}
	for c := range n {
		pivot := c
		for i := c + 1; i < n; i++ {
			if math.Abs(m[i][c]) > math.Abs(m[pivot][c]) {
				pivot = i
			}
		}
		if m[pivot][c] == 0 {
			return nil, errors.New("UniPC has no step for these times: use another uni_pc_skip_type")
		}
		m[c], m[pivot] = m[pivot], m[c]
		for i := range m {
			if i == c {
				continue
			}
			f := m[i][c] / m[c][c]
			for k := c; k <= n; k++ {
				m[i][k] -= f * m[c][k]
			}
		}
	}
	x := make([]float64, n)
	for i := range x {
		x[i] = m[i][n] / m[i][i]
	}
	return x, nil
}
