package sampler_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

// forwardCase is one call of the whole denoiser, with or without a mask.
type forwardCase struct {
	Kind, ID, Denoiser string
	X                  []float64
	Level              float64 `json:"sigma_or_t"`
	Step               int
	Cond               [][]part
	Uncond             [][][2]float64
	CondScale          float64 `json:"cond_scale"`
	SMinUncond         float64 `json:"s_min_uncond"`
	Options            map[string]any
	NMask              []float64
	Init               *int
	UNetBatch          int     `json:"unet_batch"`
	UNetT              float64 `json:"unet_t"`
	Result             []float64
}

// samplerOf names a sampler with the denoiser of a case.
var samplerOf = map[string]string{"k-diffusion": "Euler", "timesteps": "DDIM", "lcm": "LCM"}

func TestGuidance(t *testing.T) {
	in := loadInputs(t)
	for _, name := range []string{"numeric/cfg.json", "numeric/inpaint.json"} {
		// The kinds of these files share names for keys of different types.
		var kinds struct {
			Cases []struct{ Kind, ID string }
		}
		vectors.Load(t, name, &kinds)
		raw := rawCases(t, name)
		require.NotEmpty(t, kinds.Cases)
		for i, tc := range kinds.Cases {
			check := map[string]func(*testing.T){
				"combine":   func(t *testing.T) { checkCombine(t, decode[combineCase](t, raw[i])) },
				"skip_rule": func(t *testing.T) { checkSkipRule(t, decode[skipCase](t, raw[i])) },
				"forward":   func(t *testing.T) { checkForward(t, in, decode[forwardCase](t, raw[i])) },
			}[tc.Kind]
			if check == nil {
				require.Equal(t, "numeric/inpaint.json", name, "unknown kind %q", tc.Kind)
				continue // masks and fills belong to package latent
			}
			t.Run(tc.ID, check)
		}
	}
}

type combineCase struct {
	ModelOutputs [][]float64    `json:"model_outputs"`
	Conds        [][][2]float64 // [row, weight] for each part of each image
	UncondFirst  int            `json:"uncond_first"`
	CondScale    float64        `json:"cond_scale"`
	Result       [][]float64
}

type skipCase struct {
	Rows []struct {
		Step       int
		Level      float32 `json:"sigma_or_t"`
		SMinUncond float64 `json:"s_min_uncond"`
		Skipped    bool    `json:"uncond_skipped"`
	}
}

func checkCombine(t *testing.T, tc combineCase) {
	out := flatten(tc.ModelOutputs...)
	want := flatten(tc.Result...)
	got := make([]float32, len(want))
	sampler.Guide(got, toFloat32(out), len(tc.ModelOutputs[0]), tc.Conds, tc.UncondFirst, tc.CondScale)
	requireRelative(t, want, got)
}

func checkSkipRule(t *testing.T, tc skipCase) {
	require.NotEmpty(t, tc.Rows)
	for _, row := range tc.Rows {
		require.Equal(t, row.Skipped, sampler.SkipsNegative(row.Step, row.Level, row.SMinUncond), "%+v", row)
	}
}

func checkForward(t *testing.T, in inputs, tc forwardCase) {
	var c conditions
	var log unetLog
	require.Contains(t, samplerOf, tc.Denoiser)
	job := &sampler.Job{
		Sampler:   samplerOf[tc.Denoiser],
		CFGScale:  tc.CondScale,
		Prompts:   c.prompts(tc.Cond),
		Negatives: c.negatives(tc.Uncond),
		RNG:       rng.NewImageRNG(rng.ImageConfig{Shape: latentShape, Seeds: make([]int64, len(tc.Cond))}),
		UNet:      in.unet(&c, &log),
		Options:   sampler.DefaultOptions(),
	}
	for key, value := range tc.Options {
		setOption(t, &job.Options, key, value)
	}
	job.Options.SMinUncond = tc.SMinUncond
	if tc.NMask != nil {
		job.Img2Img = &sampler.Img2Img{Latent: in.init[*tc.Init], Mask: toFloat32(tc.NMask)}
	}
	got, err := sampler.Forward(job, tc.Step, toFloat32(tc.X), float32(tc.Level))
	require.NoError(t, err)
	require.Equal(t, []int{tc.UNetBatch}, log.batch)
	require.InDelta(t, tc.UNetT, log.t[0], 1e-3)
	requireRelative(t, tc.Result, got)
}

// requireRelative compares with a tolerance relative to the largest number.
func requireRelative(t *testing.T, want []float64, got []float32) {
	t.Helper()
	largest := 0.0
	for _, v := range want {
		largest = max(largest, v, -v)
	}
	requireNear(t, want, got, 1e-5*largest, "result")
}

func flatten(lists ...[]float64) []float64 {
	var out []float64
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
