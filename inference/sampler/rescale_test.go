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
		if tc.Kind == "projection" || tc.Kind == "zero" {
			continue // TestGuidanceOfNoise
		}
		n := len(tc.Cond)
		job := &Job{CFGScale: tc.Scale}
		if tc.Kind == "rescale" {
			job.Options.CFGRescale = tc.Phi
		} else {
			job.Options.Thresholding = Thresholding{Enabled: true, MimicScale: tc.Mimic, Percentile: tc.Percentile, AllChannels: tc.Whole, FromZero: tc.Zero, Deviation: tc.Deviation, Phi: tc.Phi}
		}
		d := &denoiser{job: job, size: n, parts: [][]weighted{{{weight: 1}}}}
		got := make([]float32, n)
		d.guideWithin(got, append(append([]float32{}, tc.Cond...), tc.Uncond...), tc.Uncond, 1)
		for i, want := range tc.Want {
			require.InDelta(t, want, got[i], 2e-4, "%+v", tc)
		}
	}
	require.Equal(t, map[string]int{"rescale": 3, "threshold": 16, "projection": 5, "zero": 3, "mode": len(ThresholdModes)}, seen)
}

type noiseCase struct {
	Kind                                      string
	Scale, Momentum, Adaptive, Threshold, Eta float64
	X, Cond, Uncond, Want                     []float32
	Calls                                     []noiseCall
}

type noiseCall struct {
	Timestep              int
	X, Cond, Uncond, Want []float32
}

func TestGuidanceOfNoise(t *testing.T) {
	raw, err := os.ReadFile("testdata/guidance.json")
	require.NoError(t, err)
	var file struct{ Cases []noiseCase }
	require.NoError(t, json.Unmarshal(raw, &file))
	for _, tc := range file.Cases {
		job := &Job{CFGScale: tc.Scale, Prompts: make([][]Part, 1)}
		switch tc.Kind {
		case "projection":
			job.Options.Projection = Projection{Enabled: true, Momentum: tc.Momentum, Adaptive: tc.Adaptive, Threshold: tc.Threshold, Eta: tc.Eta}
		case "zero":
			job.Options.ZeroStar = true
			tc.Calls = []noiseCall{{500, tc.X, tc.Cond, tc.Uncond, tc.Want}}
		default:
			continue
		}
		// The families see the same through pictures and through noise.
		for _, f := range []family{kDiffusion, timesteps} {
			d := &denoiser{job: job, size: len(tc.Calls[0].X), parts: [][]weighted{{{weight: 1}}}, images: []int{0}, family: f, model: modelOf(Info{}, Options{})}
			for _, call := range tc.Calls {
				got, sigma := make([]float32, d.size), d.model.sigmas[call.Timestep]
				level := sigma
				cond, uncond := append([]float32{}, call.Cond...), append([]float32{}, call.Uncond...)
				if d.inputs = call.X; f == timesteps {
					level = float32(call.Timestep)
					for i, x := range call.X {
						cond[i], uncond[i] = (x-cond[i])/sigma, (x-uncond[i])/sigma
					}
				}
				d.guideWithin(got, append(append([]float32{}, cond...), uncond...), uncond, level)
				for i, want := range call.Want {
					if f == timesteps {
						got[i] = call.X[i] - got[i]*sigma
					}
					require.InDelta(t, want, got[i], 2e-4, "%s %+v", tc.Kind, call.Timestep)
				}
			}
		}
	}
}

func TestProjectionIsLimited(t *testing.T) {
	p := Projection{Limited: true, SigmaStart: 5, SigmaEnd: 0.3}
	require.Equal(t, []bool{true, false, false, true}, []bool{p.idle(5.1), p.idle(5), p.idle(0.31), p.idle(0.3)})
	require.False(t, (&Projection{Limited: true, SigmaStart: -1, SigmaEnd: -1}).idle(14))
	require.False(t, (&Projection{}).idle(14))
}

// Flat predictions leave nothing to scale by, and stay as they are.
func TestGuidanceWithinOfFlatPredictions(t *testing.T) {
	flat := []float32{1, 1, 1, 1, 1, 1, 1, 1}
	for _, o := range []Options{{CFGRescale: 1}, {Thresholding: Thresholding{Enabled: true, MimicScale: 7, Percentile: 1, Phi: 1}}, {Thresholding: Thresholding{Enabled: true, Deviation: true, Phi: 1}}} {
		d := &denoiser{job: &Job{CFGScale: 20, Options: o}, size: len(flat), parts: [][]weighted{{{weight: 1}}}}
		got := make([]float32, len(flat))
		d.guideWithin(got, append(append([]float32{}, flat...), flat...), flat, 1)
		require.Equal(t, flat, got)
	}
}
