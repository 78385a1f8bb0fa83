package sampler

import (
	"fmt"
	"math"
	"slices"
)

// scheduleInput is what a scheduler may use.
type scheduleInput struct {
	model              *noiseModel
	sigmaMin, sigmaMax float64
	rho                float64
	alpha, beta        float64 // of the Beta scheduler
}

// Range of use_old_karras_scheduler_sigmas.
const oldSigmaMin, oldSigmaMax = 0.1, 10

// Sigmas returns the falling sigmas that a sampler walks through, ending with
// 0 (KL Optimal ends with the smallest sigma instead). scheduler is a name or a
// label; see FindScheduler. DDIM, PLMS and UniPC walk timesteps instead.
func Sigmas(info Info, scheduler string, steps int, o Options) ([]float32, error) {
	return buildSchedule(info, modelOf(info, o), scheduler, steps, o)
}

func buildSchedule(info Info, model *noiseModel, scheduler string, steps int, o Options) ([]float32, error) {
	s := resolveScheduler(info, scheduler)
	in := scheduleInput{
		model:    model,
		sigmaMin: float64(model.sigmaMin()),
		sigmaMax: float64(model.sigmaMax()),
		rho:      s.DefaultRho,
		alpha:    o.BetaAlpha,
		beta:     o.BetaBeta,
	}
	if o.OldKarrasSigmas {
		in.sigmaMin, in.sigmaMax = oldSigmaMin, oldSigmaMax
	}
	if o.SigmaMin != 0 {
		in.sigmaMin = o.SigmaMin
	}
	if o.SigmaMax != 0 {
		in.sigmaMax = o.SigmaMax
	}
	if s.HasRho() && o.Rho != 0 {
		in.rho = o.Rho
	}
	discard := info.DiscardNextToLast || o.DiscardNextToLast
	if discard {
		steps++
	}
	sigmas := s.sigmas(in, max(steps, 0))
	if n := len(sigmas); discard && n >= 2 {
		sigmas = append(sigmas[:n-2], sigmas[n-1])
	}
	return sigmas, checkSchedule(s, sigmas)
}

// checkSchedule refuses sigmas that no sampler can walk: an empty range or an
// extreme rho makes some that are not numbers or that rise.
func checkSchedule(s Scheduler, sigmas []float32) error {
	for i, sigma := range sigmas {
		ok := sigma >= 0 && !math.IsInf(float64(sigma), 1)
		if i > 0 {
			ok = ok && sigma <= sigmas[i-1]
		}
		if !ok {
			return fmt.Errorf("the scheduler %s makes no falling noise levels: reset the options sigma_min, sigma_max and rho", s.Label)
		}
	}
	return nil
}

// modelSigmas are the levels of n timesteps spaced evenly over the model, from
// its last level to its first. Range options do not act on it.
func modelSigmas(in scheduleInput, n int) []float32 {
	m := in.model
	last := float32(len(m.sigmas) - 1)
	first := float32(0)
	if m.skip > 1 {
		last, first = m.sigmaToT(m.sigmaMax()), m.sigmaToT(m.sigmaMin())
	}
	return m.levels(linspace(last, first, n))
}

// levels turns timesteps into sigmas and ends them with 0.
func (m *noiseModel) levels(ts []float32) []float32 {
	sigmas := make([]float32, 0, len(ts)+1)
	for _, t := range ts {
		sigmas = append(sigmas, m.tToSigma(t))
	}
	return append(sigmas, 0)
}

// karrasSigmas: Karras et al., "Elucidating the design space of diffusion-based
// generative models" (2022), equation 5.
func karrasSigmas(in scheduleInput, n int) []float32 {
	low := math.Pow(in.sigmaMin, 1/in.rho)
	high := math.Pow(in.sigmaMax, 1/in.rho)
	sigmas := linspace(0, 1, n)
	for i, ramp := range sigmas {
		sigmas[i] = pow(float32(high)+ramp*float32(low-high), in.rho)
	}
	return append(sigmas, 0)
}

func exponentialSigmas(in scheduleInput, n int) []float32 {
	sigmas := linspace(float32(math.Log(in.sigmaMax)), float32(math.Log(in.sigmaMin)), n)
	for i, l := range sigmas {
		sigmas[i] = exp(l)
	}
	return append(sigmas, 0)
}

