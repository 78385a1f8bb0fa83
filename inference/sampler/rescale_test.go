package sampler

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuidanceWithin(t *testing.T) {
	raw, err := os.ReadFile("testdata/guidance.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Kind                          string
			Phi, Scale, Mimic, Percentile float64
			Zero, Deviation, Whole        bool
			Cond, Uncond                  []float32
			Want                          []float64

			Mode       string
			Value, Low float64
			Steps      int
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	seen := make(map[string]int)
	for _, tc := range file.Cases {
		seen[tc.Kind]++
		if tc.Kind == "mode" {
			th := Thresholding{SchedValue: tc.Value}
			for step, want := range tc.Want {
				require.InDelta(t, want, th.at(tc.Scale, tc.Low, tc.Mode, step, tc.Steps), 1e-9, "%s %d", tc.Mode, step)
			}
			continue
		}
		n := len(tc.Cond)
		job := &Job{CFGScale: tc.Scale}
		if tc.Kind == "rescale" {
			job.Options.CFGRescale = tc.Phi
		} else {
			job.Options.Thresholding = Thresholding{Enabled: true, MimicScale: tc.Mimic, Percentile: tc.Percentile, AllChannels: tc.Whole, FromZero: tc.Zero, Deviation: tc.Deviation, Phi: tc.Phi}
		}
		d := &denoiser{job: job, size: n, parts: [][]weighted{{{0, 1}}}}
		got := make([]float32, n)
		d.guideWithin(got, append(append([]float32{}, tc.Cond...), tc.Uncond...), tc.Uncond)
		for i, want := range tc.Want {
			require.InDelta(t, want, got[i], 2e-4, "%+v", tc)
		}
	}
	require.Equal(t, map[string]int{"rescale": 3, "threshold": 16, "mode": len(ThresholdModes)}, seen)
}

// Flat predictions leave nothing to scale by, and stay as they are.
func TestGuidanceWithinOfFlatPredictions(t *testing.T) {
	flat := []float32{1, 1, 1, 1, 1, 1, 1, 1}
	for _, o := range []Options{{CFGRescale: 1}, {Thresholding: Thresholding{Enabled: true, MimicScale: 7, Percentile: 1, Phi: 1}}, {Thresholding: Thresholding{Enabled: true, Deviation: true, Phi: 1}}} {
		d := &denoiser{job: &Job{CFGScale: 20, Options: o}, size: len(flat), parts: [][]weighted{{{0, 1}}}}
		got := make([]float32, len(flat))
		d.guideWithin(got, append(append([]float32{}, flat...), flat...), flat)
		require.Equal(t, flat, got)
	}
}
