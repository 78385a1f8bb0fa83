package gridtext_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi/gridtext"
	"sdworker/inference/imageio"
)

var style = gridtext.Style{Inactive: [3]uint8{153, 153, 153}, Background: [3]uint8{255, 255, 255}}

func lines(texts ...string) [][]gridtext.Line {
	var out [][]gridtext.Line
	for _, t := range texts {
		out = append(out, []gridtext.Line{{Text: t}})
	}
	return out
}

// pixel is a colour of a picture.
func pixel(m imageio.RGB, x, y int) [3]uint8 { return [3]uint8(m.Pix[3*(y*m.W+x):]) }

// ink counts the pixels of a box that are no background.
func ink(m imageio.RGB, x0, y0, x1, y1 int) int {
	n := 0
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			if pixel(m, x, y) != style.Background {
				n++
			}
		}
	}
	return n
}

func TestAnnotate(t *testing.T) {
	red, blue := imageio.Fill(100, 100, [3]uint8{255, 0, 0}), imageio.Fill(100, 100, [3]uint8{0, 0, 255})
	grid := gridtext.Image([]imageio.RGB{red, blue, blue, red}, 2, style.Background)
	require.Equal(t, [2]int{200, 200}, [2]int{grid.W, grid.H})

	m := gridtext.Annotate(grid, 100, 100, lines("", ""), lines("", ""), 0, style)
	require.Equal(t, grid, m, "nothing to say")

	m = gridtext.Annotate(grid, 100, 100, lines("", ""), lines("", ""), 10, style)
	require.Equal(t, [2]int{210, 210}, [2]int{m.W, m.H})
	require.Equal(t, style.Background, pixel(m, 105, 5))
	require.Equal(t, [3]uint8{0, 0, 255}, pixel(m, 110, 5))

	m = gridtext.Annotate(grid, 100, 100, lines("Seed: 1", "Seed: 2"), lines("a", "b"), 0, style)
	top := m.H - 200
	require.Equal(t, 275, m.W, "three quarters of a cell")
	require.Greater(t, top, 8, "size 8 and half of it above and below")
	require.Less(t, top, 24)
	require.Equal(t, [3]uint8{255, 0, 0}, pixel(m, 75, top))
	require.NotZero(t, ink(m, 75, 0, 175, top))
	require.NotZero(t, ink(m, 175, 0, 275, top))
	require.Zero(t, ink(m, 0, 0, 75, top), "the corner is empty")
	require.NotZero(t, ink(m, 0, top, 75, top+100))

	wrapped := gridtext.Annotate(grid, 100, 100, lines("a text of many words that is wider than the cell", ""), lines("", ""), 0, style)
	require.Greater(t, wrapped.H-200, top+8, "another line")
}

func TestStruckThrough(t *testing.T) {
	grid := imageio.Fill(200, 200, [3]uint8{1, 2, 3})
	m := gridtext.Annotate(grid, 200, 200, [][]gridtext.Line{{{Text: "word", Inactive: true}}}, lines(""), 0, style)
	longest := 0
	for y := range m.H - 200 {
		run := 0
		for x := range m.W {
			if pixel(m, x, y) == style.Inactive {
				run++
				longest = max(longest, run)
			} else {
				run = 0
			}
		}
	}
	require.Greater(t, longest, 20, "a line through the word")
}

// Characters that the main font lacks differ from each other and from the box that
// it draws for what it does not know.
func TestEveryScript(t *testing.T) {
	grid := imageio.Fill(300, 300, [3]uint8{1, 2, 3})
	seen := make(map[string]string)
	for _, text := range []string{"a", "é", "Ω", "Ж", "中", "文", "日", "本", "あ", "カ", "한", "글", "ا", "ב", "ก", "\U000E0000"} {
		m := gridtext.Annotate(grid, 300, 300, lines(text+"x"), lines(""), 0, style)
		legend := m.Crop(imageio.Box{X1: m.W, Y1: m.H - 300})
		require.NotZero(t, ink(legend, 0, 0, legend.W, legend.H), text)
		for other, pix := range seen {
			require.False(t, bytes.Equal(legend.Pix, []byte(pix)), "%q looks like %q", text, other)
		}
		seen[text] = string(legend.Pix)
	}
}

func TestParse(t *testing.T) {
	_, err := gridtext.Parse([]byte("no font"))
	require.Error(t, err)
}
