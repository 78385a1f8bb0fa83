package textfix

import (
	"sync"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// singleByte is a single-byte encoding that text may have passed through.
type singleByte struct {
	bytes      map[rune]byte
	runes      [256]rune
	sloppy     bool // unassigned bytes are those of Latin-1, and 1a is U+FFFD
	spaceForA0 bool // whether a space may stand for byte a0
}

// encodings lists the encodings in the order in which they are tried.
var encodings = sync.OnceValue(func() []singleByte {
	windows := []*charmap.Charmap{
		charmap.Windows1252, charmap.Windows1251, charmap.Windows1250,
		charmap.Windows1253, charmap.Windows1254, charmap.Windows1257,
	}
	list := []singleByte{newSingleByte(charmap.ISO8859_1, false)}
	for _, m := range windows {
		list = append(list, newSingleByte(m, true))
	}
	list = append(list,
		newSingleByte(charmap.ISO8859_2, false),
		newSingleByte(charmap.Macintosh, false),
		newSingleByte(charmap.CodePage437, false))
	for i := range list {
		list[i].spaceForA0 = list[i].runes[0xd0] != '–' // an en dash before a space is no damage
	}
	return list
})

func newSingleByte(m *charmap.Charmap, sloppy bool) singleByte {
	e := singleByte{bytes: map[rune]byte{}, sloppy: sloppy}
	for b := range 256 {
		r := m.DecodeByte(byte(b))
		if r == utf8.RuneError {
			r = rune(b)
		}
		if sloppy && b == 0x1a {
			r = utf8.RuneError
		}
		e.runes[b] = r
		e.bytes[r] = byte(b)
	}
	return e
}

// encode returns the bytes of a text, if the encoding has all its characters.
func (e *singleByte) encode(text string) ([]byte, bool) {
	raw := make([]byte, 0, len(text))
	for _, r := range text {
		b, ok := e.bytes[r]
		if !ok {
			return nil, false
		}
		raw = append(raw, b)
	}
	return raw, true
}

// latin1Text returns the characters U+0000 to U+00FF of the same numbers as the bytes.
func latin1Text(raw []byte) string {
	runes := make([]rune, len(raw))
	for i, b := range raw {
		runes[i] = rune(b)
	}
	return string(runes)
}

// latin1Bytes is the reverse of latin1Text.
func latin1Bytes(text string) []byte {
	raw := make([]byte, 0, len(text))
	for _, r := range text {
		raw = append(raw, byte(r))
	}
	return raw
}

// clue says which bytes of UTF-8 a character may be, as decoded by one of the encodings
// from Latin-1 to Windows-1257.
type clue uint8

const (
	firstOf2 clue = 1 << iota
	firstOf3
	firstOf4
	continuation
	strictContinuation // one that does not stand for itself beside mojibake
)

var clueTable = sync.OnceValue(func() map[rune]clue {
	table := map[rune]clue{}
	for _, e := range encodings()[:7] {
		for b, r := range e.runes {
			switch {
			case b >= 0x80 && b < 0xc0:
				table[r] |= continuation | strictContinuation
			case b >= 0xc2 && b < 0xe0:
				table[r] |= firstOf2
			case b >= 0xe0 && b < 0xf0:
				table[r] |= firstOf3
			case b == 0xf0 || b == 0xf3: // other first bytes lead to unassigned characters
				table[r] |= firstOf4
			}
		}
	}
	for _, r := range "–—―‘’‚“”„•…" {
		table[r] &^= strictContinuation
	}
	table[' '] |= continuation
	return table
})
