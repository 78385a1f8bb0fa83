package clip

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"sdworker/inference/textfix"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

const (
	beginText = "<|startoftext|>"
	endText   = "<|endoftext|>"
)

var special = regexp.MustCompile(regexp.QuoteMeta(beginText) + "|" + regexp.QuoteMeta(endText))

// Tokenize returns the tokens of a text, without begin, end and padding, as the
// CLIPTokenizer of Hugging Face transformers with ftfy does. The texts <|startoftext|> and
// <|endoftext|> stand for [Begin] and [End].
func Tokenize(text string) []int32 {
	var ids []int32
	v := loadVocabulary()
	end := 0
	for _, at := range special.FindAllStringIndex(text, -1) {
		ids = v.appendText(ids, text[end:at[0]])
		end = at[1]
		if text[at[0]:end] == beginText {
			ids = append(ids, Begin)
		} else {
			ids = append(ids, End)
		}
	}
	return v.appendText(ids, text[end:])
}

// appendText appends the tokens of a text in which the special tokens are not written out.
func (v *vocabulary) appendText(ids []int32, text string) []int32 {
	text = strings.Join(strings.FieldsFunc(textfix.Fix(text), unicode.IsSpace), " ")
	text = cases.Lower(language.Und).String(text)
	for text != "" {
		end := wordLength(text)
		first, _ := utf8.DecodeRuneInString(text)
		switch word := text[:end]; {
		case isGap(first):
		case word == beginText:
			ids = append(ids, Begin)
		case word == endText:
			ids = append(ids, End)
		default:
			ids = v.appendWord(ids, word)
		}
		text = text[end:]
	}
	return ids
}

// contractions are the endings that are words of their own.
var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// wordLength returns the length in bytes of the word that a text in lower case starts
// with: a special token, a contraction's ending, letters, one digit, or a run of anything
// else. A character between words counts as a word.
func wordLength(text string) int {
	for _, token := range []string{beginText, endText} {
		if n := foldPrefix(text, token); n > 0 {
			return n
		}
	}
	for _, ending := range contractions {
		if n := foldPrefix(text, ending); n > 0 {
			return n
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	switch {
	case unicode.IsLetter(first):
		return runLength(text, unicode.IsLetter)
	case unicode.IsNumber(first) || isGap(first):
		return size
	default:
		return runLength(text, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !isGap(r)
		})
	}
}

// isGap reports whether r separates words and belongs to none. Besides blanks this is
// the iota subscript, a mark that becomes a letter when case is ignored.
func isGap(r rune) bool { return unicode.IsSpace(r) || r == 0x345 }

// runLength returns the length in bytes of the prefix whose characters are in the class.
func runLength(text string, class func(rune) bool) int {
	n := strings.IndexFunc(text, func(r rune) bool { return !class(r) })
	if n < 0 {
		return len(text)
	}
	return n
}

// foldPrefix returns the length of the prefix of text that equals prefix, which is ASCII
// in lower case, where the long s that lower case leaves alone counts as an s. It is 0 if
// there is none.
func foldPrefix(text, prefix string) int {
	n := 0
	for i := range len(prefix) {
		switch {
		case n < len(text) && text[n] == prefix[i]:
			n++
		case prefix[i] == 's' && strings.HasPrefix(text[n:], "ſ"):
			n += len("ſ")
		default:
			return 0
		}
	}
	return n
}
