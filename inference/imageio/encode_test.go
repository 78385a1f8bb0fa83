package imageio_test

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sdworker/inference/imageio"
)

// chunks lists kind and content of the chunks of a PNG file.
func chunks(t *testing.T, data []byte) (kinds []string, contents [][]byte) {
	t.Helper()
	for data = data[8:]; len(data) > 0; {
		size := binary.BigEndian.Uint32(data)
		kinds, contents = append(kinds, string(data[4:8])), append(contents, data[8:8+size])
		data = data[12+size:]
	}
	return kinds, contents
}

func TestPNGChunkKind(t *testing.T) {
	each(t, "png_chunk.json", func(t *testing.T, text, want string) {
		file, err := imageio.EncodePNG(noise(2, 2), imageio.Text{Key: "parameters", Value: text})
		require.NoError(t, err)
		kinds, contents := chunks(t, file)
		require.Equal(t, []string{"IHDR", want, "IDAT", "IEND"}, kinds)
		if want == "iTXt" {
			require.Equal(t, "parameters\x00\x00\x00\x00\x00"+text, string(contents[1]))
		}
		require.Equal(t, text, imageio.ReadInfo(file).Parameters)
	})
}

func TestPNGRefuses(t *testing.T) {
	for _, key := range []string{"", "кот", strings.Repeat("k", 80), "a\x00b"} {
		_, err := imageio.EncodePNG(noise(1, 1), imageio.Text{Key: key})
		require.Error(t, err, "key %q", key)
	}
	_, err := imageio.EncodePNG(imageio.RGB{W: 2, H: 2, Pix: make([]uint8, 11)})
	require.Error(t, err)
	_, err = imageio.EncodePNG(imageio.RGB{})
	require.Error(t, err)
}

func TestPNGRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(t, "w"), rapid.IntRange(1, 40).Draw(t, "h")
		values := rapid.SampledFrom([]uint8{0, 1, 255}).Draw(t, "scale")
		m := imageio.RGB{W: w, H: h, Pix: rapid.SliceOfN(rapid.Byte(), 3*w*h, 3*w*h).Draw(t, "pix")}
		for i := range m.Pix { // from flat over smooth to noisy
			m.Pix[i] = m.Pix[i]&values + uint8(i/7)
		}
		data, err := imageio.EncodePNG(m)
		require.NoError(t, err)
		decoded, err := png.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		for y := range h {
			for x := range w {
				at := 3 * (y*w + x)
				r, g, b, _ := decoded.At(x, y).RGBA()
				require.Equal(t, []uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}, m.Pix[at:at+3])
			}
		}
	})
}

func TestPNGOfPicturesAndMasks(t *testing.T) {
	for name, m := range map[string]imageio.RGB{"photo": photo(64, 48), "noise": noise(64, 48), "drawing": drawing(64, 48), "flat": imageio.NewRGB(64, 48)} {
		data, err := imageio.EncodePNG(m)
		require.NoError(t, err, name)
		back, err := imageio.Decode(data, imageio.MaxPixels)
		require.NoError(t, err, name)
		require.Equal(t, m, back.DropAlpha(), name)
	}
	mask := noise(16, 16).Luma()
	data, err := imageio.EncodeGrayPNG(mask)
	require.NoError(t, err)
	decoded, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, mask.Pix, decoded.(*image.Gray).Pix)
}

