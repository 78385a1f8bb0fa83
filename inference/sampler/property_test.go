package sampler_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/inference/rng"
	"sdworker/inference/sampler"
)

// smallShape keeps the runs over all combinations short.
var smallShape = rng.Shape{C: 1, H: 1, W: 2}

// simpleJob is a job on the analytic model.
func simpleJob(in inputs, name, scheduler string, steps int, shape rng.Shape, seeds ...int64) *sampler.Job {
	var c conditions
	job := &sampler.Job{
		Sampler: name, Scheduler: scheduler, Steps: steps, CFGScale: 7,
		RNG:     rng.NewImageRNG(rng.ImageConfig{Source: rng.NV, Shape: shape, Seeds: seeds}),
		Options: sampler.DefaultOptions(),
	}
	for range seeds {
		job.Prompts = append(job.Prompts, []sampler.Part{{Weight: 1, Schedule: c.schedule([][2]float64{{1e6, 1}})}})
		job.Negatives = append(job.Negatives, c.schedule([][2]float64{{1e6, -0.5}}))
	}
	job.UNet = in.unet(&c, nil)
	return job
}

// schedulerNames are all labels, and the plain model sigmas.
func schedulerNames() []string {
	names := []string{"automatic"}
	for _, s := range sampler.Schedulers() {
		names = append(names, s.Label)
	}
	return names
}

// Every step count of A1111's page and every scheduler, with each of the rules
// that samplers have for sigmas: plain, without the last but one, and of LCM.
func TestSigmasFallForAllSteps(t *testing.T) {
	for _, name := range []string{"Euler", "DPM2", "LCM"} {
		info, err := sampler.Find(name)
		require.NoError(t, err)
		for _, scheduler := range schedulerNames() {
			for steps := 1; steps <= 150; steps++ {
				sigmas, err := sampler.Sigmas(info, scheduler, steps, sampler.DefaultOptions())
				require.NoError(t, err, "%s, %s, %d steps", name, scheduler, steps)
				// The 50 levels of LCM end the DDIM schedule early.
				require.Greater(t, len(sigmas), min(steps, 49))
				for i, s := range sigmas[1:] {
					if !(s >= 0 && s <= sigmas[i]) {
						t.Fatalf("%s, %s, %d steps: %v after %v", name, scheduler, steps, s, sigmas[i])
					}
				}
			}
		}
	}
}

func TestEverySamplerFinishesWithEverySchedulerAndStepCount(t *testing.T) {
	in := loadInputs(t)
	counts := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 19, 20, 21, 35, 36, 37, 50, 99, 100, 101, 149, 150}
	if testing.Short() {
		counts = []int{1, 2, 3, 20, 36, 150}
	}
	for _, info := range sampler.All() {
		t.Run(info.Name, func(t *testing.T) {
			for _, scheduler := range schedulerNames() {
				for _, steps := range counts {
					got, err := sampler.Sample(t.Context(), simpleJob(in, info.Name, scheduler, steps, smallShape, 1))
					require.NoError(t, err, "%s, %d steps", scheduler, steps)
					requireSane(t, got, fmt.Sprintf("%s, %d steps", scheduler, steps))
				}
			}
		})
	}
}

// requireSane wants finite values of a latent's size, not of noise at sigma 14.
func requireSane(t require.TestingT, got []float32, what string) {
	for _, v := range got {
		if !(math.Abs(float64(v)) < 60) {
			require.Failf(t, "not a latent", "%s: %v", what, v)
		}
	}
}

