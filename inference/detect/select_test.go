package detect_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/detect"
	"sdworker/inference/imageio"
)

// whole is an object that covers a picture but for the given border.
func whole(w, h, border int, confidence float32) detect.Found {
	b := float32(border)
	return detect.Found{Box: detect.Box{X1: b, Y1: b, X2: float32(w) - b - 1, Y2: float32(h) - b - 1}, Confidence: confidence}
}

// Masks are widened, narrowed and moved as OpenCV and Pillow do it.
func TestMasksChangeAsInOpenCV(t *testing.T) {
	recording := recorded[struct {
		Width, Height int
		Mask          string
		Cases         []struct {
			Grow, X, Y int
			Want       string
		}
	}](t, "masks.json")
	w, h := recording.Width, recording.Height
	mask := imageio.Gray{W: w, H: h, Pix: unpack(t, recording.Mask)}
	for _, c := range recording.Cases {
		got := detect.Change(mask, c.X, c.Y, c.Grow)
		require.Equal(t, unpack(t, c.Want), got.Pix, "%+v", c)
	}
}

// A box becomes the pixels that Pillow's rectangle fills: both corners, cut to whole
// numbers, belong to it.
func TestBoxMask(t *testing.T) {
	f := detect.Found{Box: detect.Box{X1: 1.9, Y1: 2.2, X2: 3.1, Y2: 2.9}}
	m := f.Mask(5, 4)
	require.Equal(t, []uint8{
		0, 0, 0, 0, 0,
		0, 0, 0, 0, 0,
		0, 255, 255, 255, 0,
		0, 0, 0, 0, 0,
	}, m.Pix)
}

func TestChoose(t *testing.T) {
	box := func(side, confidence float32) detect.Found {
		return detect.Found{Box: detect.Box{X2: side, Y2: side}, Confidence: confidence}
	}
	found := []detect.Found{box(10, .9), box(50, .5), box(30, .7), box(90, .4)} // shares .01 .25 .09 .81
	sides := func(s detect.Selection) []float32 {
		var out []float32
		for _, f := range s.Choose(found, 100, 100) {
			out = append(out, f.Box.X2)
		}
		return out
	}
	require.Equal(t, []float32{10, 50, 30, 90}, sides(detect.Selection{MaxRatio: 1}), "in order of confidence")
	require.Equal(t, []float32{50, 30}, sides(detect.Selection{MinRatio: .05, MaxRatio: .5}))
	require.Equal(t, []float32{90, 50}, sides(detect.Selection{MaxRatio: 1, Top: 2}), "the largest first")
	require.Equal(t, []float32{10, 30}, sides(detect.Selection{MaxRatio: 1, Top: 2, ByConfidence: true}))
	require.Equal(t, []float32{50}, sides(detect.Selection{MaxRatio: .5, Top: 1}), "ratios go first")
}

func TestMergedMasks(t *testing.T) {
	found := []detect.Found{whole(8, 8, 3, 1), {Box: detect.Box{X1: 0, Y1: 0, X2: 1, Y2: 1}}}
	count := func(m imageio.Gray) (n int) {
		for _, v := range m.Pix {
			n += int(v) / 255
		}
		return n
	}
	masks := func(s detect.Selection) []int {
		var out []int
		for m := range s.Masks(found, 8, 8) {
			out = append(out, count(m))
		}
		return out
	}
	require.Equal(t, []int{4, 4}, masks(detect.Selection{}))
	require.Equal(t, []int{8}, masks(detect.Selection{Merge: detect.MergeAll}))
	require.Equal(t, []int{56}, masks(detect.Selection{Merge: detect.MergeInvert}))
	require.Equal(t, []int{36, 16}, masks(detect.Selection{Grow: 5}), "2 by 2 pixels and 2 on each side; the other is cut off at the borders")
	require.Empty(t, masks(detect.Selection{Grow: -5}), "nothing is left of either")
	require.Empty(t, slices.Collect((&detect.Selection{Merge: detect.MergeInvert}).Masks(nil, 8, 8)), "nothing was found")
}

// Objects are repainted in the order of the extension's option; equal ones as they were
// found.
func TestOrder(t *testing.T) {
	found := []detect.Found{ // in a picture of 100 x 80, with the middle at 50, 40
		{Box: detect.Box{X1: 40, Y1: 30, X2: 60, Y2: 50}, Confidence: 0.9}, // in the middle, 400
		{Box: detect.Box{X1: 5, Y1: 5, X2: 45, Y2: 25}, Confidence: 0.8},   // to the left, 800
		{Box: detect.Box{X1: 60, Y1: 30, X2: 70, Y2: 50}, Confidence: 0.7}, // a little to the right, 200
		{Box: detect.Box{X1: 5, Y1: 60, X2: 25, Y2: 80}, Confidence: 0.6},  // to the left and below, 400
	}
	order := func(s detect.Selection) (out []int) {
		s.MaxRatio = 1
		for _, f := range s.Choose(found, 100, 80) {
			out = append(out, int(f.Confidence*10+0.5))
		}
		return out
	}
	require.Equal(t, []int{9, 8, 7, 6}, order(detect.Selection{}))
	require.Equal(t, []int{8, 6, 9, 7}, order(detect.Selection{Order: detect.LeftToRight}))
	require.Equal(t, []int{9, 7, 8, 6}, order(detect.Selection{Order: detect.FromCentre}))
	require.Equal(t, []int{8, 9, 6, 7}, order(detect.Selection{Order: detect.ByArea}))
	require.Equal(t, []int{8, 9}, order(detect.Selection{Order: detect.LeftToRight, Top: 2, ByConfidence: true}), "of the best ones only")
}
