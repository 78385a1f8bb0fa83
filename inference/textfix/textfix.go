// Package textfix repairs texts as the Python package ftfy 6 does, which CLIP's
// tokenizer calls first: HTML entities, text that was decoded with the wrong character
// set, odd widths and quotes, control characters.
package textfix

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// Fix repairs text as ftfy's fix_text does: line by line, until nothing changes any more,
// it decodes HTML entities (up to the first line that has a <), repairs mojibake, gives C1
// control characters their Windows-1252 meaning, takes ligatures apart, brings half-width
// and full-width forms to their ordinary width, straightens quotes, drops terminal escapes
// and control characters, and composes to NFC.
func Fix(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	var b strings.Builder
	entities := true
	for line := range strings.Lines(text) {
		entities = entities && !strings.Contains(line, "<")
		b.WriteString(fixLine(line, entities))
	}
	return b.String()
}

func fixLine(line string, entities bool) string {
	if isPlain(line) {
		return line
	}
	for range maxPasses {
		before := line
		if entities {
			line = unescapeEntities(line)
		}
		line = fixCharacters(fixEncoding(line))
		line = terminalEscape.ReplaceAllLiteralString(line, "")
		line = strings.Map(dropControl, line)
		line = composed(line)
		if line == before {
			break
		}
	}
	return line
}

// maxPasses bounds how often the repairs start again. Text damaged three times over
// takes four passes; without a bound, a line of &amp;amp;amp;... costs its length squared.
const maxPasses = 20

// isPlain reports whether no repair can change the line: it is ASCII without control
// characters other than tab and line feed, and has no &.
func isPlain(line string) bool {
	for i := range len(line) {
		if c := line[i]; c < ' ' && c != '\t' && c != '\n' || c >= 0x7f || c == '&' {
			return false
		}
	}
	return true
}

// terminalEscape matches ANSI escape sequences such as those for colour.
var terminalEscape = regexp.MustCompile("\x1b\\[[\\p{Nd};]*[a-zA-Z]")

// fixCharacters does the repairs that replace single characters.
func fixCharacters(line string) string {
	var b strings.Builder
	b.Grow(len(line))
	for i, r := range line {
		if r < utf8.RuneSelf {
			if r != '\r' {
				b.WriteByte(byte(r))
			} else if i+1 == len(line) || line[i+1] != '\n' {
				b.WriteByte('\n')
			}
			continue
		}
		b.WriteString(fixCharacter(r))
	}
	return b.String()
}

func fixCharacter(r rune) string {
	r = fixC1(r)
	if letters, ok := ligatures[r]; ok {
		return letters
	}
	switch {
	case r == 0x3000:
		return " "
	case 0xff01 <= r && r <= 0xffef:
		return norm.NFKC.String(string(r))
	case r == 0x02bc || 0x2018 <= r && r <= 0x201b:
		return "'"
	case 0x201c <= r && r <= 0x201f:
		return `"`
	case r == 0x2028 || r == 0x2029:
		return "\n"
	}
	return string(r)
}

// fixC1 gives a C1 control character the meaning of its byte in Windows-1252. Five bytes
// have none there either and stay.
func fixC1(r rune) rune {
	if 0x80 <= r && r <= 0x9f && !isC1Gap(r) {
		return charmap.Windows1252.DecodeByte(byte(r))
	}
	return r
}

// ligatures of Latin letters, and digraphs that older character sets encoded as one.
var ligatures = map[rune]string{
	'Ĳ': "IJ", 'ĳ': "ij", 'ŉ': "'n", // the apostrophe already straight
	'Ǳ': "DZ", 'ǲ': "Dz", 'ǳ': "dz",
	'Ǆ': "DŽ", 'ǅ': "Dž", 'ǆ': "dž",
	'Ǉ': "LJ", 'ǈ': "Lj", 'ǉ': "lj",
	'Ǌ': "NJ", 'ǋ': "Nj", 'ǌ': "nj",
	'ﬀ': "ff", 'ﬁ': "fi", 'ﬂ': "fl", 'ﬃ': "ffi", 'ﬄ': "ffl", 'ﬅ': "ſt", 'ﬆ': "st",
}

// dropControl drops characters that have no place in text, but neither white space nor
// characters that steer how others are drawn, such as joiners.
func dropControl(r rune) rune {
	switch {
	case r < ' ' && r != '\t' && r != '\n' && r != '\f' && r != '\r', r == 0x7f,
		0x206a <= r && r <= 0x206f, r == 0xfeff, 0xfff9 <= r && r <= 0xfffc:
		return -1
	}
	return r
}
