package hint

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

// resizeCase is a picture that OpenCV, or the ControlNet extension's rules on top
// of it, brought to another size; see testdata/README.md.
type resizeCase struct {
	Name      string
	From, To  [2]int
	RGB, Want []byte
	How       string // interpolation; else Mode
	Mode      string
}

func (c *resizeCase) picture() imageio.RGB {
	return imageio.RGB{W: c.From[0], H: c.From[1], Pix: c.RGB}
}

func resizeCases(t *testing.T) []resizeCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/resize.json")
	require.NoError(t, err)
	var file struct{ Cases []resizeCase }
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	return file.Cases
}

// TestResizingEqualsOpenCV allows one level, for ties that fall the other way.
func TestResizingEqualsOpenCV(t *testing.T) {
	exact, values := 0, 0
	for _, tc := range resizeCases(t) {
		t.Run(tc.Name, func(t *testing.T) {
			var got imageio.RGB
			if tc.How != "" {
				got = resample(tc.picture(), tc.To[0], tc.To[1], map[string]interpolation{"nearest": nearest, "area": area, "cubic": cubic}[tc.How])
			} else {
				mode := map[string]int{"stretch": Stretch, "crop": Crop, "pad": Pad}[tc.Mode]
				hint, err := Make(Picture{RGB: tc.picture()}, Options{Module: "none", ResizeMode: mode, Width: tc.To[0], Height: tc.To[1]})
				require.NoError(t, err)
				got = hint.Shown().DropAlpha()
			}
			require.Equal(t, [2]int{got.W, got.H}, tc.To)
			require.Len(t, got.Pix, len(tc.Want))
			for i, v := range got.Pix {
				values++
				if v == tc.Want[i] {
					exact++
				}
				require.InDelta(t, tc.Want[i], v, 1, "x %d y %d channel %d", i/3%got.W, i/3/got.W, i%3)
			}
		})
	}
	require.Greater(t, float64(exact)/float64(values), 0.999)
	t.Logf("%d of %d values are equal", exact, values)
}