func drawOptions(t *rapid.T) sampler.Options {
	o := sampler.DefaultOptions()
	o.Eta = rapid.SampledFrom([]float64{0, 0.3, 1}).Draw(t, "eta")
	o.EtaDDIM = rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "eta ddim")
	o.EtaTCD = rapid.SampledFrom([]float64{0, 0.3, 1}).Draw(t, "eta tcd")
	o.StepCache = rapid.SampledFrom([]float64{0, 0, 0.05, 0.5}).Draw(t, "step cache")
	o.SChurn = rapid.SampledFrom([]float64{0, 1, 100}).Draw(t, "s_churn")
	o.STmin = rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "s_tmin")
	o.STmax = rapid.SampledFrom([]float64{0, 3}).Draw(t, "s_tmax")
	o.SMinUncond = rapid.SampledFrom([]float64{0, 2}).Draw(t, "s_min_uncond")
	o.Quantize = rapid.Bool().Draw(t, "quantize")
	o.DiscardNextToLast = rapid.Bool().Draw(t, "discard")
	o.SGMNoiseMultiplier = rapid.Bool().Draw(t, "sgm noise")
	o.FixSteps = rapid.Bool().Draw(t, "fix steps")
	o.OldKarrasSigmas = rapid.Bool().Draw(t, "old sigmas")
	o.ZeroTerminalSNR = rapid.Bool().Draw(t, "zero terminal snr")
	o.DowncastAlphas = rapid.Bool().Draw(t, "downcast alphas")
	o.ExtraNoise = rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "extra noise")
	o.UniPC.Variant = rapid.SampledFrom([]string{"bh1", "bh2", "vary_coeff"}).Draw(t, "variant")
	o.UniPC.SkipType = rapid.SampledFrom([]string{"time_uniform", "time_quadratic", "logSNR"}).Draw(t, "skip type")
	o.UniPC.Order = rapid.IntRange(1, 4).Draw(t, "order")
	o.UniPC.LowerOrderFinal = rapid.Bool().Draw(t, "lower order")
	return o
}

// drawJob returns how to make one drawn job for any seeds and init latents.
func drawJob(t *rapid.T, in inputs) func(seeds []int64, init []float32) *sampler.Job {
	var names []string
	for _, info := range sampler.All() {
		names = append(names, info.Name)
	}
	name := rapid.SampledFrom(names).Draw(t, "sampler")
	scheduler := rapid.SampledFrom(schedulerNames()).Draw(t, "scheduler")
	steps := rapid.IntRange(1, 40).Draw(t, "steps")
	options := drawOptions(t)
	fromPicture := rapid.Bool().Draw(t, "img2img")
	img := sampler.Img2Img{
		Strength:        rapid.SampledFrom([]float64{0, 0.05, 0.3, 0.75, 1}).Draw(t, "strength"),
		Steps:           rapid.SampledFrom([]int{0, 0, 1, 7}).Draw(t, "explicit steps"),
		NoiseMultiplier: 1,
	}
	if rapid.Bool().Draw(t, "mask") {
		img.Mask = []float32{1, 0.25}
	}
	return func(seeds []int64, init []float32) *sampler.Job {
		job := simpleJob(in, name, scheduler, steps, smallShape, seeds...)
		job.Options = options
		if fromPicture {
			start := img
			start.Latent = init
			job.Img2Img = &start
		}
		return job
	}
}

func TestAnyOptionsGiveFiniteLatents(t *testing.T) {
	in := loadInputs(t)
	rapid.Check(t, func(t *rapid.T) {
		seeds := []int64{rapid.Int64Range(0, 1<<40).Draw(t, "seed")}
		got, err := sampler.Sample(context.Background(), drawJob(t, in)(seeds, in.init[0][:smallShape.Len()]))
		require.NoError(t, err)
		for _, v := range got {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				t.Fatalf("result %v", got)
			}
		}
	})
}

// An image must not depend on its batch mates. DPM adaptive measures its error
// over the batch, as in A1111.
func TestAnImageIsTheSameAloneAndInABatch(t *testing.T) {
	in := loadInputs(t)
	rapid.Check(t, func(t *rapid.T) {
		seeds := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 2, 3).Draw(t, "seeds")
		jobOf := drawJob(t, in)
		size := smallShape.Len()
		init := in.init[0][:len(seeds)*size]
		batch := jobOf(seeds, init)
		if batch.Sampler == "DPM adaptive" {
			return
		}
		all, err := sampler.Sample(context.Background(), batch)
		require.NoError(t, err)
		for i := range seeds {
			alone, err := sampler.Sample(context.Background(), jobOf(seeds[i:i+1], init[i*size:(i+1)*size]))
			require.NoError(t, err)
			require.Equal(t, alone, all[i*size:(i+1)*size], "image %d", i)
		}
	})
}

