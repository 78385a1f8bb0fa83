package imageio

import (
	"bytes"
	"fmt"

	"github.com/gen2brain/webp"
)

// maxWebPSide is the format's limit for a side in pixels.
const maxWebPSide = 16383

// EncodeWebP returns the picture as a WebP file: lossy of a quality from 1 to 100,
// or lossless, which ignores it. A comment, if not empty, becomes the EXIF user
// comment in an extended file.
//
// The encoder is libwebp, compiled to WebAssembly; the first call compiles it,
// which takes about half a second.
func EncodeWebP(m RGB, quality int, lossless bool, comment string) ([]byte, error) {
	if m.W > maxWebPSide || m.H > maxWebPSide {
		return nil, fmt.Errorf("a picture of %dx%d pixels does not fit into WebP, whose sides end at %d; use PNG", m.W, m.H, maxWebPSide)
	}
	var file bytes.Buffer
	if err := webp.Encode(&file, m.opaque(), webp.Options{Quality: quality, Lossless: lossless, Method: webp.DefaultMethod}); err != nil {
		return nil, fmt.Errorf("cannot write %dx%d picture as WebP: %w", m.W, m.H, err)
	}
	if comment == "" {
		return file.Bytes(), nil
	}
	var parts []riffPart
	for kind, data := range riffChunks(file.Bytes(), webpHeader) {
		parts = append(parts, riffPart{kind, data})
	}
	extended := riffPart{"VP8X", extendedHeader(vp8xExif, m.W, m.H)}
	return riff(append(append([]riffPart{extended}, parts...), riffPart{"EXIF", userCommentEXIF(comment)})...), nil
}
