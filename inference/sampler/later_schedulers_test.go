package sampler_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/sampler"
)

// The schedulers of A1111 v1.10, computed with NumPy 2.4 and SciPy 1.17 from the
// formulas of that version.
func TestSchedulersOfLaterVersions(t *testing.T) {
	tests := []struct {
		label  string
		steps  int
		sigmas []float64
	}{
		{"Beta", 1, []float64{14.61464, 0}},
		{"Beta", 4, []float64{14.61464, 10.59761, 4.046201, 0.02916753, 0}},
		{"Beta", 7, []float64{14.61464, 13.28026, 10.59761, 7.321905, 4.046201, 1.363546, 0.02916753, 0}},
		{"KL Optimal", 1, []float64{14.61464, 0.02916753}},
		{"KL Optimal", 4, []float64{14.61464, 2.142742, 0.9615884, 0.4198365, 0.02916753}},
		{"KL Optimal", 7, []float64{14.61464, 3.493485, 1.878124, 1.187867, 0.7770374, 0.4831877, 0.2443282, 0.02916753}},
		{"Align Your Steps", 1, []float64{14.615, 0}}, // ours: A1111 starts at 0.029
		{"Align Your Steps", 4, []float64{14.615, 2.393873, 0.7425183, 0.029, 0}},
		{"Align Your Steps", 11, []float64{14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029, 0}},
		{"Align Your Steps", 16, []float64{14.615, 8.493619, 5.449957, 3.861, 3.039629, 2.393873, 1.886, 1.543254, 1.233481, 0.963, 0.7425183, 0.5535489, 0.399, 0.2096782, 0.0875041, 0.029, 0}},
		{"Simple", 1, []float64{14.61464, 0}},
		{"Simple", 3, []float64{14.61464, 2.918307, 0.932358, 0}},
		{"Simple", 7, []float64{14.61464, 6.701629, 3.528203, 2.061671, 1.276235, 0.790061, 0.4380617, 0}},
		{"DDIM", 1, []float64{0.04131448, 0}},
		{"DDIM", 3, []float64{2.929549, 0.9355098, 0.04131448, 0}},
		{"DDIM", 7, []float64{14.26511, 6.57065, 3.485455, 2.047312, 1.272063, 0.790061, 0.440309, 0.04131448, 0}},
		{"Normal", 1, []float64{14.61464, 0}},
		{"Normal", 4, []float64{14.61464, 2.918307, 0.932358, 0.02916754, 0}},
	}
	info, err := sampler.Find("Euler")
	require.NoError(t, err)
	for _, tc := range tests {
		t.Run(fmt.Sprintf("%s %d", tc.label, tc.steps), func(t *testing.T) {
			s, ok := sampler.FindScheduler(tc.label)
			require.True(t, ok)
			require.True(t, s.Later)
			got, err := sampler.Sigmas(info, tc.label, tc.steps, sampler.DefaultOptions())
			require.NoError(t, err)
			requireSigmas(t, tc.sigmas, got)
		})
	}
}

func TestBetaQuantile(t *testing.T) {
	for _, tc := range []struct{ p, a, b, want float64 }{
		{0, 0.6, 0.6, 0},
		{1, 0.6, 0.6, 1},
		{0.5, 0.6, 0.6, 0.5},
		{0.1, 0.6, 0.6, 0.03958440558878085},
		{0.25, 0.6, 0.6, 0.17568037865269498},
		{0.9, 2, 3, 0.6795394162781817},
		{0.01, 0.5, 1.5, 6.168629591172597e-05},
	} {
		require.InDelta(t, tc.want, sampler.BetaQuantile(tc.p, tc.a, tc.b), 1e-12)
	}
}
