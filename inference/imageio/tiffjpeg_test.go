package imageio_test

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/imageio"
)

type tiffFile struct {
	origin
	Cases []struct {
		Name string
		File []byte
		Size [2]int
		RGBA []byte
	}
}

// TestDecodeJPEGInTIFF allows the differences of two JPEG decoders.
func TestDecodeJPEGInTIFF(t *testing.T) {
	var f tiffFile
	load(t, "tiffjpeg.json", &f)
	require.NotEmpty(t, f.Cases)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m, err := imageio.Decode(c.File, imageio.MaxPixels)
			require.NoError(t, err)
			require.Equal(t, "tiff", m.Format)
			require.Equal(t, [2]int{m.W, m.H}, c.Size)
			requireClose(t, c.RGBA, m.Pix, 3)
			require.Equal(t, c.Name == "rgba", m.HasAlpha)

			w, h, err := imageio.Size(c.File)
			require.NoError(t, err)
			require.Equal(t, [2]int{w, h}, c.Size)
			var large *imageio.TooLargeError
			_, err = imageio.Decode(c.File, w*h-1)
			require.ErrorAs(t, err, &large)

			for n := range len(c.File) { // no panic
				_, _ = imageio.Decode(c.File[:n], imageio.MaxPixels)
			}
		})
	}
}

// A part that says it is larger than the file does is refused before it is decoded.
func TestJPEGInTIFFOfAnotherSize(t *testing.T) {
	var f tiffFile
	load(t, "tiffjpeg.json", &f)
	data := bytes.Clone(f.Cases[0].File)
	at := bytes.LastIndex(data, []byte{0xff, 0xc0, 0x00}) // start of frame: length, bits, height, width
	require.Positive(t, at)
	binary.BigEndian.PutUint16(data[at+5:], 65535)
	binary.BigEndian.PutUint16(data[at+7:], 65535)
	_, err := imageio.Decode(data, imageio.MaxPixels)
	require.ErrorContains(t, err, "larger than it should be")
}

// TestJPEGTilesInTIFF builds a file of whole JPEG pictures of 32x32 pixels, without
// common tables.
func TestJPEGTilesInTIFF(t *testing.T) {
	const w, h, side = 50, 40, 32
	var tiles [][]byte
	for i := range 4 {
		m := image.NewRGBA(image.Rect(0, 0, side, side))
		for p := range side * side {
			m.SetRGBA(p%side, p/side, color.RGBA{uint8(60 * i), 200, uint8(250 - 60*i), 255})
		}
		var b bytes.Buffer
		require.NoError(t, jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}))
		tiles = append(tiles, b.Bytes())
	}
	file := []byte("II*\x00\x08\x00\x00\x00")
	tags := [][3]uint32{
		{256, 3, w},
		{257, 3, h},
		{258, 3, 8},
		{259, 3, 7},
		{262, 3, 6},
		{277, 3, 3},
		{322, 3, side},
		{323, 3, side},
		{324, 4, 0},
		{325, 4, 0},
	}
	lists := len(file) + 2 + 12*len(tags) + 4
	at := lists + 2*4*len(tiles)
	file = binary.LittleEndian.AppendUint16(file, uint16(len(tags)))
	for i, tag := range tags {
		count := uint32(1)
		if tag[1] == 4 {
			count, tag[2] = uint32(len(tiles)), uint32(lists+4*len(tiles)*(i-8))
		}
		file = binary.LittleEndian.AppendUint16(file, uint16(tag[0]))
		file = binary.LittleEndian.AppendUint16(file, uint16(tag[1]))
		file = binary.LittleEndian.AppendUint32(file, count)
		file = binary.LittleEndian.AppendUint32(file, tag[2])
	}
	file = append(file, 0, 0, 0, 0)
	for _, tile := range tiles {
		file = binary.LittleEndian.AppendUint32(file, uint32(at))
		at += len(tile)
	}
	for _, tile := range tiles {
		file = binary.LittleEndian.AppendUint32(file, uint32(len(tile)))
	}
	file = append(file, bytes.Join(tiles, nil)...)

	m, err := imageio.Decode(file, imageio.MaxPixels)
	require.NoError(t, err)
	require.Equal(t, [2]int{w, h}, [2]int{m.W, m.H})
	for i, p := range [][2]int{{5, 5}, {45, 5}, {5, 38}, {45, 38}} {
		got := m.Pix[4*(p[1]*w+p[0]):][:4]
		require.InDelta(t, 60*i, got[0], 3)
		require.InDelta(t, 200, got[1], 3)
		require.InDelta(t, 250-60*i, got[2], 3)
	}
}

func TestDecodePNGWithoutEnd(t *testing.T) {
	data, err := imageio.EncodePNG(noise(8, 8))
	require.NoError(t, err)
	want, err := imageio.Decode(data, imageio.MaxPixels)
	require.NoError(t, err)
	const end = 12 // bytes of IEND
	for _, missing := range []int{1, 4, 5, 8, end} {
		got, err := imageio.Decode(data[:len(data)-missing], imageio.MaxPixels)
		require.NoError(t, err, missing)
		require.Equal(t, want, got)
	}
}
