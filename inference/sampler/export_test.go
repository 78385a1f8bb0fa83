package sampler

import (
	"context"
	"errors"
)

// Inner parts that the reference vectors describe.

// Model is a table of noise levels.
type Model struct{ m *noiseModel }

func ModelOf(info Info, o Options) Model       { return Model{modelOf(info, o)} }
func (m Model) AlphasCumprod() []float32       { return m.m.alphasCumprod }
func (m Model) Levels() []float32              { return m.m.sigmas }
func (m Model) LogLevels() []float32           { return m.m.logSigmas }
func (m Model) SigmaToT(sigma float32) float32 { return m.m.sigmaToT(sigma) }
func (m Model) TToSigma(t float32) float32     { return m.m.tToSigma(t) }

var (
	EvenTimesteps = evenTimesteps
	TCDTimesteps  = tcdTimesteps
	BetaQuantile  = betaQuantile
	SkipsNegative = skipsNegative
	SampleOnly    = sample // Sample without the last mask blend
)

// Resolve returns the scheduler that a request field leads to.
func Resolve(info Info, nameOrLabel string) Scheduler { return resolveScheduler(info, nameOrLabel) }

// Tail is the part of a schedule that an img2img run walks.
func Tail(sigmas []float32, plan Img2ImgSteps) []float32 { return tail(sigmas, plan.FirstSigma()) }

// Loop runs a bare sampler loop.
type Loop struct {
	X                  []float32
	Sigmas             []float32
	Timesteps          []int
	Img2Img            bool
	SigmaMin, SigmaMax float32
	Count              int
	LMSOrder           int
	Options            Options

	Predict func(dst, x []float32, level float32) error
	Noise   func(dst []float32, sigma, next float32)
	Report  func(step int, x []float32)
}

func (l *Loop) Run(name string) ([]float32, error) {
	info, err := Find(name)
	if err != nil {
		return nil, err
	}
	r := &run{
		x: l.X, sigmas: l.Sigmas, timesteps: l.Timesteps, img2img: l.Img2Img,
		sigmaMin: l.SigmaMin, sigmaMax: l.SigmaMax, count: l.Count,
		model: modelOf(info, l.Options), options: l.Options, predict: l.Predict, noise: l.Noise,
		prepareNoise: func(_, _ float32) {},
	}
	r.report = func(step int) { l.Report(step, r.x) }
	if l.LMSOrder != 0 {
		err = linearMultistep(r, l.LMSOrder)
	} else {
		err = info.loop(r)
	}
	return r.x, err
}

// Guide combines model outputs; conds lists [row, weight] pairs for each image.
func Guide(dst []float32, out []float32, size int, conds [][][2]float64, negativeRow int, scale float64) {
	var parts [][]weighted
	for _, image := range conds {
		var list []weighted
		for _, c := range image {
			list = append(list, weighted{row: int(c[0]), weight: c[1]})
		}
		parts = append(parts, list)
	}
	guide(dst, out, size, parts, out[negativeRow*size:], scale)
}

// Forward makes one guided prediction as UNet call number call.
func Forward(job *Job, call int, x []float32, level float32) ([]float32, error) {
	if job.RNG == nil {
		return nil, errors.New("no shape")
	}
	info, err := Find(job.Sampler)
	if err != nil {
		return nil, err
	}
	d := newDenoiser(job, info)
	d.batch.Call = call
	dst := make([]float32, len(x))
	return dst, d.predict(context.Background(), dst, x, level)
}
