package imageio

import (
	"image"
	"io"

	"golang.org/x/image/tiff"
)

// Compressions of faxes (TIFF 6.0, sections 10 and 11).
const (
	compressionGroup3 = 3
	compressionGroup4 = 4
	photometricBlack  = 1 // black is zero
)

// readTIFF is tiff.Decode, and right for faxes, in which a black run is of ones: the
// library takes it as black also where the file says that black is zero, as Pillow's do,
// and white and black are exchanged.
func readTIFF(data []byte) readImage {
	return func(r io.Reader) (image.Image, error) {
		m, err := tiff.Decode(r)
		if g, ok := m.(*image.Gray); ok && err == nil && zeroIsBlackFax(data) {
			for i := range g.Pix {
				g.Pix[i] = ^g.Pix[i]
			}
		}
		return m, err
	}
}

func zeroIsBlackFax(data []byte) bool {
	e, err := newExif(data)
	if err != nil {
		return false
	}
	is := func(tag uint16, value uint32) bool {
		list := e.numbers(e.first(), tag)
		return len(list) > 0 && list[0] == value
	}
	return (is(tagCompression, compressionGroup3) || is(tagCompression, compressionGroup4)) && is(tagPhotometric, photometricBlack)
}
