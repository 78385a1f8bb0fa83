package hint

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

// modulesFile holds what the extension's preprocessors give; see testdata/README.md.
type modulesFile struct {
	Pictures map[string]struct {
		Size [2]int
		RGB  []byte
	}
	Cases []struct {
		Picture, Module string
		Resolution      int
		A               *float64
		Seed            uint32
		Size            [2]int
		RGB, Grey       []byte
	}
	Masked []struct {
		Picture, Mode string
		Mask, Seen    []byte
		Size          [2]int
	}
}

func readModules(t *testing.T) *modulesFile {
	t.Helper()
	raw, err := os.ReadFile("testdata/modules.json")
	require.NoError(t, err)
	file := new(modulesFile)
	require.NoError(t, json.Unmarshal(raw, file))
	require.NotEmpty(t, file.Cases)
	require.NotEmpty(t, file.Masked)
	return file
}

func (f *modulesFile) picture(name string) imageio.RGB {
	p := f.Pictures[name]
	return imageio.RGB{W: p.Size[0], H: p.Size[1], Pix: p.RGB}
}

// TestModulesEqualTheExtension allows one level for what is rounded, and in what is
// black and white one pixel of a hundred, where a value meets the threshold.
func TestModulesEqualTheExtension(t *testing.T) {
	file := readModules(t)
	seen := map[string]bool{}
	exact, values := 0, 0
	for _, tc := range file.Cases {
		mod, ok := Lookup(tc.Module)
		require.True(t, ok, tc.Module)
		seen[mod.Name] = true
		s := Sliders{Resolution: tc.Resolution, A: -1, B: -1, Seed: tc.Seed}
		if tc.A != nil {
			s.A = *tc.A
		}
		got, err := Preprocess(mod, file.picture(tc.Picture), s, nil)
		require.NoError(t, err)
		want := imageio.RGB{W: tc.Size[0], H: tc.Size[1], Pix: tc.RGB}
		if tc.Grey != nil {
			want = imageio.Gray{W: want.W, H: want.H, Pix: tc.Grey}.RGB()
		}
		require.Equal(t, [2]int{got.W, got.H}, tc.Size, "%+v", s)
		flips := 0
		for i, v := range got.Pix {
			values++
			d := int(v) - int(want.Pix[i])
			if d == 0 {
				exact++
			}
			if d < -1 || d > 1 {
				flips++
			}
		}
		require.LessOrEqual(t, flips, len(got.Pix)/100, "%s of %s, %+v", tc.Module, tc.Picture, s)
		switch mod.Name {
		case "canny", "scribble_xdog", "threshold":
		default:
			require.Zero(t, flips, "%s of %s, %+v", tc.Module, tc.Picture, s)
		}
	}
	require.Greater(t, float64(exact)/float64(values), 0.999)
	t.Logf("%d of %d values are equal", exact, values)
	for _, mod := range Modules() {
		require.True(t, seen[mod.Name] || mod.Masked || mod.Vision || mod.Depth != 0, mod.Name)
	}
}

func TestMaskedPicturesEqualTheExtension(t *testing.T) {
	file := readModules(t)
	for _, tc := range file.Masked {
		m := file.picture(tc.Picture)
		p := Picture{m, &imageio.Gray{W: m.W, H: m.H, Pix: tc.Mask}}
		mode := map[string]int{"stretch": Stretch, "crop": Crop, "pad": Pad}[tc.Mode]
		got, err := Make(p, Options{Module: "inpaint_only", ResizeMode: mode, Width: tc.Size[0], Height: tc.Size[1]})
		require.NoError(t, err)
		pixels := got.Seen()
		require.Len(t, tc.Seen, 2*len(pixels))
		for i, v := range pixels {
			want := float64(int16(binary.LittleEndian.Uint16(tc.Seen[2*i:]))) / (64 * 255)
			require.InDelta(t, want, v, 0.1/255, "%s %s to %v, value %d", tc.Picture, tc.Mode, tc.Size, i)
		}
	}
}
