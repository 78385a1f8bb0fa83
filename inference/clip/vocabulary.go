package clip

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"sync"

	"sdworker/sd1"
)

// Token ids with a meaning of their own.
const (
	Begin = 49406 // <|startoftext|>, first of each chunk
	End   = 49407 // <|endoftext|>, last of each chunk, and what fills a chunk up

	// VocabularySize is the number of rows of the token embedding table. Ids from here
	// on address the vectors of a [Batch].
	VocabularySize = sd1.Vocabulary
)

// merges holds the merges of the vocabulary, best first, as pairs of 16-bit symbols. It
// comes from the file that OpenAI published with CLIP, see generate.go.
//
//go:embed merges.bin
var merges []byte

// vocabulary maps bytes and pairs of symbols to symbols, which are token ids: first the 256
// bytes, then the same at the end of a word, then one for each merge, so that of two
// merges the one with the lower id comes first.
type vocabulary struct {
	bytes  [256]int32
	merged map[symbolPair]int32
}

type symbolPair struct{ left, right int32 }

// wordEnd is the distance from a byte's symbol to the same byte's at the end of a word.
const wordEnd = 256

// loadVocabulary unpacks the embedded merges, once, in a few milliseconds.
var loadVocabulary = sync.OnceValue(func() *vocabulary {
	v := &vocabulary{merged: make(map[symbolPair]int32, len(merges)/4)}
	for id, b := range byteOrder() {
		v.bytes[b] = int32(id)
	}
	next := int32(2 * wordEnd)
	for pair := merges; len(pair) > 0; pair = pair[4:] {
		left, right := binary.LittleEndian.Uint16(pair), binary.LittleEndian.Uint16(pair[2:])
		v.merged[symbolPair{int32(left), int32(right)}] = next
		next++
	}
	if next != Begin {
		panic(fmt.Sprintf("clip: the embedded vocabulary has %d symbols, not %d", next, Begin))
	}
	return v
})

// byteOrder lists the bytes in the order of their ids: first those that Latin-1 prints.
func byteOrder() []byte {
	var printed, other []byte
	for b := range 256 {
		if '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xff && b != 0xad {
			printed = append(printed, byte(b))
		} else {
			other = append(other, byte(b))
		}
	}
	return append(printed, other...)
}