func TestStepsAreReportedInOrder(t *testing.T) {
	in := loadInputs(t)
	for _, info := range sampler.All() {
		t.Run(info.Name, func(t *testing.T) {
			const steps = 12
			job := simpleJob(in, info.Name, "", steps, smallShape, 1)
			next := 0
			job.OnStep = func(step, total int, predicted []float32) {
				require.Equal(t, next, step)
				require.Equal(t, steps, total)
				require.Len(t, predicted, job.RNG.Len())
				requireSane(t, predicted, "prediction")
				next++
			}
			_, err := sampler.Sample(t.Context(), job)
			require.NoError(t, err)
			require.Positive(t, next)
		})
	}
}

func TestStopReturnsTheLastPrediction(t *testing.T) {
	in := loadInputs(t)
	for _, info := range sampler.All() {
		t.Run(info.Name, func(t *testing.T) {
			for _, after := range []int{0, 1, 5} {
				job := simpleJob(in, info.Name, "", 12, smallShape, 1)
				unet, calls := job.UNet, 0
				job.UNet = func(ctx context.Context, b *sampler.Batch) ([]float32, error) {
					require.Equal(t, calls, b.Call)
					calls++
					return unet(ctx, b)
				}
				job.Stop = func() bool { return calls == after }
				got, err := sampler.Sample(t.Context(), job)
				require.NoError(t, err)
				require.Equal(t, after, calls)
				require.Len(t, got, job.RNG.Len())
				if after > 0 {
					requireSane(t, got, "stopped result")
				}
			}
		})
	}
}

func TestCancelledContextEndsBeforeTheNextCall(t *testing.T) {
	in := loadInputs(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	job := simpleJob(in, "Heun", "", 12, smallShape, 1)
	unet, calls := job.UNet, 0
	job.UNet = func(ctx context.Context, b *sampler.Batch) ([]float32, error) {
		if calls++; calls == 4 {
			cancel()
		}
		return unet(ctx, b)
	}
	_, err := sampler.Sample(ctx, job)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 4, calls)
}

func TestUNetErrorsComeThrough(t *testing.T) {
	in := loadInputs(t)
	broken := errors.New("broken")
	job := simpleJob(in, "DPM++ 2M", "", 5, smallShape, 1)
	job.UNet = func(context.Context, *sampler.Batch) ([]float32, error) { return nil, broken }
	_, err := sampler.Sample(t.Context(), job)
	require.ErrorIs(t, err, broken)
}

func TestNaNFromTheUNetIsAnError(t *testing.T) {
	in := loadInputs(t)
	for _, info := range sampler.All() {
		job := simpleJob(in, info.Name, "", 5, smallShape, 1)
		job.UNet = func(_ context.Context, b *sampler.Batch) ([]float32, error) {
			out := make([]float32, len(b.X))
			for i := range out {
				out[i] = float32(math.NaN())
			}
			return out, nil
		}
		_, err := sampler.Sample(t.Context(), job)
		require.ErrorIs(t, err, sampler.ErrNaN, info.Name)
	}
}

