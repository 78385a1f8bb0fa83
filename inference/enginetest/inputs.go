package enginetest

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
)

// Marks at the ends of a chunk.
const (
	beginToken = 49406
	endToken   = 49407
)

// Chunk returns a chunk that holds the given token ids.
func Chunk(ids ...int32) (chunk [inference.ChunkTokens]int32) {
	for i := range chunk {
		chunk[i] = endToken
	}
	chunk[0] = beginToken
	copy(chunk[1:inference.ChunkTokens-1], ids)
	return chunk
}

// Noise returns n values that look normally distributed and depend on seed alone.
func Noise(seed uint64, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		// The sum of 12 uniform values has variance 1 for values in -0.5..0.5.
		for j := range 12 {
			out[i] += unit(seed<<48|uint64(i)<<8|uint64(j)) / 2
		}
	}
	return out
}

// input returns a UNet batch of b rows that all differ.
func (r runner) input(b, h, w, chunks int, seed uint64) inference.UNetInput {
	in := inference.UNetInput{
		Latent:  Noise(seed, b*r.info.UNetChannels*h*w),
		H:       h,
		W:       w,
		Context: Noise(seed+100, b*chunks*inference.ChunkTokens*inference.TextWidth),
	}
	for i := range b {
		in.Timestep = append(in.Timestep, 900.25-200*float32(i))
	}
	return in
}

// row returns row i of a batch as a batch of one.
func row(in inference.UNetInput, i int) inference.UNetInput {
	b := in.Rows()
	part := func(s []float32) []float32 { return s[i*len(s)/b:][:len(s)/b] }
	in.Latent, in.Context, in.Timestep = part(in.Latent), part(in.Context), part(in.Timestep)
	return in
}

// smooth returns planes of slow waves, which tiles must not break.
func smooth(planes, h, w int) []float32 {
	out := make([]float32, 0, planes*h*w)
	for p := range planes {
		for y := range h {
			for x := range w {
				out = append(out, float32(math.Sin(float64(x)*9/float64(w)+float64(p))*math.Cos(float64(y)*7/float64(h)-float64(p))))
			}
		}
	}
	return out
}

// shift rotates every plane by half its height and width.
func shift(in []float32, planes, h, w int) []float32 {
	out := make([]float32, len(in))
	for p := range planes {
		for y := range h {
			for x := range w {
				out[(p*h+(y+h/2)%h)*w+(x+w/2)%w] = in[(p*h+y)*w+x]
			}
		}
	}
	return out
}

func scale(values []float32, by float32) {
	for i := range values {
		values[i] *= by
	}
}

// must returns a function that fails the test on err and returns out otherwise.
func must(out []float32, err error) func(testing.TB) []float32 {
	return func(tb testing.TB) []float32 {
		tb.Helper()
		require.NoError(tb, err)
		return slices.Clone(out)
	}
}

func requireFinite(tb testing.TB, values []float32) {
	tb.Helper()
	for i, v := range values {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			require.Fail(tb, "not finite", "value %d is %g", i, v)
		}
	}
}

// RelativeError returns the root mean square difference relative to that of want.
func RelativeError(want, got []float32) float64 {
	var difference, size float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		difference += d * d
		size += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(difference / max(size, 1e-30))
}

func meanDifference(want, got []float32) float64 {
	var sum float64
	for i := range want {
		sum += math.Abs(float64(got[i]) - float64(want[i]))
	}
	return sum / float64(len(want))
}

func (r runner) requireClose(tb testing.TB, want, got []float32, format string, args ...any) {
	tb.Helper()
	require.Len(tb, got, len(want), append([]any{format}, args...)...)
	require.LessOrEqual(tb, RelativeError(want, got), r.Tolerance, append([]any{format}, args...)...)
}
