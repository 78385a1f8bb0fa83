package models

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"strings"
)

// Picture tells a textual inversion inside a PNG, which has no header of tensors.
func (f File) Picture() bool { return f.Kind == Embedding && isPictureName(f.Name) }

// isPictureName tells the pictures that may carry a textual inversion from the
// previews beside one.
func isPictureName(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasSuffix(lower, ".png") && !strings.HasSuffix(lower, ".preview.png")
}

// embeddingChunk begins the content of the text chunk in which A1111 stores a
// textual inversion: its keyword and what ends it.
const embeddingChunk = "sd-ti-embedding\x00"

// carriesEmbedding tells whether a PNG has such a chunk, of any kind, reading no more than the
// beginnings of its chunks.
func carriesEmbedding(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const signature = "\x89PNG\r\n\x1a\n"
	var head [8 + len(embeddingChunk)]byte // length, type, content
	if _, err := f.ReadAt(head[:8], 0); err != nil || string(head[:8]) != signature {
		return false
	}
	for at := int64(len(signature)); ; {
		n, err := f.ReadAt(head[:], at)
		if err != nil && err != io.EOF || n < 8 {
			return false
		}
		kind, content := string(head[4:8]), head[8:n]
		if (kind == "tEXt" || kind == "zTXt" || kind == "iTXt") && bytes.Equal(content, []byte(embeddingChunk)) {
			return true
		}
		if kind == "IEND" {
			return false
		}
		at += 12 + int64(binary.BigEndian.Uint32(head[:4])) // with the checksum
	}
}
