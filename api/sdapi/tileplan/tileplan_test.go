package tileplan_test

import (
	"encoding/json"
	"hash/crc32"
	"iter"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi/tileplan"
)

// TestPlans compares with masks made by Pillow; see testdata/record.py.
func TestPlans(t *testing.T) {
	raw, err := os.ReadFile("testdata/plans.json")
	require.NoError(t, err)
	var cases []struct {
		Plan struct {
			W, H, TileW, TileH, Padding, Blur, SeamWidth, SeamPadding, SeamBlur int
			Redraw, Seams                                                       string
		}
		Steps [][5]int
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	for _, tc := range cases {
		p := tileplan.Plan{
			W: tc.Plan.W, H: tc.Plan.H, TileW: tc.Plan.TileW, TileH: tc.Plan.TileH, Padding: tc.Plan.Padding, Blur: tc.Plan.Blur,
			Redraw:    tileplan.Redraw(slices.Index([]string{"Linear", "Chess", "None"}, tc.Plan.Redraw)),
			Seams:     tileplan.Seams(slices.Index([]string{"None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections"}, tc.Plan.Seams)),
			SeamWidth: tc.Plan.SeamWidth, SeamPadding: tc.Plan.SeamPadding, SeamBlur: tc.Plan.SeamBlur,
		}
		got := [][5]int{}
		count := func(steps iter.Seq[tileplan.Step]) (n int) {
			for s := range steps {
				require.Equal(t, [2]int{p.W, p.H}, [2]int{s.Mask.W, s.Mask.H})
				got = append(got, [5]int{int(crc32.ChecksumIEEE(s.Mask.Pix)), s.W, s.H, s.Padding, s.Blur})
				n++
			}
			return n
		}
		tiles, seams := count(p.Tiles()), count(p.SeamSteps())
		require.Equal(t, tc.Steps, got, "%+v", tc.Plan)
		wantTiles, wantSeams := p.Counts()
		require.Equal(t, []int{wantTiles, wantSeams}, []int{tiles, seams})
		for range p.Tiles() {
			break // ends early
		}
		for range p.SeamSteps() {
			break
		}
	}
}

// The steps that follow from the script's rule: 4 where it divides the scale, else 3, else
// 2; primes beyond grow to the next number that has one of these.
func TestFactors(t *testing.T) {
	for scale, want := range map[int][]int{
		1: nil, 2: {2}, 3: {3}, 4: {4}, 5: {3, 2}, 6: {3, 2}, 7: {4, 2}, 8: {4, 2}, 9: {3, 3}, 10: {2}, 11: {4, 3}, 12: {4, 3}, 16: {4, 4},
	} {
		require.Equal(t, want, tileplan.Factors(scale), "%d", scale)
	}
}
