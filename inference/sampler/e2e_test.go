package sampler_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/latent"
	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

type e2eCase struct {
	ID, Sampler, Error, Note string
	Steps                    int
	Seeds                    []int64
	Source                   string  `json:"randn_source"`
	CFGScale                 float64 `json:"cfg_scale"`
	Scheduler                *string
	Cond                     [][]part
	Uncond                   [][][2]float64
	Job, Options             map[string]any
	Subseeds                 []int64
	SubseedStrength          float64 `json:"subseed_strength"`
	Img2Img                  *struct {
		Init            []int
		Strength        float64  `json:"denoising_strength"`
		ExplicitSteps   int      `json:"explicit_steps"`
		NoiseMultiplier *float64 `json:"initial_noise_multiplier"`
	}
	NMask []float64

	Noise         []float64
	UNetBatch     []int     `json:"unet_batch"`
	UNetT         []float64 `json:"unet_t"`
	SamplerResult []float64 `json:"sampler_result"`
	Final         []float64
	Float64Diff   *float64 `json:"float64_latents_max_abs_diff"`
}

// job builds the job of a case, without its UNet.
func (tc e2eCase) job(t *testing.T, in inputs, c *conditions) *sampler.Job {
	src, err := rng.ParseSource(tc.Source)
	require.NoError(t, err)
	cfg := rng.ImageConfig{
		Source: src, Shape: latentShape,
		Seeds: tc.Seeds, Subseeds: tc.Subseeds, SubseedStrength: tc.SubseedStrength,
	}
	job := &sampler.Job{
		Sampler:   tc.Sampler,
		Steps:     tc.Steps,
		CFGScale:  tc.CFGScale,
		Prompts:   c.prompts(tc.Cond),
		Negatives: c.negatives(tc.Uncond),
		Options:   sampler.DefaultOptions(),
	}
	if tc.Scheduler != nil {
		job.Scheduler = *tc.Scheduler
	}
	for _, settings := range []map[string]any{tc.Job, tc.Options} {
		for key, value := range settings {
			if key == "eta_noise_seed_delta" {
				cfg.SeedDelta = int64(value.(float64))
				continue
			}
			setOption(t, &job.Options, key, value)
		}
	}
	job.RNG = rng.NewImageRNG(cfg)
	if i := tc.Img2Img; i != nil {
		job.Img2Img = &sampler.Img2Img{Strength: i.Strength, Steps: i.ExplicitSteps, NoiseMultiplier: 1}
		for _, k := range i.Init {
			job.Img2Img.Latent = append(job.Img2Img.Latent, in.init[k]...)
		}
		if i.NoiseMultiplier != nil {
			job.Img2Img.NoiseMultiplier = *i.NoiseMultiplier
		}
		if tc.NMask != nil {
			job.Img2Img.Mask = toFloat32(tc.NMask)
		}
	}
	return job
}

func (tc e2eCase) tolerance() float64 {
	tolerance := 2e-4
	if tc.Float64Diff != nil {
		tolerance = max(tolerance, 20**tc.Float64Diff)
	}
	info, _ := sampler.Find(tc.Sampler)
	if info.BrownianNoise || tc.Sampler == "DPM adaptive" {
		tolerance = max(tolerance, 2e-3)
	}
	return tolerance
}

func TestWholeJobs(t *testing.T) {
	in := loadInputs(t)
	var file struct{ Cases []e2eCase }
	vectors.Load(t, "numeric/e2e.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, tc := range file.Cases {
		t.Run(tc.ID, func(t *testing.T) { checkJob(t, in, tc) })
	}
}

func checkJob(t *testing.T, in inputs, tc e2eCase) {
	var c conditions
	var log unetLog
	job := tc.job(t, in, &c)
	job.UNet = in.unet(&c, &log)

	if tc.Noise != nil {
		start := make([]float32, job.RNG.Len())
		rng.NewImageRNG(job.RNG.Config()).Next(start)
		requireNear(t, tc.Noise, start, 1e-5, "start noise")
	}
	got, err := sampler.SampleOnly(t.Context(), job)
	require.NoError(t, err)
	if tc.Error != "" { // A1111 fails; ours must be sensible
		requireFinite(t, got)
		return
	}
	if strings.Contains(tc.Note, "Informational") {
		requireFinite(t, got)
		return
	}
	require.Equal(t, tc.UNetBatch, nonNil(log.batch))
	timestepTolerance := 2e-3
	if tc.Sampler == "DPM adaptive" {
		timestepTolerance = 2e-2 // its step sizes amplify rounding
	}
	require.InDeltaSlice(t, tc.UNetT, nonNil(log.t), timestepTolerance)
	tolerance := tc.tolerance()
	if tc.SamplerResult != nil {
		requireNear(t, tc.SamplerResult, got, tolerance, "result before the last blend")
	}
	if job.Img2Img != nil && job.Img2Img.Mask != nil {
		latent.Blend(got, job.Img2Img.Latent, job.Img2Img.Mask)
	}
	requireNear(t, tc.Final, got, tolerance, "result")

	job = tc.job(t, in, &c)
	job.UNet = in.unet(&c, nil)
	whole, err := sampler.Sample(t.Context(), job)
	require.NoError(t, err)
	require.Equal(t, got, whole)
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
