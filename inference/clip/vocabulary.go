package clip

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Token ids with a meaning of their own.
const (
	Begin = 49406 // <|startoftext|>, first of each chunk
	End   = 49407 // <|endoftext|>, last of each chunk, and what fills a chunk up

	// VocabularySize is the number of rows of the token embedding table. Ids from here
	// on address the vectors of a [Batch].
	VocabularySize = 49408
)

// mergeText holds the merges of the vocabulary, best first, one pair of symbols a line:
// lines 2 to 48895 of bpe_simple_vocab_16e6.txt, published with CLIP by OpenAI, MIT licence.
//
//go:embed merges.txt.gz
var mergeText []byte

// endOfWord marks a symbol that ends a word.
const endOfWord = "</w>"

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

// loadVocabulary unpacks the embedded vocabulary, once.
var loadVocabulary = sync.OnceValue(func() *vocabulary {
	zip, err := gzip.NewReader(bytes.NewReader(mergeText))
	if err != nil {
		panic(fmt.Sprintf("clip: embedded vocabulary: %v", err))
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		panic(fmt.Sprintf("clip: embedded vocabulary: %v", err))
	}
	return newVocabulary(string(text))
})

func newVocabulary(merges string) *vocabulary {
	v := &vocabulary{merged: make(map[symbolPair]int32, VocabularySize)}
	ids := make(map[string]int32, VocabularySize)
	for id, b := range byteOrder() {
		v.bytes[b] = int32(id)
		ids[byteName(b)] = int32(id)
		ids[byteName(b)+endOfWord] = int32(id + wordEnd)
	}
	next := int32(2 * wordEnd)
	for line := range strings.SplitSeq(merges, "\n") {
		left, right, _ := strings.Cut(line, " ")
		v.merged[symbolPair{ids[left], ids[right]}] = next
		ids[left+right] = next
		next++
	}
	if next != Begin {
		panic(fmt.Sprintf("clip: embedded vocabulary has %d symbols, not %d", next, Begin))
	}
	return v
}

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

// byteName returns the character that stands for a byte in the merges: itself if Latin-1
// prints it, else one of U+0100 and up, in the order of the bytes.
func byteName(b byte) string {
	switch {
	case b <= ' ':
		return string(rune(0x100) + rune(b))
	case 0x7f <= b && b <= 0xa0:
		return string(rune(0x121) + rune(b-0x7f))
	case b == 0xad:
		return string(rune(0x143))
	default:
		return string(rune(b))
	}
}
