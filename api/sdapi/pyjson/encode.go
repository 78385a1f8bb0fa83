package pyjson

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Style is one of the two ways in which A1111 writes JSON.
type Style struct {
	comma, colon string
	ascii        bool // other characters are escaped
	nan          bool // NaN and infinities are allowed
}

var (
	// Compact is what FastAPI sends: no blanks, UTF-8, finite numbers only.
	Compact = Style{comma: ",", colon: ":"}
	// Dumps is json.dumps without arguments: blanks after commas and colons,
	// ASCII only.
	Dumps = Style{comma: ", ", colon: ": ", ascii: true, nan: true}
)

// ErrNotFinite reports a NaN or an infinity where Compact meets one.
var ErrNotFinite = errors.New("a float is not finite, which JSON cannot say")

// Marshal writes v in the given style.
func Marshal(v any, style Style) ([]byte, error) { return Append(nil, v, style) }

// Append writes v after dst. It panics on a Go type that is no JSON value.
func Append(dst []byte, v any, style Style) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case *big.Int:
		return v.Append(dst, 10), nil
	case float64:
		return appendFloat(dst, v, style)
	case string:
		return appendString(dst, v, style.ascii), nil
	case Base64:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, '"'), nil
	case []any:
		return appendList(dst, v, style)
	case []string:
		return appendList(dst, v, style)
	case []int64:
		return appendList(dst, v, style)
	case []*Object:
		return appendList(dst, v, style)
	case *Object:
		return appendObject(dst, v, style)
	case map[string]any:
		return appendObject(dst, sorted(v), style)
	}
	panic(fmt.Sprintf("pyjson: %T is no JSON value", v))
}

func appendList[T any](dst []byte, list []T, style Style) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, style.comma...)
		}
		var err error
		if dst, err = Append(dst, v, style); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, o *Object, style Style) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	for k, v := range o.All() {
		if !first {
			dst = append(dst, style.comma...)
		}
		first = false
		dst = append(appendString(dst, k, style.ascii), style.colon...)
		var err error
		if dst, err = Append(dst, v, style); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func sorted(m map[string]any) *Object {
	o := NewObject()
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o.Set(k, m[k])
	}
	return o
}

func appendFloat(dst []byte, f float64, style Style) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		if !style.nan {
			return nil, ErrNotFinite
		}
		switch {
		case f > 0:
			return append(dst, "Infinity"...), nil
		case f < 0:
			return append(dst, "-Infinity"...), nil
		}
		return append(dst, "NaN"...), nil
	}
	return append(dst, Repr(f)...), nil
}

// Repr writes a finite float as Python's repr does: the shortest text that
// reads back the same, with an exponent below 1e-4 and from 1e16 on, and with
// ".0" where neither fraction nor exponent shows that it is a float.
func Repr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if f == math.Trunc(f) {
		s += ".0"
	}
	return s
}

const hexDigits = "0123456789abcdef"

func appendString(dst []byte, s string, ascii bool) []byte {
	dst = append(dst, '"')
	run := 0 // start of what is copied as it is
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && (c < 0x7f || !ascii) {
			i++
			continue
		}
		dst = append(dst, s[run:i]...)
		if c < utf8.RuneSelf {
			dst = appendEscape(dst, c)
			i++
		} else {
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = appendUnicode(dst, r)
			i += size
		}
		run = i
	}
	return append(append(dst, s[run:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendUnicode writes r as one \u escape, or as a surrogate pair.
func appendUnicode(dst []byte, r rune) []byte {
	if r >= 0x10000 {
		r -= 0x10000
		dst = appendUnicode(dst, 0xD800+r>>10)
		r = 0xDC00 + r&0x3ff
	}
	return append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// Finite reports whether a value that was decoded holds no NaN and no infinity.
func Finite(v any) bool {
	switch v := v.(type) {
	case float64:
		return !math.IsNaN(v) && !math.IsInf(v, 0)
	case []any:
		for _, item := range v {
			if !Finite(item) {
				return false
			}
		}
	case *Object:
		for _, item := range v.All() {
			if !Finite(item) {
				return false
			}
		}
	}
	return true
}
