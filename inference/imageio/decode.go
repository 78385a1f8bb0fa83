package imageio

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"sdworker/formats/pngtext"

	"golang.org/x/image/bmp"
)

// MaxPixels is a limit for Decode that fits any picture A1111 can work with: 64
// million pixels, 256 MB decoded.
const MaxPixels = 1 << 26

// ErrNotPicture means that the data is no picture, or a damaged one.
var ErrNotPicture = errors.New("not a picture in PNG, JPEG, WebP, GIF, BMP or TIFF format")

// TooLargeError means that a picture has more pixels than the caller allows. It
// is found from the header, before any pixel is decoded.
type TooLargeError struct{ W, H, MaxPixels int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a picture of %dx%d pixels is too large: at most %d pixels are accepted; send a smaller one", e.W, e.H, e.MaxPixels)
}

// Decoded is a picture read from a file.
type Decoded struct {
	RGBA
	Format string // "png", "jpeg", "webp", "gif", "bmp" or "tiff"

	// HasAlpha tells whether A1111 looks at the alpha channel. It does not for
	// grey and RGB PNGs, and not for a palette with a single transparent entry.
	HasAlpha bool
}

// RGB returns the picture without transparency: on the background colour if it
// has alpha, otherwise its colours as they are.
func (d Decoded) RGB(background [3]uint8) RGB {
	if d.HasAlpha {
		return d.Flatten(background)
	}
	return d.DropAlpha()
}

// format is how one kind of file is read. decode also reports whether the alpha
// channel counts.
type format struct {
	name   string
	config func(data []byte) (image.Config, error)
	decode func(data []byte) (RGBA, bool, error)
}

// Decode reads a picture file of at most maxPixels pixels: PNG, JPEG, WebP, GIF,
// BMP or TIFF, the first frame of an animation. 16-bit channels lose their low
// byte. The orientation that a camera stored is applied, as A1111 does.
//
// The error is a *TooLargeError or wraps ErrNotPicture.
func Decode(data []byte, maxPixels int) (d Decoded, err error) {
	defer refusePanic(&err)
	w, h, err := Size(data)
	if err != nil {
		return Decoded{}, err
	}
	if w > maxPixels/h {
		return Decoded{}, &TooLargeError{w, h, maxPixels}
	}
	f, _ := sniff(data)
	m, alpha, err := f.decode(data)
	if err != nil {
		return Decoded{}, fmt.Errorf("%w: %w", ErrNotPicture, err)
	}
	return Decoded{RGBA: m.orient(orientation(data)), Format: f.name, HasAlpha: alpha}, nil
}

// Size reads the width and height of a picture file in pixels, as stored, from its
// header. The error wraps ErrNotPicture.
func Size(data []byte) (w, h int, err error) {
	defer refusePanic(&err)
	f, ok := sniff(data)
	if !ok {
		return 0, 0, ErrNotPicture
	}
	config, err := f.config(data)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrNotPicture, err)
	}
	if config.Width < 1 || config.Height < 1 {
		return 0, 0, fmt.Errorf("%w: it has no pixels", ErrNotPicture)
	}
	return config.Width, config.Height, nil
}

// refusePanic turns a panic of a decoder, which a hostile file may provoke, into an
// error: one request must not end the program.
func refusePanic(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: the decoder failed: %v", ErrNotPicture, r)
	}
}

// sniff finds the format by the first bytes of the file.
func sniff(data []byte) (format, bool) {
	has := func(prefix string) bool { return bytes.HasPrefix(data, []byte(prefix)) }
	switch {
	case has(pngtext.Signature):
		return format{"png", from(png.DecodeConfig), decodePNG}, true
	case has("\xff\xd8\xff"):
		return format{"jpeg", from(jpeg.DecodeConfig), opaque(jpeg.Decode)}, true
	case has("RIFF") && len(data) >= 12 && string(data[8:12]) == "WEBP":
		return format{"webp", webpConfig, decodeWebP}, true
	case has("GIF8"):
		return format{"gif", from(gif.DecodeConfig), transparent(gif.Decode)}, true
	case has("BM"):
		return format{"bmp", from(bmp.DecodeConfig), transparent(bmp.Decode)}, true
	case has("II*\x00"), has("MM\x00*"):
		return format{"tiff", tiffConfig, decodeTIFF}, true
	}
	return format{}, false
}

type (
	readConfig = func(io.Reader) (image.Config, error)
	readImage  = func(io.Reader) (image.Image, error)
)

func from(read readConfig) func([]byte) (image.Config, error) {
	return func(data []byte) (image.Config, error) { return read(bytes.NewReader(data)) }
}

// opaque is a format without an alpha channel.
func opaque(read readImage) func([]byte) (RGBA, bool, error) {
	return func(data []byte) (RGBA, bool, error) {
		m, err := read(bytes.NewReader(data))
		if err != nil {
			return RGBA{}, false, err
		}
		return pixels(m), false, nil
	}
}

// transparent is a format whose alpha channel counts where it is used.
func transparent(read readImage) func([]byte) (RGBA, bool, error) {
	return func(data []byte) (RGBA, bool, error) {
		m, err := read(bytes.NewReader(data))
		if err != nil {
			return RGBA{}, false, err
		}
		out := pixels(m)
		return out, !out.Opaque(), nil
	}
}

// decodePNG decides over alpha as Pillow and A1111 do together: a palette with
// one transparent entry and RGB or grey with a transparent colour count as
// opaque, and so does grey with an alpha channel.
func decodePNG(data []byte) (RGBA, bool, error) {
	m, err := png.Decode(bytes.NewReader(withPNGEnd(data)))
	if err != nil {
		return RGBA{}, false, err
	}
	const palette, truecolourAlpha = 3, 6
	colourType := data[len(pngtext.Signature)+8+9]
	alpha := colourType == truecolourAlpha
	if colourType == palette {
		if t, ok := pngtext.Chunk(data, "tRNS"); ok {
			alpha = len(bytes.Trim(t, "\xff")) != 1 || bytes.IndexByte(t, 0) < 0
		}
	}
	return pixels(m), alpha, nil
}

// withPNGEnd ends a file after its last whole chunk if its own end is missing, as
// in files of programs that were stopped: Pillow needs the pixels only.
func withPNGEnd(data []byte) []byte {
	end, pixels := len(pngtext.Signature), false
	for kind, chunk := range pngtext.Chunks(data) {
		if kind == "IEND" {
			return data
		}
		pixels = pixels || kind == "IDAT"
		end += 12 + len(chunk)
	}
	if !pixels {
		return data
	}
	return appendChunk(data[:end:end], "IEND")
}
