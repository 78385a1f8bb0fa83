package sampler_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/sampler"
)

// counted runs a job and returns the result and the numbers of its UNet calls.
func counted(t *testing.T, job *sampler.Job) (latents []float32, calls []int) {
	t.Helper()
	unet := job.UNet
	job.UNet = func(ctx context.Context, b *sampler.Batch) ([]float32, error) {
		calls = append(calls, b.Call)
		return unet(ctx, b)
	}
	latents, err := sampler.Sample(t.Context(), job)
	require.NoError(t, err)
	return latents, calls
}

func TestStepCacheSavesCallsAndStaysNear(t *testing.T) {
	in := loadInputs(t)
	for _, info := range sampler.All() {
		t.Run(info.Name, func(t *testing.T) {
			run := func(threshold float64) ([]float32, []int) {
				job := simpleJob(in, info.Name, "", 20, latentShape, 1)
				job.Options.StepCache = threshold
				return counted(t, job)
			}
			want, all := run(0)
			exact, _ := run(1e-12)
			require.Equal(t, want, exact, "a threshold that nothing passes")
			got, calls := run(0.1)
			if info.Name == "DPM adaptive" || info.Name == "DPM fast" {
				require.Equal(t, want, got)
				require.Equal(t, all, calls)
				return
			}
			require.Less(t, len(calls), len(all))
			require.Equal(t, all[:3], calls[:3], "the first steps")
			require.Equal(t, all[len(all)-1], calls[len(calls)-1], "the last step")
			again, _ := run(0.1)
			require.Equal(t, got, again)
			var off, size float64
			for i := range want {
				off += math.Abs(float64(got[i] - want[i]))
				size += math.Abs(float64(want[i]))
			}
			require.Positive(t, off)
			require.Less(t, off, 0.25*size)
		})
	}
}

// A prediction serves only under the conditions it was made for.
func TestStepCacheHeedsConditions(t *testing.T) {
	in := loadInputs(t)
	job := func() *sampler.Job {
		job := simpleJob(in, "Euler", "", 20, latentShape, 1)
		job.Options.StepCache = 1e9
		return job
	}
	_, calls := counted(t, job())
	require.Equal(t, []int{0, 1, 2, 19}, calls)

	edited := job()
	edited.Prompts[0][0].Schedule = sampler.Schedule{{EndAt: 9, Cond: 0}, {EndAt: 1e6, Cond: 1}}
	_, calls = counted(t, edited)
	require.Contains(t, calls, 10, "prompt editing")

	switched := job()
	switched.Inputs = func(b *sampler.Batch) uint64 {
		if b.Step >= b.Steps/2 {
			return 1
		}
		return 0
	}
	_, calls = counted(t, switched)
	require.Contains(t, calls, 11, "a ControlNet unit that ends")

	sparse := job()
	sparse.Options.SMinUncond = 4
	_, calls = counted(t, sparse)
	require.Contains(t, fmt.Sprint(calls), "15 16 17 18", "with and without negative prompt in turn")
}

// In a batch the network gets only the rows of images that need it.
func TestStepCacheDecidesForEachImage(t *testing.T) {
	in := loadInputs(t)
	job := simpleJob(in, "Euler a", "", 20, latentShape, 1, 2, 3)
	job.Options.StepCache = 0.05
	rows := map[int]bool{}
	unet := job.UNet
	job.UNet = func(ctx context.Context, b *sampler.Batch) ([]float32, error) {
		rows[len(b.Rows)] = true
		require.Len(t, b.Timestep, len(b.Rows))
		return unet(ctx, b)
	}
	_, err := sampler.Sample(t.Context(), job)
	require.NoError(t, err)
	require.True(t, rows[6] && (rows[2] || rows[4]), "%v", rows)
}