func TestEncodersConcurrently(t *testing.T) {
	m := photo(32, 32)
	for name, encode := range map[string]func() ([]byte, error){
		"png":  func() ([]byte, error) { return imageio.EncodePNG(m, imageio.Text{Key: "parameters", Value: "кот"}) },
		"jpeg": func() ([]byte, error) { return imageio.EncodeJPEG(m, 80, "a cat") },
		"webp": func() ([]byte, error) { return imageio.EncodeWebP(m, 80, false, "a cat") },
	} {
		t.Run(name, func(t *testing.T) {
			want, err := encode()
			require.NoError(t, err)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 5 {
						got, err := encode()
						if err != nil || !bytes.Equal(want, got) {
							t.Errorf("a concurrent call gave another file: %v", err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestExifEqualsPiexif(t *testing.T) {
	var f struct {
		origin
		Cases []struct {
			Name, Comment string
			Want          []byte
		}
	}
	load(t, "exif.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if c.Comment == "" {
				return // no comment, no EXIF: unlike A1111, which stores an empty one
			}
			data, err := imageio.EncodeJPEG(photo(8, 8), 80, c.Comment)
			require.NoError(t, err)
			const app1 = 2 + 18 // behind the start of the image and the JFIF header
			size := int(binary.BigEndian.Uint16(data[app1+2:]))
			require.Equal(t, c.Want, data[app1+4:app1+2+size])
			require.Equal(t, c.Comment, imageio.ReadInfo(data).Parameters)
		})
	}
}

func TestLossyEncoders(t *testing.T) {
	m := photo(50, 30)
	for name, encode := range map[string]func(comment string) ([]byte, error){
		"jpeg": func(c string) ([]byte, error) { return imageio.EncodeJPEG(m, 95, c) },
		"webp": func(c string) ([]byte, error) { return imageio.EncodeWebP(m, 95, false, c) },
	} {
		for _, comment := range []string{"", "a cat, 猫"} {
			data, err := encode(comment)
			require.NoError(t, err)
			back, err := imageio.Decode(data, imageio.MaxPixels)
			require.NoError(t, err)
			require.Equal(t, name, back.Format)
			require.Equal(t, comment, imageio.ReadInfo(data).Parameters)
			sum := 0
			for i, v := range back.DropAlpha().Pix {
				sum += max(int(v)-int(m.Pix[i]), int(m.Pix[i])-int(v))
			}
			require.Less(t, float64(sum)/float64(len(m.Pix)), 6.0, "mean difference of %s", name)
		}
	}
}

func TestLosslessWebP(t *testing.T) {
	m := photo(50, 30)
	data, err := imageio.EncodeWebP(m, 80, true, "a cat")
	require.NoError(t, err)
	back, err := imageio.Decode(data, imageio.MaxPixels)
	require.NoError(t, err)
	require.Equal(t, m.Pix, back.DropAlpha().Pix)
}

func TestEncodersRefuseWhatDoesNotFit(t *testing.T) {
	_, err := imageio.EncodeJPEG(photo(8, 8), 80, strings.Repeat("a", 40000))
	require.ErrorContains(t, err, "use PNG or WebP")
	_, err = imageio.EncodeWebP(imageio.NewRGB(16384, 1), 80, false, "")
	require.ErrorContains(t, err, "use PNG")
}

func TestGrid(t *testing.T) {
	red, blue := imageio.Fill(2, 1, [3]uint8{255, 0, 0}), imageio.Fill(2, 1, [3]uint8{0, 0, 255})
	grid := imageio.Grid([]imageio.RGB{red, blue, red}, 2)
	require.Equal(t, [2]int{4, 2}, [2]int{grid.W, grid.H})
	require.Equal(t, append(append(append(append([]uint8{}, red.Pix...), blue.Pix...), red.Pix...), make([]uint8, 6)...), grid.Pix)

	for _, tc := range []struct {
		n, rows, batch int
		prevent        bool
		want           int
	}{{4, -1, 1, false, 2}, {3, -1, 1, false, 2}, {2, -1, 1, false, 1}, {6, -1, 1, true, 2}, {7, -1, 1, true, 1}, {6, 0, 3, false, 3}, {6, 5, 1, false, 5}, {1, -1, 1, false, 1}, {20, -1, 1, false, 4}} {
		require.Equal(t, tc.want, imageio.GridRows(tc.n, tc.rows, tc.batch, tc.prevent), "%+v", tc)
	}
}

func TestFlattenOnBackground(t *testing.T) {
	m := imageio.NewRGBA(3, 1)
	for i, a := range []uint8{0, 128, 255} {
		copy(m.Pix[4*i:], []uint8{200, 100, 0, a})
	}
	require.Equal(t, []uint8{0, 0, 255, 100, 50, 127, 200, 100, 0}, m.Flatten([3]uint8{0, 0, 255}).Pix)
	require.False(t, m.Opaque())
	require.Equal(t, []uint8{0, 128, 255}, m.Alpha().Pix)
}
