package rng_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/rng"
)

// tensor is a recorded tensor: all values, or its ends and sums.
type tensor struct {
	Shape      []int
	Values     []float64
	First      []float64
	Last       []float64
	Sum        *float64
	SumSquares *float64 `json:"sumsq"`
}

func (want tensor) check(t *testing.T, got []float32, tolerance float64) {
	t.Helper()
	require.False(t, want.Values == nil && want.First == nil, "nothing to compare")
	if want.Values != nil {
		require.Len(t, got, len(want.Values))
	}
	for i, v := range want.Values {
		require.InDelta(t, v, got[i], tolerance, "value %d", i)
	}
	for i, v := range want.First {
		require.InDelta(t, v, got[i], tolerance, "value %d", i)
	}
	for i, v := range want.Last {
		at := len(got) - len(want.Last) + i
		require.InDelta(t, v, got[at], tolerance, "value %d", at)
	}
	var sum, squares float64
	for _, v := range got {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	if want.Sum != nil {
		require.InDelta(t, *want.Sum, sum, tolerance*float64(len(got)))
	}
	if want.SumSquares != nil {
		require.InEpsilon(t, *want.SumSquares, squares, 10*tolerance)
	}
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err)
	return v
}

func source(t *testing.T, name string) rng.Source {
	t.Helper()
	s, err := rng.ParseSource(name)
	require.NoError(t, err)
	return s
}

// drawTolerance is the distance the vectors allow to PyTorch's own kernels,
// which use fast approximations of log, sin and cos on the CPU.
func drawTolerance(src rng.Source) float64 {
	if src == rng.CPU {
		return 4e-6
	}
	return 1e-6
}
