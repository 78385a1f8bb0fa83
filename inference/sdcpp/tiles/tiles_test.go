package tiles_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/inference/sdcpp/tiles"
)

func TestStartsCoverTheSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tile := rapid.IntRange(2, 80).Draw(t, "tile")
		overlap := rapid.IntRange(1, tile-1).Draw(t, "overlap")
		n := rapid.IntRange(1, 400).Draw(t, "n")
		wrap := rapid.Bool().Draw(t, "wrap")
		tile = min(tile, n)
		overlap = min(overlap, max(tile-1, 0))
		at := tiles.Starts(n, tile, overlap, wrap)
		require.Zero(t, at[0])
		for i := 1; i < len(at); i++ {
			require.Greater(t, at[i], at[i-1])
			require.GreaterOrEqual(t, at[i-1]+tile-at[i], overlap, "overlap of tiles %d and %d", i-1, i)
		}
		last := at[len(at)-1]
		if wrap {
			require.GreaterOrEqual(t, last+tile, n+overlap, "the last tile reaches the first")
		} else {
			require.Equal(t, n, last+tile)
		}
	})
}

// Tiles that are copied must come together again as the picture they were cut from.
func TestGridIsSeamless(t *testing.T) {
	for _, wrap := range []bool{false, true} {
		for _, size := range [][2]int{{8, 8}, {13, 40}, {70, 9}, {41, 42}} {
			t.Run(fmt.Sprint(size, wrap), func(t *testing.T) {
				h, w := size[0], size[1]
				in := make([]float32, 2*h*w)
				for i := range in {
					in[i] = float32(i*7919%1009) / 1009
				}
				g := tiles.Grid{H: h, W: w, Tile: 16, Overlap: 5, Wrap: wrap, InScale: 1, OutScale: 1, InPlanes: 2, OutPlanes: 2}
				out, err := g.Run(in, func(tile []float32, th, tw int) ([]float32, error) {
					require.Len(t, tile, 2*th*tw)
					require.LessOrEqual(t, max(th, tw), 16)
					return tile, nil
				})
				require.NoError(t, err)
				require.InDeltaSlice(t, in, out, 1e-5)
			})
		}
	}
}

func TestGridScales(t *testing.T) {
	const h, w = 20, 33
	in := make([]float32, h*w)
	for i := range in {
		in[i] = float32(i)
	}
	up := tiles.Grid{H: h, W: w, Tile: 16, Overlap: 4, InScale: 1, OutScale: 3, InPlanes: 1, OutPlanes: 1}
	big, err := up.Run(in, func(tile []float32, th, tw int) ([]float32, error) {
		out := make([]float32, 9*th*tw)
		for y := range 3 * th {
			for x := range 3 * tw {
				out[y*3*tw+x] = tile[y/3*tw+x/3]
			}
		}
		return out, nil
	})
	require.NoError(t, err)
	require.Len(t, big, 9*h*w)
	require.InDelta(t, in[5*w+7], big[16*3*w+22], 1e-3)

	down := tiles.Grid{H: h, W: w, Tile: 16, Overlap: 4, InScale: 3, OutScale: 1, InPlanes: 1, OutPlanes: 1}
	small, err := down.Run(big, func(tile []float32, th, tw int) ([]float32, error) {
		out := make([]float32, th*tw)
		for y := range th {
			for x := range tw {
				out[y*tw+x] = tile[(3*y+1)*3*tw+3*x+1]
			}
		}
		return out, nil
	})
	require.NoError(t, err)
	require.InDeltaSlice(t, in, small, 1e-2)
}

func TestWantedLooksAtTheDevice(t *testing.T) {
	const gib = 1 << 30
	require.False(t, tiles.Wanted(64, 64, 4*gib), "512x512 is always whole")
	require.True(t, tiles.Wanted(128, 128, 16*gib), "1024x1024 on 16 GiB")
	require.False(t, tiles.Wanted(128, 128, 80*gib), "1024x1024 on 80 GiB")
	require.True(t, tiles.Wanted(256, 256, 80*gib), "2048x2048 on 80 GiB")
}
