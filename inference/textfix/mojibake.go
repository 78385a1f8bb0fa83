package textfix

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// fixEncoding repairs mojibake, UTF-8 that was decoded as a single-byte encoding, as ftfy
// 6.3 does: text that looks like it (see looksGarbled) is encoded again, if an encoding has all
// its characters and the bytes are UTF-8, or else only the garbled pieces of it.
func fixEncoding(text string) string {
	for range maxPasses {
		fixed := fixEncodingOnce(text)
		if fixed == text {
			break
		}
		text = fixed
	}
	return text
}

func fixEncodingOnce(text string) string {
	if !looksGarbled(text) {
		return text
	}
	for i := range encodings() {
		e := &encodings()[i]
		raw, ok := e.encode(text)
		if !ok {
			continue
		}
		if fixed, ok := decodeAgain(raw, e); ok {
			return fixed
		}
	}
	if fixed := fixPieces(text); fixed != text {
		return fixed
	}
	return strings.Map(fixC1, text)
}

// decodeAgain decodes bytes as UTF-8 after undoing two kinds of damage: a no-break space
// (byte a0) that became an ordinary one, and bytes that an encoding has no characters for.
func decodeAgain(raw []byte, e *singleByte) (string, bool) {
	// The expressions work on the bytes as characters of Latin-1.
	text := latin1Text(raw)
	if e.spaceForA0 && spacedSequence.MatchString(text) {
		text = graveWord(text)
		text = spacedSequence.ReplaceAllStringFunc(text, func(s string) string {
			return strings.ReplaceAll(s, " ", "\u00a0")
		})
	}
	if e.sloppy {
		text = lossySequence.ReplaceAllLiteralString(text, latin1Text([]byte(string(utf8.RuneError))))
	}
	raw = latin1Bytes(text)
	if bytes.IndexByte(raw, 0xed) >= 0 || bytes.IndexByte(raw, 0xc0) >= 0 {
		raw = fixVariants(raw)
	}
	return string(raw), utf8.Valid(raw)
}

// Sequences of UTF-8 in which a space stands for byte a0, without those that would give
// unlikely characters.
var spacedSequence = regexp.MustCompile(
	"[\u00c2\u00c3\u00c5\u00ce\u00d0\u00d9] " +
		"|[\u00e2\u00e3] [\u0080-\u0084\u0086-\u009f\u00a1-\u00bf]" +
		"|[\u00e0-\u00e3][\u0080-\u0084\u0086-\u009f\u00a1-\u00bf] " +
		"|\u00f0 [\u0080-\u00bf]{2}" +
		"|\u00f0[\u0080-\u00bf] [\u0080-\u00bf]" +
		"|\u00f0[\u0080-\u00bf]{2} ")

// Sequences of UTF-8 in which byte 1a, or one question mark, stands for an unknown byte.
var lossySequence = regexp.MustCompile(
	"[\u00c2-\u00df]\x1a" +
		"|[\u00c2\u00c3]\\?" +
		"|\u00ed[\u00a0-\u00af][\x1a?]\u00ed[\u00b0-\u00bf][\x1a?\u0080-\u00bf]" +
		"|\u00ed[\u00a0-\u00af][\x1a?\u0080-\u00bf]\u00ed[\u00b0-\u00bf][\x1a?]" +
		"|[\u00e0-\u00ef][\x1a?][\x1a\u0080-\u00bf]" +
		"|[\u00e0-\u00ef][\x1a\u0080-\u00bf][\x1a?]" +
		"|[\u00f0-\u00f4][\x1a?][\x1a\u0080-\u00bf]{2}" +
		"|[\u00f0-\u00f4][\x1a\u0080-\u00bf][\x1a?][\x1a\u0080-\u00bf]" +
		"|[\u00f0-\u00f4][\x1a\u0080-\u00bf]{2}[\x1a?]" +
		"|\x1a")

// graveWord keeps the space after byte c3, the first of an à that lost its second: the
// letter is mostly a word of its own. The Portuguese words that go on are excepted.
func graveWord(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "\u00c3 ")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("\u00c3")
		if !continuesGrave(after) {
			b.WriteString("\u00a0")
		}
		b.WriteString(" ")
		text = after
	}
}

func continuesGrave(after string) bool {
	for _, start := range []string{" ", "quele", "quela", "quilo", "s "} {
		if strings.HasPrefix(after, start) {
			return true
		}
	}
	return false
}

// fixVariants rewrites what other programs take for UTF-8: code points above U+FFFF as a
// pair of surrogates in three bytes each, and zero as c0 80.
func fixVariants(raw []byte) []byte {
	fixed := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		rest := raw[i:]
		switch {
		case len(rest) >= 2 && rest[0] == 0xc0 && rest[1] == 0x80:
			fixed = append(fixed, 0)
			i++
		case isSurrogatePair(rest):
			high := rune(rest[1]&0x0f)<<6 | rune(rest[2]&0x3f)
			low := rune(rest[4]&0x0f)<<6 | rune(rest[5]&0x3f)
			fixed = utf8.AppendRune(fixed, 0x10000+high<<10+low)
			i += 5
		default:
			fixed = append(fixed, raw[i])
		}
	}
	return fixed
}

func isSurrogatePair(raw []byte) bool {
	return len(raw) >= 6 && raw[0] == 0xed && raw[1]&0xf0 == 0xa0 && raw[2]&0xc0 == 0x80 &&
		raw[3] == 0xed && raw[4]&0xf0 == 0xb0 && raw[5]&0xc0 == 0x80
}

// fixPieces repairs pieces of a text that look like UTF-8 in some encoding, each on its own.
func fixPieces(text string) string {
	runes := []rune(text)
	clues := clueTable()
	var b strings.Builder
	for i := 0; i < len(runes); {
		end := i
		if i == 0 || clues[runes[i-1]]&strictContinuation == 0 {
			end = clueRun(runes, i)
		}
		if end == i {
			b.WriteRune(runes[i])
			i++
			continue
		}
		piece := string(runes[i:end])
		if end-i < len(runes) && looksGarbled(piece) {
			piece = fixEncoding(piece)
		}
		b.WriteString(piece)
		i = end
	}
	return b.String()
}

// clueRun returns the end of the characters from start on that could be sequences of UTF-8.
func clueRun(runes []rune, start int) int {
	for {
		length := clueLength(runes[start:])
		if length == 0 {
			return start
		}
		start += length
	}
}

// clueLength returns the number of characters of the sequence of UTF-8 that runes could
// start with, 0 if there is none.
func clueLength(runes []rune) int {
	clues := clueTable()
	for length := 2; length <= min(4, len(runes)); length++ {
		if clues[runes[0]]&(firstOf2<<(length-2)) == 0 {
			continue
		}
		if !slices.ContainsFunc(runes[1:length], func(r rune) bool { return clues[r]&continuation == 0 }) {
			return length
		}
	}
	return 0
}

// isC1Gap reports whether r is one of the C1 controls whose bytes mean nothing in Windows-1252.
func isC1Gap(r rune) bool {
	return r == 0x81 || r == 0x8d || r == 0x8f || r == 0x90 || r == 0x9d
}
