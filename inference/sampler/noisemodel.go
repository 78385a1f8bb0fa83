package sampler

import (
	"math"
	"sync"
)

// trainingSteps is the number of timesteps a Stable Diffusion model learnt.
const trainingSteps = 1000

// noiseModel relates the training timesteps of a checkpoint to noise levels.
// Tables are read-only after construction.
type noiseModel struct {
	alphasCumprod []float32 // share of signal power at each timestep
	sigmas        []float32 // sqrt((1-a)/a), ascending
	logSigmas     []float32
	quantize      bool // timesteps are rounded to the nearest level
	skip          int  // timesteps between two levels, 1 or lcmSkip
}

// lcmLevels is the number of timesteps that latent consistency models are
// distilled for.
const (
	lcmLevels = 50
	lcmSkip   = trainingSteps / lcmLevels
)

// modelOf returns the noise levels of Stable Diffusion 1.x as a sampler sees
// them.
func modelOf(info Info, o Options) *noiseModel {
	alphas := sd15Alphas()
	round := func(x float32) float32 { return x }
	switch {
	case o.ZeroTerminalSNR:
		rescaleTerminalSNR(alphas)
	case o.DowncastAlphas:
		round = roundHalf
	}
	if info.family == latentConsistency {
		for i := range lcmLevels {
			alphas[i] = alphas[(i+1)*lcmSkip-1]
		}
		return newNoiseModel(alphas[:lcmLevels], lcmSkip, round)
	}
	m := newNoiseModel(alphas, 1, round)
	m.quantize = o.Quantize
	return m
}

// rescaleTerminalSNR shifts and scales the square roots of the alphas so that
// the last timestep is (almost) pure noise: Lin et al., "Common diffusion noise
// schedules and sample steps are flawed" (2023), algorithm 1.
func rescaleTerminalSNR(alphas []float32) {
	const last = 4.8973451890853435e-08 // A1111's stand-in for 0
	first, end := sqrt(alphas[0]), sqrt(alphas[len(alphas)-1])
	factor := first / (first - end)
	for i, a := range alphas {
		root := (sqrt(a) - end) * factor
		alphas[i] = root * root
	}
	alphas[len(alphas)-1] = last
}

// sd15Alphas computes the cumulative product of 1-beta, where the square roots
// of beta run evenly from sqrt(0.00085) to sqrt(0.012) (linear_start, linear_end
// of v1-inference.yaml), in float64 as the LDM code does.
func sd15Alphas() []float32 {
	start, end := math.Sqrt(0.00085), math.Sqrt(0.012)
	step := (end - start) / (trainingSteps - 1)
	alphas := make([]float32, trainingSteps)
	product := 1.0
	for i := range alphas {
		root := start + step*float64(i)
		if i >= trainingSteps/2 {
			root = end - step*float64(trainingSteps-1-i)
		}
		product *= 1 - root*root
		alphas[i] = float32(product)
	}
	return alphas
}

// SignalPower is the share of signal power at a training timestep, rounded to a whole
// one, of Stable Diffusion 1.x checkpoints.
func SignalPower(timestep float32) float64 {
	i := min(max(int(math.RoundToEven(float64(timestep))), 0), trainingSteps-1)
	return float64(sd15Powers()[i])
}

var sd15Powers = sync.OnceValue(sd15Alphas)

// newNoiseModel derives the noise levels; round is applied after each operation.
func newNoiseModel(alphasCumprod []float32, skip int, round func(float32) float32) *noiseModel {
	m := &noiseModel{
		alphasCumprod: alphasCumprod,
		sigmas:        make([]float32, len(alphasCumprod)),
		logSigmas:     make([]float32, len(alphasCumprod)),
		skip:          skip,
	}
	for i := range alphasCumprod {
		a := round(alphasCumprod[i])
		alphasCumprod[i] = a
		m.sigmas[i] = round(sqrt(round(round(1-a) / a)))
		m.logSigmas[i] = round(log(m.sigmas[i]))
	}
	return m
}

func (m *noiseModel) sigmaMin() float32 { return m.sigmas[0] }
func (m *noiseModel) sigmaMax() float32 { return m.sigmas[len(m.sigmas)-1] }

// sigmaToT returns the timestep of a noise level, interpolated between the
// logarithms of the levels, or of the nearest level when the model is quantized
// or an LCM.
func (m *noiseModel) sigmaToT(sigma float32) float32 {
	s := log(sigma)
	if m.quantize || m.skip > 1 {
		return float32(m.nearest(s)*m.skip + m.skip - 1)
	}
	low := 0
	for low < len(m.logSigmas)-2 && s >= m.logSigmas[low+1] {
		low++
	}
	a, b := m.logSigmas[low], m.logSigmas[low+1]
	w := min(max((a-s)/(a-b), 0), 1)
	return (1-w)*float32(low) + w*float32(low+1)
}

func (m *noiseModel) nearest(logSigma float32) int {
	best, distance := 0, float32(math.Inf(1))
	for i, l := range m.logSigmas {
		d := logSigma - l
		if d < 0 {
			d = -d
		}
		if d < distance {
			best, distance = i, d
		}
	}
	return best
}

// tToSigma returns the noise level of a timestep, fractions allowed.
func (m *noiseModel) tToSigma(t float32) float32 {
	if m.skip > 1 {
		t = (t - float32(m.skip-1)) / float32(m.skip)
	}
	t = min(max(t, 0), float32(len(m.sigmas)-1))
	low, high := int(math.Floor(float64(t))), int(math.Ceil(float64(t)))
	w := t - float32(low)
	return exp((1-w)*m.logSigmas[low] + w*m.logSigmas[high])
}
