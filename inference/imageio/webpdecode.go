package imageio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"

	"golang.org/x/image/webp"
)

var errWebP = errors.New("webp: no image data")

// webpConfig reads the larger of the sizes that an extended WebP states for its
// canvas and its first frame.
func webpConfig(data []byte) (image.Config, error) {
	f, err := webpFrame(data)
	if err != nil {
		return image.Config{}, err
	}
	config, err := webp.DecodeConfig(bytes.NewReader(f.file))
	config.Width, config.Height = max(config.Width, f.canvasW), max(config.Height, f.canvasH)
	return config, err
}

func decodeWebP(data []byte) (RGBA, bool, error) {
	f, err := webpFrame(data)
	if err != nil {
		return RGBA{}, false, err
	}
	decoded, err := webp.Decode(bytes.NewReader(f.file))
	if err != nil {
		return RGBA{}, false, err
	}
	var out RGBA
	switch m := decoded.(type) {
	case *image.YCbCr:
		out = NewRGBA(m.Rect.Dx(), m.Rect.Dy())
		ycbcrPixels(out, m, bt601)
	case *image.NYCbCrA:
		out = NewRGBA(m.Rect.Dx(), m.Rect.Dy())
		ycbcrPixels(out, &m.YCbCr, bt601)
		out.each(func(x, y int, p []uint8) { p[3] = m.A[y*m.AStride+x] })
	default:
		out = pixels(decoded)
	}
	if f.canvasW > 0 && (f.canvasW != out.W || f.canvasH != out.H) {
		out = out.Crop(Box{-f.x, -f.y, f.canvasW - f.x, f.canvasH - f.y})
	}
	return out, !out.Opaque(), nil
}

// frame is the first frame of a WebP file as a file of its own.
type frame struct {
	file             []byte
	x, y             int // on the canvas
	canvasW, canvasH int // of an animation; 0 for a still picture
}

// webpFrame reduces extended files to what the decoder reads: lossless data in an
// extended file loses the extension, and of an animation only the first frame
// remains.
func webpFrame(data []byte) (frame, error) {
	var f frame
	body, header := data, webpHeader
	if anim, ok := riffChunk(data, webpHeader, "ANMF"); ok {
		extended, _ := riffChunk(data, webpHeader, "VP8X")
		if len(anim) < 16 || len(extended) < 10 {
			return frame{}, errWebP
		}
		f.canvasW, f.canvasH = uint24(extended[4:])+1, uint24(extended[7:])+1
		f.x, f.y = 2*uint24(anim), 2*uint24(anim[3:])
		body, header = anim, 16
	}
	lossless, ok := riffChunk(body, header, "VP8L")
	if ok {
		f.file = riff(riffPart{"VP8L", lossless})
		return f, nil
	}
	lossy, ok := riffChunk(body, header, "VP8 ")
	if !ok {
		return frame{}, errWebP
	}
	alpha, ok := riffChunk(body, header, "ALPH")
	if !ok {
		f.file = riff(riffPart{"VP8 ", lossy})
		return f, nil
	}
	config, err := webp.DecodeConfig(bytes.NewReader(riff(riffPart{"VP8 ", lossy})))
	if err != nil {
		return frame{}, err
	}
	f.file = riff(riffPart{"VP8X", extendedHeader(vp8xAlpha, config.Width, config.Height)}, riffPart{"ALPH", alpha}, riffPart{"VP8 ", lossy})
	return f, nil
}

// Flags of the VP8X chunk (WebP container specification).
const (
	vp8xExif  = 1 << 3
	vp8xAlpha = 1 << 4
)

// extendedHeader is the content of a VP8X chunk.
func extendedHeader(flags byte, w, h int) []byte {
	out := []byte{flags, 0, 0, 0}
	for _, side := range []int{w - 1, h - 1} {
		out = append(out, byte(side), byte(side>>8), byte(side>>16))
	}
	return out
}

// riffPart is one chunk of a WebP file.
type riffPart struct {
	kind string
	data []byte
}

// riff builds a WebP file.
func riff(parts ...riffPart) []byte {
	out := []byte("RIFF\x00\x00\x00\x00WEBP")
	for _, p := range parts {
		out = append(out, p.kind...)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p.data)))
		out = append(out, p.data...)
		if len(p.data)%2 == 1 {
			out = append(out, 0)
		}
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
