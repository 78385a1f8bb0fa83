package judge_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
	"sdworker/internal/judge"
)

// The judge itself is judged by drawings that it was not trained on.
func TestDrawings(t *testing.T) {
	const side, columns = 64, 8
	raw, err := os.ReadFile("testdata/drawings.png")
	require.NoError(t, err)
	picture, err := imageio.Decode(raw, 1<<24)
	require.NoError(t, err)
	sheet := picture.RGB([3]uint8{})
	text, err := os.ReadFile("testdata/drawings.json")
	require.NoError(t, err)
	var labels []struct{ Object, Colour, Object2, Colour2, Place string }
	require.NoError(t, json.Unmarshal(text, &labels))
	require.Len(t, labels, sheet.H/side*columns)
	right := map[string]int{}
	for i, want := range labels {
		got, err := judge.Look(sheet.Crop(imageio.Box{X0: i % columns * side, Y0: i / columns * side, X1: (i%columns + 1) * side, Y1: (i/columns + 1) * side}))
		require.NoError(t, err)
		for name, same := range map[string]bool{
			"object": got.Object == want.Object, "colour": got.Colour == want.Colour,
			"object2": got.Object2 == want.Object2, "colour2": got.Colour2 == want.Colour2, "place": got.Place == want.Place,
		} {
			if same {
				right[name]++
			} else {
				t.Logf("drawing %d: %s: %+v is taken for %+v", i, name, want, got)
			}
		}
	}
	for name, n := range right {
		require.GreaterOrEqual(t, n*100, 94*len(labels), name)
	}
	require.Len(t, right, 5)
}

// A picture without an object is not taken for one.
func TestNothing(t *testing.T) {
	for _, colour := range [][3]uint8{{0, 0, 255}, {255, 255, 255}} {
		v, err := judge.Look(imageio.Fill(128, 128, colour))
		require.NoError(t, err)
		t.Logf("%v: %+v", colour, v)
		require.Equal(t, judge.None, v.Object2)
	}
	_, err := judge.Look(imageio.Fill(128, 64, [3]uint8{}))
	require.ErrorContains(t, err, "cannot be judged")
}

func TestExpect(t *testing.T) {
	for prompt, want := range map[string]judge.Verdict{
		"a red house and a white cat at night": {Object: "house", Colour: "red", Object2: "cat", Colour2: "white", Place: "night"},
		"an orange fish on a pink background":  {Object: "fish", Colour: "orange", Object2: judge.None, Colour2: judge.None, Place: "pink"},
		"a blue car":                           {Object: "car", Colour: "blue", Object2: judge.None, Colour2: judge.None, Place: judge.None},
	} {
		got, err := judge.Expect(prompt)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for prompt, reason := range map[string]string{
		"a cat in the snow":     "not a prompt of coloured things",
		"a red unicorn":         `no object "unicorn"`,
		"a mauve cat":           `no colour "mauve"`,
		"a red cat in the city": "not a prompt",
	} {
		_, err := judge.Expect(prompt)
		require.ErrorContains(t, err, reason)
	}
}