func polyexponentialSigmas(in scheduleInput, n int) []float32 {
	low, high := math.Log(in.sigmaMin), math.Log(in.sigmaMax)
	sigmas := linspace(1, 0, n)
	for i, ramp := range sigmas {
		sigmas[i] = exp(pow(ramp, in.rho)*float32(high-low) + float32(low))
	}
	return append(sigmas, 0)
}

// sgmUniformSigmas spaces n+1 timesteps evenly and leaves out the last.
func sgmUniformSigmas(in scheduleInput, n int) []float32 {
	start, end := in.timestepRange()
	return in.model.levels(linspace(start, end, n+1)[:n])
}

// normalSigmas spaces n timesteps evenly, the last one at sigmaMin.
func normalSigmas(in scheduleInput, n int) []float32 {
	start, end := in.timestepRange()
	return in.model.levels(linspace(start, end, n))
}

func (in scheduleInput) timestepRange() (start, end float32) {
	return in.model.sigmaToT(float32(in.sigmaMax)), in.model.sigmaToT(float32(in.sigmaMin))
}

// klOptimalSigmas: Sabour et al., "Align your steps" (2024), the closed form for
// Gaussian data. It ends at sigmaMin, not at 0.
func klOptimalSigmas(in scheduleInput, n int) []float32 {
	low, high := float32(math.Atan(in.sigmaMin)), float32(math.Atan(in.sigmaMax))
	sigmas := make([]float32, n+1)
	for i := range sigmas {
		done := float32(1)
		if n > 0 {
			done = float32(i) / float32(n)
		}
		sigmas[i] = float32(math.Tan(float64(done*low + (1-done)*high)))
	}
	return sigmas
}

// alignedSigmas are the optimised levels for Stable Diffusion 1.5 of Sabour et
// al. (2024), falling.
var alignedSigmas = []float64{14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029}

// alignYourStepsSigmas interpolates the logarithms of alignedSigmas. A single
// step starts at the largest level, not, as in A1111, at the smallest.
func alignYourStepsSigmas(_ scheduleInput, n int) []float32 {
	sigmas := make([]float32, n, n+1)
	segments := len(alignedSigmas) - 1
	for i := range sigmas {
		at := 0.0
		if n > 1 {
			at = float64(i) / float64(n-1) * float64(segments)
		}
		low := min(int(at), segments-1)
		a, b := math.Log(alignedSigmas[low]), math.Log(alignedSigmas[low+1])
		sigmas[i] = float32(math.Exp(a + (b-a)*(at-float64(low))))
	}
	return append(sigmas, 0)
}

// simpleSigmas takes every k-th level of the model from the top, k a fraction.
func simpleSigmas(in scheduleInput, n int) []float32 {
	levels := in.model.sigmas
	stride := float64(len(levels)) / float64(n)
	sigmas := make([]float32, n, n+1)
	for i := range sigmas {
		sigmas[i] = levels[len(levels)-1-int(float64(i)*stride)]
	}
	return append(sigmas, 0)
}

// ddimSigmas takes every k-th level of the model from the second one up, k a
// whole number, so there may be more than n.
func ddimSigmas(in scheduleInput, n int) []float32 {
	levels := in.model.sigmas
	stride := max(len(levels)/max(n, 1), 1)
	var sigmas []float32
	for i := 1; i < len(levels); i += stride {
		sigmas = append(sigmas, levels[i])
	}
	slices.Reverse(sigmas)
	return append(sigmas, 0)
}

// betaSigmas places the levels at even quantiles of a beta distribution: Lee et
// al., "Beta sampling is all you need" (2024).
func betaSigmas(in scheduleInput, n int) []float32 {
	sigmas := make([]float32, n, n+1)
	for i := range sigmas {
		p := 1.0
		if n > 1 {
			p = 1 - float64(i)/float64(n-1)
		}
		q := betaQuantile(p, in.alpha, in.beta)
		sigmas[i] = float32(in.sigmaMin + q*(in.sigmaMax-in.sigmaMin))
	}
	return append(sigmas, 0)
}

// evenTimesteps lists the training timesteps of the DDIM family, ascending:
// every k-th one with k = 1000/steps, so there may be more than steps.
func evenTimesteps(steps int, o Options) []int {
	if o.DiscardNextToLast {
		steps++
	}
	var ts []int
	for t := 0; t < trainingSteps && steps > 0; t += max(trainingSteps/steps, 1) {
		ts = append(ts, min(t+1, trainingSteps-1))
	}
	return ts
}
