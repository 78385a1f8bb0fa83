package sampler_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

type loopCase struct {
	ID, Sampler, Error string
	Sigmas             []float64
	SigmaMin           float64 `json:"sigma_min"`
	SigmaMax           float64 `json:"sigma_max"`
	N                  int
	Timesteps          []int
	Img2Img            *struct {
		Init          int
		NoiseTimestep int `json:"noise_timestep"`
	}
	Options map[string]any
	XInit   struct {
		Unit     int
		Scale    float64
		PlusInit *int `json:"plus_init"`
	} `json:"x_init"`
	NoiseStart   int         `json:"noise_start"`
	NoiseDraws   int         `json:"noise_draws"`
	NoiseArgs    []float64   `json:"noise_sampler_args"`
	ModelSigmas  []float64   `json:"model_sigmas"`
	ModelSteps   []float64   `json:"model_timesteps"`
	XAtStep      [][]float64 `json:"x_at_step"`
	XAfterStep   [][]float64 `json:"x_after_step"`
	Final        []float64
	FinalFloat32 []float64 `json:"final_float32"`
	MaxDiff      float64   `json:"float32_max_abs_diff"`
}

func (tc loopCase) options(t *testing.T) (o sampler.Options, lmsOrder int) {
	o = sampler.DefaultOptions()
	if tc.Sampler == "DPM fast" || tc.Sampler == "DPM adaptive" {
		o.Eta = 0 // the library's default there
	}
	for key, value := range tc.Options {
		number, _ := value.(float64)
		switch key {
		case "eta":
			o.Eta, o.EtaDDIM, o.EtaTCD = number, number, number
		case "solver_type", "is_img2img": // told by the sampler and the job
		case "order":
			lmsOrder = int(number)
		default:
			setOption(t, &o, key, value)
		}
	}
	return o, lmsOrder
}

func TestLoops(t *testing.T) {
	in := loadInputs(t)
	for _, name := range []string{"numeric/samplers.json", "numeric/samplers_timesteps.json", "numeric/tcd.json"} {
		var file struct{ Cases []loopCase }
		vectors.Load(t, name, &file)
		require.NotEmpty(t, file.Cases)
		for _, tc := range file.Cases {
			t.Run(tc.ID, func(t *testing.T) { checkLoop(t, in, tc) })
		}
	}
}

func checkLoop(t *testing.T, in inputs, tc loopCase) {
	l := &sampler.Loop{
		X:         make([]float32, len(in.m)),
		Sigmas:    toFloat32(tc.Sigmas),
		Timesteps: tc.Timesteps,
		SigmaMin:  float32(tc.SigmaMin),
		SigmaMax:  float32(tc.SigmaMax),
		Count:     tc.N,
	}
	if tc.Sampler == "TCD" {
		require.Equal(t, tc.Timesteps, sampler.TCDTimesteps(len(tc.Timesteps)))
	}
	if tc.Sigmas == nil {
		l.Sigmas = []float32{float32(tc.SigmaMax), float32(tc.SigmaMin), 0}
	}
	l.Options, l.LMSOrder = tc.options(t)
	for k, v := range in.unit[tc.XInit.Unit] {
		l.X[k] = v * float32(tc.XInit.Scale)
		if tc.XInit.PlusInit != nil {
			l.X[k] += in.init[*tc.XInit.PlusInit][k]
		}
	}
	if tc.Img2Img != nil {
		l.Img2Img = true
		info, err := sampler.Find(tc.Sampler)
		require.NoError(t, err)
		a := float64(sampler.ModelOf(info, l.Options).AlphasCumprod()[tc.Img2Img.NoiseTimestep])
		for k, v := range in.unit[tc.XInit.Unit] {
			l.X[k] = float32(float64(in.init[tc.Img2Img.Init][k])*math.Sqrt(a) + float64(v)*math.Sqrt(1-a))
		}
	}

	var levels, noiseArgs []float64
	l.Predict = func(dst, x []float32, level float32) error {
		levels = append(levels, float64(level))
		if tc.Timesteps != nil {
			in.eps(dst, append([]float32(nil), x...), float64(level), 1)
		} else {
			in.denoise(dst, append([]float32(nil), x...), level)
		}
		return nil
	}
	draws := 0
	l.Noise = func(dst []float32, sigma, next float32) {
		copy(dst, in.noise[(tc.NoiseStart+draws)%len(in.noise)])
		noiseArgs = append(noiseArgs, float64(sigma), float64(next))
		draws++
	}
	tolerance := max(1e-5, 10*tc.MaxDiff)
	if tc.Sampler == "DPM adaptive" {
		tolerance = 2e-3
	}
	steps := 0
	l.Report = func(step int, x []float32) {
		require.Equal(t, steps, step)
		if step < len(tc.XAtStep) {
			requireNear(t, tc.XAtStep[step], x, 20*tolerance, "state before the update")
		}
		if step < len(tc.XAfterStep) {
			requireNear(t, tc.XAfterStep[step], x, tolerance, "state after the update")
		}
		steps++
	}

	got, err := l.Run(tc.Sampler)
	require.NoError(t, err)
	if tc.Error != "" {
		requireFinite(t, got)
		return
	}
	want := tc.FinalFloat32
	if want == nil {
		want = tc.Final
	}
	requireNear(t, want, got, tolerance, "result")
	require.Equal(t, max(len(tc.XAtStep), len(tc.XAfterStep)), steps)
	wantLevels := tc.ModelSigmas
	if tc.Timesteps != nil {
		wantLevels = tc.ModelSteps
	}
	require.Len(t, levels, len(wantLevels))
	for i, w := range wantLevels {
		require.InDelta(t, w, levels[i], max(1e-4, tolerance)*max(1, w), "level of call %d", i)
	}
	// Draws that change nothing may be left out, but not moved.
	require.LessOrEqual(t, draws, tc.NoiseDraws)
	if draws > 0 && tc.NoiseArgs != nil {
		require.InDeltaSlice(t, tc.NoiseArgs, noiseArgs, 1e-4)
	}
}

func requireFinite(t *testing.T, x []float32) {
	t.Helper()
	for i, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			t.Fatalf("value %d is %v", i, v)
		}
	}
}
