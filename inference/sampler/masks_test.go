package sampler_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/rng"
	"sdworker/inference/sampler"
	"sdworker/internal/vectors"
)

type maskedStep struct {
	H, W           int
	Scale          float64
	Weights        []float64        // of the parts
	Rows, Combined vectors.Float32s // predictions of all parts of image 0, of image 1, then of the negative prompts
}

// recordedMasks are steps in which an extension laid areas over the parts of two images
// and A1111's formula combined them, see inference/regions/testdata/record.py.
func recordedMasks(t *testing.T) (areas [][][]float32, steps []maskedStep) {
	t.Helper()
	data, err := os.ReadFile("../regions/testdata/regions.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Couple *struct {
				Areas []struct{ Cells []vectors.Float32s }
				Step  maskedStep
			}
		}
	}
	require.NoError(t, json.Unmarshal(data, &file))
	for _, c := range file.Cases {
		if c.Couple == nil {
			continue
		}
		var masks [][]float32
		for _, cells := range c.Couple.Areas[0].Cells {
			masks = append(masks, cells)
		}
		areas, steps = append(areas, masks), append(steps, c.Couple.Step)
	}
	require.Len(t, steps, 4)
	return areas, steps
}

// maskedJob predicts the rows of a recorded step, whatever the input is.
func maskedJob(t *testing.T, name string, masks [][]float32, step maskedStep) *sampler.Job {
	t.Helper()
	rows := []float32(step.Rows)
	size := 4 * step.H * step.W
	parts := len(step.Weights)
	job := &sampler.Job{
		Sampler: name, Steps: 10, CFGScale: step.Scale, Options: sampler.DefaultOptions(),
		RNG: rng.NewImageRNG(rng.ImageConfig{Shape: rng.Shape{C: 4, H: step.H, W: step.W}, Seeds: make([]int64, 2)}),
		UNet: func(_ ctx, b *sampler.Batch) ([]float32, error) {
			out := make([]float32, 0, len(b.X))
			for _, row := range b.Rows {
				out = append(out, rows[row.Cond*size:(row.Cond+1)*size]...)
			}
			return out, nil
		},
	}
	for image := range 2 {
		var list []sampler.Part
		for i, weight := range step.Weights {
			p := sampler.Part{Weight: weight, Schedule: sampler.Schedule{{EndAt: 1e6, Cond: image*parts + i}}}
			if i < len(masks) { // further parts act everywhere
				p.Mask = masks[i]
			}
			list = append(list, p)
		}
		job.Prompts = append(job.Prompts, list)
		job.Negatives = append(job.Negatives, sampler.Schedule{{EndAt: 1e6, Cond: 2*parts + image}})
	}
	return job
}

// TestMaskedParts compares a guided prediction with the recorded one. The DDIM family
// combines what the network says, so that nothing else is in it.
func TestMaskedParts(t *testing.T) {
	areas, steps := recordedMasks(t)
	for i, step := range steps {
		job := maskedJob(t, "DDIM", areas[i], step)
		got, err := sampler.Forward(job, 0, make([]float32, job.RNG.Len()), 500)
		require.NoError(t, err)
		require.InDeltaSlice(t, []float32(step.Combined), got, 2e-4)
	}
}

func TestMasksEndAtAStep(t *testing.T) {
	areas, steps := recordedMasks(t)
	run := func(change func(*sampler.Job)) []float32 {
		job := maskedJob(t, "Euler", areas[0], steps[0])
		change(job)
		latents, err := sampler.Sample(t.Context(), job)
		require.NoError(t, err)
		return latents
	}
	masked := run(func(*sampler.Job) {})
	plain := run(func(job *sampler.Job) {
		for _, parts := range job.Prompts {
			for i := range parts {
				parts[i].Mask = nil
			}
		}
	})
	require.NotEqual(t, plain, masked)
	require.Equal(t, masked, run(func(job *sampler.Job) { job.MaskSteps = 10 }))
	require.NotEqual(t, masked, run(func(job *sampler.Job) { job.MaskSteps = 5 }))
	require.NotEqual(t, plain, run(func(job *sampler.Job) { job.MaskSteps = 1 }))

	// A constant prediction is always reused, but not over the end of the masks.
	require.NotEqual(t, masked, run(func(job *sampler.Job) { job.MaskSteps, job.Options.StepCache = 5, 1 }))
}

// TestMaskedPreview: what is shown of a run has all parts in it, also where the first one
// has no place.
func TestMaskedPreview(t *testing.T) {
	areas, steps := recordedMasks(t)
	step := steps[1] // its first part has 0.5 everywhere, the others a place each
	job := maskedJob(t, "DDIM", areas[1], step)
	size, parts, plane := 4*step.H*step.W, len(step.Weights), step.H*step.W
	rows := []float32(step.Rows)
	var shown []float32
	job.OnStep = func(at, _ int, predicted []float32) {
		if at == 0 {
			shown = append(shown, predicted...)
		}
	}
	var start []float32
	unet := job.UNet
	job.UNet = func(c ctx, b *sampler.Batch) ([]float32, error) {
		if start == nil {
			start = append(start, b.X...)
		}
		return unet(c, b)
	}
	_, err := sampler.Sample(t.Context(), job)
	require.NoError(t, err)

	alpha := float64(sampler.SignalPower(901)) // of the first of 10 timesteps, 1 + 100 i
	for k := range size {
		want := float64(rows[2*parts*size+k])
		for i, weight := range step.Weights {
			mask := 1.0
			if i < len(areas[1]) {
				mask = float64(areas[1][i][k%plane])
			}
			want += weight * mask * (float64(rows[i*size+k]) - float64(rows[2*parts*size+k]))
		}
		require.InDelta(t, (float64(start[k])-math.Sqrt(1-alpha)*want)/math.Sqrt(alpha), shown[k], 1e-3)
	}
}

func TestMasksOfTheWrongSize(t *testing.T) {
	areas, steps := recordedMasks(t)
	job := maskedJob(t, "Euler", areas[0], steps[0])
	job.Prompts[1][0].Mask = make([]float32, 3)
	_, err := sampler.Sample(t.Context(), job)
	require.ErrorContains(t, err, "mask of a prompt part has 3 values")
}
