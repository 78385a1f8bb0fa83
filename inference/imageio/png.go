package imageio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"sdworker/formats/pngtext"

	"github.com/klauspost/compress/zlib"
)

// PNG colour types (PNG specification, table 11.1).
const (
	pngGray = 0
	pngRGB  = 2
	pngRGBA = 6
)

// EncodePNG returns the picture as an 8-bit PNG file with the texts before the
// pixels. As Pillow does, a text that latin-1 can hold becomes a tEXt chunk and
// any other an uncompressed iTXt chunk.
//
// It is made for speed: one pass of filters chosen per row and fast deflate.
func EncodePNG(m RGB, texts ...Text) ([]byte, error) {
	return encodePNG(m.Pix, m.W, m.H, 3, pngRGB, texts)
}

// EncodeGrayPNG is EncodePNG for a mask.
func EncodeGrayPNG(m Gray, texts ...Text) ([]byte, error) {
	return encodePNG(m.Pix, m.W, m.H, 1, pngGray, texts)
}

// EncodeAlphaPNG is EncodePNG for a picture with alpha, which has the same size.
func EncodeAlphaPNG(m RGB, alpha Gray, texts ...Text) ([]byte, error) {
	pix := make([]uint8, 0, 4*len(alpha.Pix))
	for i, a := range alpha.Pix {
		pix = append(append(pix, m.Pix[3*i:3*i+3]...), a)
	}
	return encodePNG(pix, m.W, m.H, 4, pngRGBA, texts)
}

func encodePNG(pix []uint8, w, h, channels int, colourType byte, texts []Text) ([]byte, error) {
	if w < 1 || h < 1 || len(pix) != w*h*channels {
		return nil, fmt.Errorf("cannot write %dx%d picture with %d bytes as PNG", w, h, len(pix))
	}
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	if err := d.compress(pix, w*channels, channels); err != nil {
		return nil, err
	}

	out := make([]byte, 0, d.out.Len()+textSize(texts)+64)
	out = append(out, pngtext.Signature...)
	header := binary.BigEndian.AppendUint32(nil, uint32(w))
	header = binary.BigEndian.AppendUint32(header, uint32(h))
	out = appendChunk(out, "IHDR", append(header, 8, colourType, 0, 0, 0))
	out, err := appendTexts(out, texts)
	if err != nil {
		return nil, err
	}
	out = appendChunk(out, "IDAT", d.out.Bytes())
	return appendChunk(out, "IEND", nil), nil
}

// deflater is the working memory of one encoder, a few MB, so it is kept.
type deflater struct {
	filtered []byte // all rows, each behind its filter type
	zeros    int    // sampled bytes that the filters made 0
	samples  int
	out      bytes.Buffer
	entropy  *zlib.Writer // Huffman codes only
	matches  *zlib.Writer // Huffman codes and repeated strings
}

// flatShare is the share of zero differences from which repeated strings are
// worth looking for. Below it, in photographs and most generated pictures, the
// search costs five times the time and saves nothing.
const flatShare = 0.6

// matchLevel is the cheapest level that does not give up on a picture's mixture
// of flat and busy parts (measured on klauspost/compress 1.20).
const matchLevel = 4

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	d.entropy, _ = zlib.NewWriterLevel(&d.out, zlib.HuffmanOnly) // fails for unknown levels only
	d.matches, _ = zlib.NewWriterLevel(&d.out, matchLevel)
	return d
}}

// compress leaves the filtered and deflated rows of stride bytes in d.out.
func (d *deflater) compress(pix []uint8, stride, pixel int) error {
	d.out.Reset()
	d.filterRows(pix, stride, pixel)
	w := d.entropy
	if float64(d.zeros) >= flatShare*float64(d.samples) {
		w = d.matches
	}
	w.Reset(&d.out)
	if _, err := w.Write(d.filtered); err != nil {
		return err
	}
	return w.Close()
}

func appendChunk(dst []byte, kind string, parts ...[]byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, kind...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-8))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[at+4:]))
}

func appendTexts(dst []byte, texts []Text) ([]byte, error) {
	for _, t := range texts {
		key, ok := latin1(t.Key)
		if !ok || len(key) < 1 || len(key) > 79 || bytes.IndexByte(key, 0) >= 0 {
			return nil, fmt.Errorf("%q cannot be the key of a PNG text: 1 to 79 latin-1 characters", t.Key)
		}
		if value, ok := latin1(t.Value); ok {
			dst = appendChunk(dst, "tEXt", key, []byte{0}, value)
			continue
		}
		// Behind the key: uncompressed, compression method, no language, no translated key.
		dst = appendChunk(dst, "iTXt", key, []byte{0, 0, 0, 0, 0}, []byte(t.Value))
	}
	return dst, nil
}

func textSize(texts []Text) int {
	n := 0
	for _, t := range texts {
		n += len(t.Key) + len(t.Value) + 20
	}
	return n
}
