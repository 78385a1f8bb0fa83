package depth

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Positions of 3 by 3 patches for 5 by 4 are those of torch's
// interpolate(grid, scale_factor=(5.1 / 3, 4.1 / 3), mode="bicubic").
func TestPositions(t *testing.T) {
	values := []float32{100} // of the class token, which stays
	for i := range 9 {
		values = append(values, float32(math.Sin(float64(i)*0.37)+math.Cos(float64(i*i)*1e-5)))
	}
	want := []float32{100, 0.883584, 1.111277, 1.450412, 1.660313, 1.314830, 1.491598, 1.723380, 1.841192, 1.868842, 1.948993, 1.997637, 1.970164, 1.922614, 1.857773, 1.692043, 1.533175, 1.811423, 1.644032, 1.338281, 1.103105}
	require.InDeltaSlice(t, want, interpolated(values, 3, 1, 5, 4, Offset), 1e-5)
	require.Equal(t, values, interpolated(values, 3, 1, 3, 3, Offset))
}
