package infotext

import (
	"fmt"
	"strings"
	"unicode"

	"sdworker/api/sdapi/pyjson"
)

// Quote prints one value as A1111 does: Python's form of numbers and booleans,
// and a JSON string for a text with a comma, a colon or a line break in it. Other
// texts stand as they are.
func Quote(v any) string {
	s, isText := v.(string)
	if !isText {
		return printed(v)
	}
	if !strings.ContainsAny(s, ",:\n") {
		return s
	}
	return jsonString(s)
}

// printed is Python's str() of a value.
func printed(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return pyjson.Repr(v)
	}
	return fmt.Sprint(v)
}

// jsonString is Python's json.dumps with ensure_ascii off: only quotes,
// backslashes and control characters are escaped.
func jsonString(s string) string {
	text, _ := pyjson.Marshal(s, pyjson.Compact) // fails for numbers alone
	return string(text)
}

// isSpace is Python's str.isspace for one character, which also knows the four
// separators of ASCII.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f
}

func strip(s string) string { return strings.TrimFunc(s, isSpace) }
