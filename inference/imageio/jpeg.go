package imageio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
	"math"
)

// jfifHeader is the APP0 segment of version 1.1 without a density, as Pillow
// writes it.
const jfifHeader = "\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

// EncodeJPEG returns the picture as a JPEG file of a quality from 1 to 100, with
// chroma halved on both axes. A comment, if not empty, becomes the EXIF user
// comment; it may be about 32,000 characters long.
func EncodeJPEG(m RGB, quality int, comment string) ([]byte, error) {
	var file bytes.Buffer
	if err := jpeg.Encode(&file, m.opaque(), &jpeg.Options{Quality: quality}); err != nil {
		return nil, fmt.Errorf("cannot write %dx%d picture as JPEG: %w", m.W, m.H, err)
	}
	const startOfImage = 2
	encoded := file.Bytes()
	out := append(encoded[:startOfImage:startOfImage], jfifHeader...)
	if comment != "" {
		exif := append([]byte("Exif\x00\x00"), userCommentEXIF(comment)...)
		size := len(exif) + 2
		if size > math.MaxUint16 {
			return nil, fmt.Errorf("generation parameters of %d bytes do not fit into a JPEG file; use PNG or WebP", len(comment))
		}
		out = append(out, 0xff, markerAPP1)
		out = binary.BigEndian.AppendUint16(out, uint16(size))
		out = append(out, exif...)
	}
	return append(out, encoded[startOfImage:]...), nil
}

// opaque is the picture in the form that the standard encoders are quickest with.
func (m RGB) opaque() *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, m.W, m.H))
	for i, j := 0, 0; i < len(m.Pix); i, j = i+3, j+4 {
		out.Pix[j], out.Pix[j+1], out.Pix[j+2], out.Pix[j+3] = m.Pix[i], m.Pix[i+1], m.Pix[i+2], 255
	}
	return out
}
