package imageio_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/bmp"

	"sdworker/inference/imageio"
)

var white = [3]uint8{255, 255, 255}

type decodeFile struct {
	origin
	Cases []struct {
		Name, Format     string
		File, Want, Mask []byte
		Size             [2]int
		Alpha            bool
		Tolerance        int
	}
}

func TestDecodeEqualsPillow(t *testing.T) {
	var f decodeFile
	load(t, "decode.json", &f)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m, err := imageio.Decode(c.File, imageio.MaxPixels)
			require.NoError(t, err)
			require.Equal(t, c.Format, m.Format)
			require.Equal(t, [2]int{m.W, m.H}, c.Size)
			require.Equal(t, c.Alpha, m.HasAlpha)
			requireClose(t, c.Want, m.RGB(white).Pix, c.Tolerance)
			requireClose(t, c.Mask, imageio.Mask(m, true).Pix, c.Tolerance)
		})
	}
}

func TestDecodeInterlacedPNG(t *testing.T) {
	// One pass of a 1x1 picture is the whole picture.
	var plain bytes.Buffer
	require.NoError(t, png.Encode(&plain, image.NewNRGBA(image.Rect(0, 0, 1, 1))))
	data := plain.Bytes()
	data[28] = 1 // interlace method in IHDR
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	m, err := imageio.Decode(data, 1)
	require.NoError(t, err)
	require.Equal(t, []uint8{0, 0, 0, 0}, m.Pix)
}

func TestDecodeDeepGrey(t *testing.T) {
	m := image.NewGray16(image.Rect(0, 0, 2, 1))
	m.SetGray16(0, 0, color.Gray16{Y: 0x12ff})
	m.SetGray16(1, 0, color.Gray16{Y: 0xfe00})
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, m))
	got, err := imageio.Decode(file.Bytes(), 2)
	require.NoError(t, err)
	require.Equal(t, []uint8{0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe}, got.DropAlpha().Pix)
}

func TestDecodeTransparentGIF(t *testing.T) {
	p := image.NewPaletted(image.Rect(0, 0, 2, 1), color.Palette{color.Transparent, color.White})
	p.SetColorIndex(1, 0, 1)
	var file bytes.Buffer
	require.NoError(t, gif.Encode(&file, p, nil))
	m, err := imageio.Decode(file.Bytes(), 2)
	require.NoError(t, err)
	require.True(t, m.HasAlpha)
	require.Equal(t, []uint8{9, 9, 9, 255, 255, 255}, m.RGB([3]uint8{9, 9, 9}).Pix)
}

func TestDecodeRefuses(t *testing.T) {
	valid, err := imageio.EncodePNG(noise(8, 8))
	require.NoError(t, err)
	corrupt := bytes.Clone(valid)
	corrupt[60] ^= 1
	for name, data := range map[string][]byte{
		"nothing":          nil,
		"text":             []byte("zzzz"),
		"signature only":   []byte("\x89PNG\r\n\x1a\n"),
		"truncated pixels": valid[:len(valid)-40],
		"broken checksum":  corrupt,
		"jpeg start":       []byte("\xff\xd8\xff\xe0"),
		"riff":             []byte("RIFF\x04\x00\x00\x00WEBP"),
		"gif":              []byte("GIF89a"),
		"tiff":             []byte("II*\x00\xff\xff\xff\xff"),
		"bmp":              []byte("BM"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := imageio.Decode(data, imageio.MaxPixels)
			require.ErrorIs(t, err, imageio.ErrNotPicture)
		})
	}
}

func TestDecodeLimitsPixels(t *testing.T) {
	data, err := imageio.EncodePNG(imageio.NewRGB(100, 50))
	require.NoError(t, err)
	_, err = imageio.Decode(data, 100*50)
	require.NoError(t, err)
	_, err = imageio.Decode(data, 100*50-1)
	var large *imageio.TooLargeError
	require.ErrorAs(t, err, &large)
	require.Equal(t, imageio.TooLargeError{W: 100, H: 50, MaxPixels: 100*50 - 1}, *large)

	// A header that promises 2^31 pixels a side is refused before anything is allocated.
	binary.BigEndian.PutUint32(data[16:], 1<<31-1)
	binary.BigEndian.PutUint32(data[20:], 1<<31-1)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	_, err = imageio.Decode(data, imageio.MaxPixels)
	require.Error(t, err)
}

func FuzzDecode(f *testing.F) {
	for _, m := range []imageio.RGB{noise(3, 2), imageio.NewRGB(1, 1)} {
		for _, encode := range []func() ([]byte, error){
			func() ([]byte, error) { return imageio.EncodePNG(m, imageio.Text{Key: "parameters", Value: "кот"}) },
			func() ([]byte, error) { return imageio.EncodeJPEG(m, 80, "a cat") },
			func() ([]byte, error) { return imageio.EncodeWebP(m, 80, false, "a cat") },
			func() ([]byte, error) { return imageio.EncodeWebP(m, 80, true, "") },
			func() ([]byte, error) {
				var b bytes.Buffer
				err := bmp.Encode(&b, image.NewNRGBA(image.Rect(0, 0, 2, 2)))
				return b.Bytes(), err
			},
		} {
			data, err := encode()
			require.NoError(f, err)
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		imageio.ReadInfo(data)
		m, err := imageio.Decode(data, 1<<16)
		if err == nil {
			require.Len(t, m.Pix, 4*m.W*m.H)
			require.LessOrEqual(t, m.W*m.H, 1<<16)
		}
	})
}
