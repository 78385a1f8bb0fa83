// Package pngtext reads the chunks of PNG files and the texts in them (W3C PNG
// specification, 11.3.3). Damaged parts count as absent.
package pngtext

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Signature begins every PNG file.
const Signature = "\x89PNG\r\n\x1a\n"

// Chunks yields kind and content of the chunks of a PNG file until it ends or is
// damaged. Checksums are not verified.
func Chunks(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		data = data[min(len(Signature), len(data)):]
		for len(data) >= 12 {
			size := uint64(binary.BigEndian.Uint32(data))
			if size+12 > uint64(len(data)) || !yield(string(data[4:8]), data[8:8+size]) {
				return
			}
			data = data[12+size:]
		}
	}
}

// Chunk returns the first chunk of a kind.
func Chunk(data []byte, kind string) ([]byte, bool) {
	for k, chunk := range Chunks(data) {
		if k == kind {
			return chunk, true
		}
	}
	return nil, false
}

// Find returns the text of a PNG file under a key, in a chunk of any of the three
// kinds. One that inflates to more than limit bytes is passed over. As in Pillow, of
// two with the same key the last counts.
func Find(data []byte, key string, limit int) (text string, found bool) {
	for kind, chunk := range Chunks(data) {
		if !bytes.HasPrefix(chunk, append([]byte(key), 0)) {
			continue
		}
		if _, value, ok := Text(kind, chunk, limit); ok {
			text, found = value, true
		}
	}
	return text, found
}

// IsText tells the kinds of chunks that hold a text.
func IsText(kind string) bool { return kind == "tEXt" || kind == "zTXt" || kind == "iTXt" }

// Text reads a text chunk of any of the three kinds, of at most limit bytes if it is
// compressed. The text is UTF-8 whatever the chunk was encoded in.
func Text(kind string, chunk []byte, limit int) (key, value string, ok bool) {
	rawKey, rest, found := bytes.Cut(chunk, []byte{0})
	if !found || len(rawKey) == 0 {
		return "", "", false
	}
	key = fromLatin1(rawKey)
	switch kind {
	case "tEXt":
		return key, fromLatin1(rest), true
	case "zTXt":
		if len(rest) < 1 || rest[0] != 0 {
			return "", "", false
		}
		text, err := inflate(rest[1:], limit)
		return key, fromLatin1(text), err == nil
	case "iTXt":
		if len(rest) < 2 {
			return "", "", false
		}
		compressed, text := rest[0] != 0, rest[2:]
		for range 2 { // language and translated key
			if _, text, found = bytes.Cut(text, []byte{0}); !found {
				return "", "", false
			}
		}
		var err error
		if compressed {
			text, err = inflate(text, limit)
		}
		return key, strings.ToValidUTF8(string(text), ""), err == nil
	}
	return "", "", false
}

func inflate(data []byte, limit int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(out) > limit {
		err = fmt.Errorf("text of more than %d bytes", limit)
	}
	return out, err
}

// fromLatin1 decodes ISO 8859-1.
func fromLatin1(b []byte) string {
	var text strings.Builder
	text.Grow(len(b))
	for _, c := range b {
		text.WriteRune(rune(c))
	}
	return text.String()
}
