package convnet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet"
)

// evaluate builds a network of one weight and runs it.
func evaluate(t *testing.T, shape []int64, values, picture []float32, channels, h, w int, build func(*convnet.Builder) int) []float32 {
	t.Helper()
	b := convnet.New(convnet.Shapes{"k.weight": shape, "k.bias": {1}}, channels)
	net, problem := b.Build(build(b))
	require.Empty(t, problem)
	weights, err := net.Load(func(name string) ([]float32, error) {
		if name == "k.bias" {
			return []float32{100}, nil
		}
		return values, nil
	})
	require.NoError(t, err)
	return net.Evaluate(weights, picture, h, w)[0]
}

func TestConvolution(t *testing.T) {
	picture := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9}
	kernel := []float32{0, 1, 0, 0, 0, 0, 0, 0, 10} // the value above and ten times the one right below
	conv := func(stride int) func(*convnet.Builder) int {
		return func(b *convnet.Builder) int { return b.Conv(0, "k", stride) }
	}
	require.Equal(t, []float32{150, 160, 100, 181, 192, 103, 104, 105, 106}, evaluate(t, []int64{1, 1, 3, 3}, kernel, picture, 1, 3, 3, conv(1)))
	require.Equal(t, []float32{150, 100, 104, 106}, evaluate(t, []int64{1, 1, 3, 3}, kernel, picture, 1, 3, 3, conv(2)))
}

// A transposed convolution spreads every pixel over four.
func TestDouble(t *testing.T) {
	got := evaluate(t, []int64{2, 1, 2, 2}, []float32{1, 2, 3, 4, 10, 20, 30, 40}, []float32{1, 2, 1, 0}, 2, 1, 2, func(b *convnet.Builder) int { return b.Double(0, "k") })
	require.Equal(t, []float32{
		111, 122, 102, 104,
		133, 144, 106, 108,
	}, got)
}

// Pixels and channels change places as torch's pixel_shuffle and pixel_unshuffle do.
func TestShuffle(t *testing.T) {
	four := []float32{0, 1, 10, 11, 20, 21, 30, 31} // 4 channels of 1 by 2
	want := []float32{0, 10, 1, 11, 20, 30, 21, 31}
	shape := []int64{1, 1, 1, 1}
	require.Equal(t, want, evaluate(t, shape, []float32{1}, four, 4, 1, 2, func(b *convnet.Builder) int { return b.Shuffle(0, 2) }))
	require.Equal(t, four, evaluate(t, shape, []float32{1}, want, 1, 2, 4, func(b *convnet.Builder) int { return b.Unshuffle(0, 2) }))
}

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		shapes convnet.Shapes
		want   string
	}{
		"missing":    {convnet.Shapes{"k.bias": {4}}, "is incomplete: tensor k.weight is missing"},
		"channels":   {convnet.Shapes{"k.weight": {4, 5, 3, 3}}, "has a tensor k.weight of shape [4 5 3 3] where [4 3 3 3] is needed"},
		"even":       {convnet.Shapes{"k.weight": {4, 3, 2, 2}}, "no kernel of a convolution"},
		"flat":       {convnet.Shapes{"k.weight": {4, 3}}, "no kernel of a convolution"},
		"wrong bias": {convnet.Shapes{"k.weight": {4, 3, 3, 3}, "k.bias": {3}}, "has a tensor k.bias of shape [3] where [4] is needed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := convnet.New(c.shapes, 3)
			_, problem := b.Build(b.Conv(0, "k", 1))
			require.Contains(t, problem, c.want)
		})
	}
}
