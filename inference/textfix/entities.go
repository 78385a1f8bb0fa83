package textfix

import (
	"errors"
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

var entity = regexp.MustCompile(`&#?[0-9A-Za-z]{1,24};`)

// unescapeEntities decodes HTML entities that end in a semicolon. What stands for a
// semicolon by number stays.
func unescapeEntities(text string) string {
	if !strings.Contains(text, "&") {
		return text
	}
	return entity.ReplaceAllStringFunc(text, func(e string) string {
		if strings.HasPrefix(e, "&#") {
			return unescapeNumber(e)
		}
		return unescapeName(e)
	})
}

// unescapeName decodes a named entity. The name of a lower-case entity may also be in
// capitals, if HTML does not read these in another way, and stands for the capital then.
func unescapeName(e string) string {
	if char, ok := namedEntity(e); ok {
		return char
	}
	if e != strings.ToUpper(e) || html.UnescapeString(e) != e {
		return e
	}
	if char, ok := namedEntity(strings.ToLower(e)); ok {
		return cases.Upper(language.Und).String(char)
	}
	return e
}

// namedEntity looks "&name;" up.
func namedEntity(e string) (char string, ok bool) {
	switch e {
	case "&semi;":
		return ";", true
	case "&nLt;": // these two are missing in package html
		return "\u226a\u20d2", true
	case "&nGt;":
		return "\u226b\u20d2", true
	}
	char = html.UnescapeString(e)
	return char, !strings.HasSuffix(char, ";") // else only a prefix of the name was read, or nothing
}

// unescapeNumber decodes "&#n;" and "&#xh;".
func unescapeNumber(e string) string {
	digits, base := e[2:len(e)-1], 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return e
	case err != nil || n == 0 || n > utf8.MaxRune || 0xd800 <= n && n <= 0xdfff:
		return string(utf8.RuneError)
	case n == ';':
		return e
	case n < ' ' && n != '\t' && n != '\n' && n != '\f' && n != '\r', n == 0x7f,
		0xfdd0 <= n && n <= 0xfdef, n&0xfffe == 0xfffe:
		return "" // not allowed in HTML
	}
	return string(rune(n))
}
