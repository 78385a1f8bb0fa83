package imageio

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"

	"golang.org/x/image/tiff"
)

// TIFF tags and values (TIFF 6.0; Adobe's TIFF Technical Note 2 for JPEG).
const (
	tagImageWidth      = 256
	tagImageLength     = 257
	tagCompression     = 259
	tagPhotometric     = 262
	tagStripOffsets    = 273
	tagSamplesPerPixel = 277
	tagRowsPerStrip    = 278
	tagStripByteCounts = 279
	tagPlanarConfig    = 284
	tagTileWidth       = 322
	tagTileLength      = 323
	tagTileOffsets     = 324
	tagTileByteCounts  = 325
	tagJPEGTables      = 347

	compressionJPEG  = 7
	photometricYCbCr = 6
	photometricCMYK  = 5
	photometricWhite = 0 // white is zero
)

// decodeTIFF reads the compressions of golang.org/x/image/tiff, and JPEG.
func decodeTIFF(data []byte) (RGBA, bool, error) {
	t, ok, err := readJPEGTIFF(data)
	if err != nil {
		return RGBA{}, false, err
	}
	if !ok {
		return transparent(readTIFF(data))(data)
	}
	out, err := t.decode()
	return out, err == nil && !out.Opaque(), err
}

func tiffConfig(data []byte) (image.Config, error) {
	t, ok, err := readJPEGTIFF(data)
	if err != nil || !ok {
		return from(tiff.DecodeConfig)(data)
	}
	return image.Config{Width: t.w, Height: t.h, ColorModel: color.RGBAModel}, nil
}

// jpegTIFF is a TIFF file whose strips or tiles are JPEG pictures.
type jpegTIFF struct {
	w, h         int
	partW, partH int // of a strip or tile
	samples      int
	photometric  int
	tables       []byte   // of all parts, in front of each
	parts        [][]byte // in rows
}

// readJPEGTIFF reads the first directory. ok is false for another compression.
func readJPEGTIFF(data []byte) (t *jpegTIFF, ok bool, err error) {
	e, err := newExif(data)
	if err != nil {
		return nil, false, err
	}
	ifd := e.first()
	number := func(tag uint16, def int) int {
		if list := e.numbers(ifd, tag); len(list) > 0 {
			return int(list[0])
		}
		return def
	}
	if number(tagCompression, 1) != compressionJPEG {
		return nil, false, nil
	}
	t = &jpegTIFF{
		w: number(tagImageWidth, 0), h: number(tagImageLength, 0),
		samples: number(tagSamplesPerPixel, 1), photometric: number(tagPhotometric, 1),
	}
	if number(tagPlanarConfig, 1) != 1 {
		return nil, false, errors.New("a TIFF file with JPEG in separate planes")
	}
	t.partW, t.partH = t.w, min(number(tagRowsPerStrip, t.h), t.h)
	offsets, sizes := e.numbers(ifd, tagStripOffsets), e.numbers(ifd, tagStripByteCounts)
	if tiles := e.numbers(ifd, tagTileOffsets); len(tiles) > 0 {
		t.partW, t.partH = number(tagTileWidth, 0), number(tagTileLength, 0)
		offsets, sizes = tiles, e.numbers(ifd, tagTileByteCounts)
	}
	if t.w < 1 || t.h < 1 || t.partW < 1 || t.partH < 1 {
		return nil, false, errors.New("a TIFF file without pixels")
	}
	t.tables, _ = e.value(ifd, tagJPEGTables)
	for i, at := range offsets {
		if i >= len(sizes) || uint64(at)+uint64(sizes[i]) > uint64(len(data)) {
			return nil, false, errors.New("a TIFF file that is cut off")
		}
		t.parts = append(t.parts, data[at:at+sizes[i]])
	}
	return t, true, nil
}

func (t *jpegTIFF) decode() (RGBA, error) {
	across := (t.w + t.partW - 1) / t.partW
	down := (t.h + t.partH - 1) / t.partH
	if len(t.parts) != across*down {
		return RGBA{}, fmt.Errorf("a TIFF file with %d parts where %d are needed", len(t.parts), across*down)
	}
	out := NewRGBA(t.w, t.h)
	for i, part := range t.parts {
		stream := t.stream(part)
		config, err := jpeg.DecodeConfig(bytes.NewReader(stream))
		if err != nil {
			return RGBA{}, err
		}
		// The header of the file, which was checked, bounds what its parts may hold.
		if config.Width > t.partW || config.Height > t.partH {
			return RGBA{}, errors.New("a TIFF file with a part that is larger than it should be")
		}
		m, err := jpeg.Decode(bytes.NewReader(stream))
		if err != nil {
			return RGBA{}, err
		}
		pix, x0, y0 := t.pixels(m), i%across*t.partW, i/across*t.partH
		for y := range min(pix.H, t.h-y0) {
			copy(out.Pix[4*((y0+y)*t.w+x0):][:4*min(pix.W, t.w-x0)], pix.Pix[4*y*pix.W:])
		}
	}
	return out, nil
}

// stream is a whole JPEG file: the tables and the part, and Adobe's marker that
// says whether three components are Y, Cb and Cr.
func (t *jpegTIFF) stream(part []byte) []byte {
	adobe := []byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00")
	if t.photometric == photometricYCbCr {
		adobe[len(adobe)-1] = 1
	}
	out := append([]byte("\xff\xd8"), adobe...)
	if tables := bytes.TrimSuffix(bytes.TrimPrefix(t.tables, []byte("\xff\xd8")), []byte("\xff\xd9")); len(tables) > 0 {
		out = append(out, tables...)
	}
	return append(out, bytes.TrimPrefix(part, []byte("\xff\xd8"))...)
}

// pixels are those of a part, in the colours that the file says they have.
func (t *jpegTIFF) pixels(m image.Image) RGBA {
	four, ok := m.(*image.CMYK)
	if !ok {
		out := pixels(m)
		if t.samples == 1 && t.photometric == photometricWhite {
			out.each(func(_, _ int, p []uint8) { p[0], p[1], p[2] = 255-p[0], 255-p[1], 255-p[2] })
		}
		return out
	}
	out := NewRGBA(four.Rect.Dx(), four.Rect.Dy())
	out.each(func(x, y int, p []uint8) {
		for c, v := range four.Pix[four.PixOffset(x, y):][:4] {
			p[c] = 255 - v // the decoder takes four components for Adobe's, which are inverted
		}
		if t.photometric == photometricCMYK {
			p[0], p[1], p[2] = color.CMYKToRGB(p[0], p[1], p[2], p[3])
			p[3] = 255
		}
	})
	return out
}
