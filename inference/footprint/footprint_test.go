package footprint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/footprint"
)

// TestMeasured: the bytes that the engine reserved for its graphs on 2 cores, with the
// real model, a narrow one, and the real one as on a GPU. A prediction may be a fifth
// too high, and is never too low.
func TestMeasured(t *testing.T) {
	full, tiny, gpu := footprint.Networks{}, footprint.Networks{UNetWidth: 32, DecoderWidth: 32}, footprint.Networks{Pairs: true}
	for _, tc := range []struct {
		name               string
		measured, foretold int64
	}{
		{"1 row of 256x256 pixels", 22_535_264, full.UNet(1, 32, 32, 77, 0, 0)},
		{"2 rows of 512x512", 178_862_176, full.UNet(2, 64, 64, 77, 0, 0)},
		{"16 rows of 512x512", 1_430_896_768, full.UNet(16, 64, 64, 77, 0, 0)},
		{"2 rows of 512x512, 10 chunks", 183_119_968, full.UNet(2, 64, 64, 770, 0, 0)},
		{"2 rows of 2048x2048", 2_854_697_056, full.UNet(2, 256, 256, 77, 0, 0)},
		{"tiny, 2 rows of 512x512", 18_430_048, tiny.UNet(2, 64, 64, 77, 0, 0)},
		{"tiny, 2 rows of 2048x2048", 287_783_008, tiny.UNet(2, 256, 256, 77, 0, 0)},
		{"with a ControlNet", 232_601_696 + 184_105_056 + 36_700_224 + (232_601_696 - 178_862_176), full.UNet(2, 64, 64, 77, 1, 0)},
		{"weights of a ControlNet", 2 * 361_279_120, full.ControlWeights()},
		{"tiny, weights of a ControlNet", 2 * 4_840_240, tiny.ControlWeights()},
		{"decode 256x256", 184_565_824, full.Decode(32, 32)},
		{"decode 512x512", 738_263_104, full.Decode(64, 64)},
		{"decode 2048x2048", 11_812_208_704, full.Decode(256, 256)},
		{"tiny, decode 512x512", 184_614_976, tiny.Decode(64, 64)},
		{"as on a GPU, decode 1024x1024", 2_953_052_224, gpu.Decode(128, 128)},
		{"as on a GPU, decode 2048x2048", 17_853_055_040, gpu.Decode(256, 256)},
		{"encode 512x512", 406_323_776, full.Encode(64, 64)},
		{"tiny, encode 512x512", 406_323_776, tiny.Encode(64, 64)},
		{"as on a GPU, encode 2048x2048", 17_901_289_536, gpu.Encode(256, 256)},
		{"text, 8 chunks", 11_764_768, footprint.Text(8)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.GreaterOrEqual(t, tc.foretold, tc.measured)
			require.LessOrEqual(t, float64(tc.foretold), 1.2*float64(tc.measured))
		})
	}
}

func TestRows(t *testing.T) {
	n := footprint.Networks{}
	for _, controls := range []int{0, 2} {
		for rows := range 20 {
			need := n.UNet(rows, 64, 64, 77, controls, 16*controls)
			require.Equal(t, rows, n.Rows(need, 64, 64, 77, controls, 16*controls))
			require.Equal(t, max(rows-1, 0), n.Rows(need-1, 64, 64, 77, controls, 16*controls))
		}
	}
	require.Zero(t, n.Rows(-1, 64, 64, 77, 0, 0))
}