// A model that predicts v must lead to the same picture as one that predicts eps.
func TestVelocityPredictionEqualsEpsilon(t *testing.T) {
	in := loadInputs(t)
	for _, name := range []string{"Euler", "DPM++ 2M", "DDIM", "UniPC"} {
		t.Run(name, func(t *testing.T) {
			want, err := sampler.Sample(t.Context(), simpleJob(in, name, "", 10, smallShape, 1))
			require.NoError(t, err)
			job := simpleJob(in, name, "", 10, smallShape, 1)
			info, err := sampler.Find(name)
			require.NoError(t, err)
			alphas := sampler.ModelOf(info, job.Options).AlphasCumprod()
			epsilon := job.UNet
			job.Prediction = sampler.Velocity
			job.UNet = func(ctx context.Context, b *sampler.Batch) ([]float32, error) {
				out, err := epsilon(ctx, b)
				for i := range out {
					// The network's input is sqrt(a)*x0 + sqrt(1-a)*eps.
					a := alphaAt(alphas, b.Timestep[0], info.UsesScheduler())
					eps, x := float64(out[i]), float64(b.X[i])
					original := (x - math.Sqrt(1-a)*eps) / math.Sqrt(a)
					out[i] = float32(math.Sqrt(a)*eps - math.Sqrt(1-a)*original)
				}
				return out, err
			}
			got, err := sampler.Sample(t.Context(), job)
			require.NoError(t, err)
			for i := range want {
				require.InDelta(t, want[i], got[i], 2e-3)
			}
		})
	}
}

// alphaAt is the share of signal power at a timestep, between two levels where
// the sampler interpolates.
func alphaAt(alphas []float32, timestep float32, interpolate bool) float64 {
	low := int(timestep)
	if !interpolate || low == len(alphas)-1 {
		return float64(alphas[low])
	}
	logSigma := func(i int) float64 { a := float64(alphas[i]); return math.Log((1-a)/a) / 2 }
	w := float64(timestep) - float64(low)
	sigma := math.Exp((1-w)*logSigma(low) + w*logSigma(low+1))
	return 1 / (1 + sigma*sigma)
}

func TestWrongSettingsAreErrors(t *testing.T) {
	in := loadInputs(t)
	tests := map[string]struct {
		change func(*sampler.Job)
		want   string
	}{
		"sampler":     {func(j *sampler.Job) { j.Sampler = "Euler A" }, `no sampler is called "Euler A"`},
		"steps":       {func(j *sampler.Job) { j.Steps = 0 }, "steps is 0"},
		"sigma range": {func(j *sampler.Job) { j.Scheduler, j.Options.SigmaMin = "Karras", 20 }, "noise levels"},
		"rho":         {func(j *sampler.Job) { j.Scheduler, j.Options.Rho = "Karras", -0.001 }, "noise levels"},
		"variant":     {func(j *sampler.Job) { j.Sampler, j.Options.UniPC.Variant = "UniPC", "bh3" }, `uni_pc_variant "bh3"`},
		"skip type":   {func(j *sampler.Job) { j.Sampler, j.Options.UniPC.SkipType = "UniPC", "even" }, `uni_pc_skip_type "even"`},
		"order":       {func(j *sampler.Job) { j.Sampler, j.Options.UniPC.Order = "UniPC", 0 }, "uni_pc_order is 0"},
		"prompts":     {func(j *sampler.Job) { j.Prompts = nil }, "one of each per image"},
		"init":        {func(j *sampler.Job) { j.Img2Img = &sampler.Img2Img{Latent: make([]float32, 1)} }, "the init latent has 1 values"},
		"mask": {func(j *sampler.Job) {
			j.Img2Img = &sampler.Img2Img{Latent: make([]float32, smallShape.Len()), Mask: make([]float32, 5)}
		}, "the mask has 5 values"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := simpleJob(in, "Euler", "", 5, smallShape, 1)
			tc.change(job)
			_, err := sampler.Sample(t.Context(), job)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestEqualSigmaRangeIsOneStep(t *testing.T) {
	in := loadInputs(t)
	for _, info := range sampler.All() {
		job := simpleJob(in, info.Name, "Karras", 8, smallShape, 1)
		job.Options.SigmaMin, job.Options.SigmaMax = 5, 5
		got, err := sampler.Sample(t.Context(), job)
		require.NoError(t, err, info.Name)
		requireSane(t, got, info.Name)
	}
}
