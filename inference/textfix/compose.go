package textfix

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// longestMarkRun is the number of marks in a row up to which package norm can be used. It
// breaks longer runs up, after 30 marks with those of the decomposed letter, by a
// grapheme joiner, which NFC itself does not.
const longestMarkRun = 24

// composed returns the text in NFC.
func composed(text string) string {
	run := 0
	for _, r := range text {
		if r < 0x300 || properties(r).BoundaryBefore() {
			run = 0
		} else if run++; run > longestMarkRun {
			return composedSlowly(text)
		}
	}
	return norm.NFC.String(text)
}

// composedSlowly follows the definition: decompose, order marks by class, then join each
// mark or letter with the last starter unless something in between blocks it.
func composedSlowly(text string) string {
	var decomposed []rune
	for _, r := range text {
		decomposed = append(decomposed, []rune(norm.NFD.String(string(r)))...)
	}
	for start := 0; start < len(decomposed); {
		end := start + 1
		for end < len(decomposed) && combiningClass(decomposed[end]) != 0 {
			end++
		}
		if combiningClass(decomposed[start]) == 0 {
			start++
		}
		slices.SortStableFunc(decomposed[start:end], func(a, b rune) int {
			return int(combiningClass(a)) - int(combiningClass(b))
		})
		start = end
	}
	out := make([]rune, 0, len(decomposed))
	starter, lastClass := -1, uint8(0)
	for _, r := range decomposed {
		class := combiningClass(r)
		if starter >= 0 && (starter == len(out)-1 || lastClass < class) {
			joined := norm.NFC.String(string([]rune{out[starter], r}))
			if utf8.RuneCountInString(joined) == 1 {
				out[starter], _ = utf8.DecodeRuneInString(joined)
				continue
			}
		}
		if class == 0 {
			starter = len(out)
		}
		lastClass = class
		out = append(out, r)
	}
	return string(out)
}

// combiningClass returns the canonical combining class, 0 for a starter.
func combiningClass(r rune) uint8 { return properties(r).CCC() }

func properties(r rune) norm.Properties {
	var encoded [utf8.UTFMax]byte
	return norm.NFC.Properties(utf8.AppendRune(encoded[:0], r))
}
