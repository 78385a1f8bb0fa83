package prompt

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The language is defined by Python regular expressions and conversions over Unicode
// strings, whose classes differ a little from those of Go's unicode package.

// isSpace reports whether \s matches r in Python: Unicode white space and the four ASCII
// separators U+001C to U+001F.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f
}

// isWord reports whether \w matches r in Python: letters, numbers of every kind and the
// underscore, but no combining marks.
func isWord(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r)
}

// isDigit reports whether \d matches r in Python: decimal digits of every script.
func isDigit(r rune) bool {
	return '0' <= r && r <= '9' || r >= utf8.RuneSelf && unicode.Is(unicode.Nd, r)
}

// trimSpace is str.strip().
func trimSpace(s string) string { return strings.TrimFunc(s, isSpace) }

// wordAt reports whether text[start:end] is a whole word, \b on both sides, given that its
// own first and last characters are word characters.
func wordAt(text string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return (start == 0 || !isWord(before)) && (end == len(text) || !isWord(after))
}

// splitWord splits text at every whole word equal to word.
func splitWord(text, word string) []string {
	var parts []string
	begin, from := 0, 0
	for {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return append(parts, text[begin:])
		}
		start := from + i
		from = start + len(word)
		if wordAt(text, start, from) {
			parts = append(parts, text[begin:start])
			begin = from
		}
	}
}

// asciiDigits replaces decimal digits of other scripts by their ASCII forms.
func asciiDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf || !isDigit(r) {
			return r
		}
		return '0' + digitValue(r)
	}, s)
}

// digitValue returns the value of a decimal digit. Unicode lays digits out in runs of ten
// from zero, and every range of the table starts at a zero.
func digitValue(r rune) rune {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	return 0
}

// parseFloat is float(s): blanks around, digits of any script and single underscores
// between digits are accepted, a number too large is infinite.
func parseFloat(s string) (float64, bool) {
	s, ok := plainDigits(s)
	if !ok || strings.ContainsAny(s, "xXpP") { // Go would read hexadecimal
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(v, 0) {
		return 0, false
	}
	return v, true
}

// parseInt is int(s) for values that fit an int.
func parseInt(s string) (int, bool) {
	s, ok := plainDigits(s)
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(s)
	return v, err == nil
}

// plainDigits trims s, maps its digits to ASCII and drops underscores, each of which must
// stand between two digits.
func plainDigits(s string) (string, bool) {
	s = asciiDigits(trimSpace(s))
	if !strings.Contains(s, "_") {
		return s, true
	}
	for i := range len(s) {
		if s[i] == '_' && (i == 0 || i == len(s)-1 || !isDigit(rune(s[i-1])) || !isDigit(rune(s[i+1]))) {
			return "", false
		}
	}
	return strings.ReplaceAll(s, "_", ""), true
}
