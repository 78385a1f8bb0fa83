package pyjson

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// SyntaxError is Python's json.JSONDecodeError. Positions count code points.
type SyntaxError struct {
	Msg    string // such as "Expecting value"
	Doc    string // the whole text
	Pos    int    // from 0
	Line   int    // from 1
	Column int    // from 1
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s: line %d column %d (char %d)", e.Msg, e.Line, e.Column, e.Pos)
}

// ErrUnreadable reports a text that Python gives up on with another error than
// JSONDecodeError: it is not UTF-8, nested too deeply or holds an integer of
// more digits than Python converts.
var ErrUnreadable = errors.New("the text is not readable as JSON")

const (
	maxDepth     = 990  // nesting, near Python's recursion limit of 1000
	maxIntDigits = 4300 // sys.int_info.default_max_str_digits
)

// Decode reads one JSON text. Errors are *SyntaxError or ErrUnreadable.
func Decode(doc []byte) (any, error) {
	doc = bytes.TrimPrefix(doc, []byte("\ufeff"))
	if !utf8.Valid(doc) {
		return nil, ErrUnreadable
	}
	d := decoder{doc: doc}
	d.space()
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	d.space()
	if d.at < len(doc) {
		return nil, d.fail("Extra data", d.at)
	}
	return v, nil
}

type decoder struct {
	doc []byte
	at  int // byte offset of the next character
}

// fail builds the error for a byte offset.
func (d *decoder) fail(msg string, at int) error {
	before := d.doc[:at]
	newline := bytes.LastIndexByte(before, '\n')
	return &SyntaxError{
		Msg:    msg,
		Doc:    string(d.doc),
		Pos:    utf8.RuneCount(before),
		Line:   bytes.Count(before, []byte{'\n'}) + 1,
		Column: utf8.RuneCount(before[newline+1:]) + 1,
	}
}

func (d *decoder) space() {
	for d.at < len(d.doc) {
		switch d.doc[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// next reports whether the next character is c.
func (d *decoder) next(c byte) bool { return d.at < len(d.doc) && d.doc[d.at] == c }

// word reads a fixed word.
func (d *decoder) word(w string) bool {
	if !bytes.HasPrefix(d.doc[d.at:], []byte(w)) {
		return false
	}
	d.at += len(w)
	return true
}

func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, ErrUnreadable
	}
	if d.at >= len(d.doc) {
		return nil, d.fail("Expecting value", d.at)
	}
	switch c := d.doc[d.at]; {
	case c == '"':
		return d.text()
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == 'n' && d.word("null"):
		return nil, nil
	case c == 't' && d.word("true"):
		return true, nil
	case c == 'f' && d.word("false"):
		return false, nil
	case c == 'N' && d.word("NaN"):
		return math.NaN(), nil
	case c == 'I' && d.word("Infinity"):
		return math.Inf(1), nil
	case c == '-' && d.word("-Infinity"):
		return math.Inf(-1), nil
	}
	return d.number()
}

func (d *decoder) object(depth int) (any, error) {
	d.at++
	d.space()
	o := &Object{}
	if d.next('}') {
		d.at++
		return o, nil
	}
	for {
		if !d.next('"') {
			return nil, d.fail("Expecting property name enclosed in double quotes", d.at)
		}
		key, err := d.text()
		if err != nil {
			return nil, err
		}
		d.space()
		if !d.next(':') {
			return nil, d.fail("Expecting ':' delimiter", d.at)
		}
		d.at++
		d.space()
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o.Set(key, v)
		d.space()
		if d.next('}') {
			d.at++
			return o, nil
		}
		if !d.next(',') {
			return nil, d.fail("Expecting ',' delimiter", d.at)
		}
		d.at++
		d.space()
	}
}

func (d *decoder) array(depth int) (any, error) {
	d.at++
	d.space()
	list := []any{}
	if d.next(']') {
		d.at++
		return list, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		d.space()
		if d.next(']') {
			d.at++
			return list, nil
		}
		if !d.next(',') {
			return nil, d.fail("Expecting ',' delimiter", d.at)
		}
		d.at++
		d.space()
	}
}

func (d *decoder) digits() int {
	from := d.at
	for d.at < len(d.doc) && '0' <= d.doc[d.at] && d.doc[d.at] <= '9' {
		d.at++
	}
	return d.at - from
}

// number reads the longest prefix that is a number, as Python's scanner does:
// "1." is the integer 1 with a dot after it.
func (d *decoder) number() (any, error) {
	from := d.at
	if d.next('-') {
		d.at++
	}
	if d.next('0') {
		d.at++
	} else if d.digits() == 0 {
		d.at = from
		return nil, d.fail("Expecting value", from)
	}
	integer := d.at
	float := false
	if d.next('.') {
		d.at++
		if d.digits() > 0 {
			float = true
		} else {
			d.at = integer
		}
	}
	if d.next('e') || d.next('E') {
		mark := d.at
		d.at++
		if d.next('+') || d.next('-') {
			d.at++
		}
		if d.digits() > 0 {
			float = true
		} else {
			d.at = mark
		}
	}
	s := string(d.doc[from:d.at])
	if float {
		f, _ := strconv.ParseFloat(s, 64) // out of range gives infinity, as in Python
		return f, nil
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	if len(s) > maxIntDigits {
		return nil, ErrUnreadable
	}
	i, _ := new(big.Int).SetString(s, 10)
	return i, nil
}

// text reads a string; d.at is at its opening quote.
func (d *decoder) text() (string, error) {
	open := d.at
	d.at++
	var out []byte
	for {
		run := d.at
		for d.at < len(d.doc) && d.doc[d.at] != '"' && d.doc[d.at] != '\\' && d.doc[d.at] >= ' ' {
			d.at++
		}
		if d.at == len(d.doc) {
			return "", d.fail("Unterminated string starting at", open)
		}
		switch d.doc[d.at] {
		case '"':
			s := d.doc[run:d.at]
			d.at++
			if out == nil {
				return string(s), nil
			}
			return string(append(out, s...)), nil
		case '\\':
			out = append(out, d.doc[run:d.at]...)
			r, err := d.escape(open)
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", d.fail("Invalid control character at", d.at)
		}
	}
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads one escape sequence; d.at is at its backslash. A lone surrogate,
// which no UTF-8 text can hold, becomes U+FFFD.
func (d *decoder) escape(open int) (rune, error) {
	slash := d.at
	if slash+1 >= len(d.doc) {
		return 0, d.fail("Unterminated string starting at", open)
	}
	c := d.doc[slash+1]
	d.at += 2
	if c != 'u' {
		r, ok := escapes[c]
		if !ok {
			return 0, d.fail(`Invalid \escape`, slash)
		}
		return r, nil
	}
	r, err := d.hex(slash)
	if err != nil {
		return 0, err
	}
	if utf16.IsSurrogate(r) {
		mark := d.at
		if r < 0xDC00 && d.at+6 < len(d.doc) && d.doc[d.at] == '\\' && d.doc[d.at+1] == 'u' {
			d.at += 2
			low, err := d.hex(mark)
			if err != nil {
				return 0, err
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, nil
			}
			d.at = mark
		}
		return utf8.RuneError, nil
	}
	return r, nil
}

// hex reads the four digits of a \u escape whose backslash is at slash.
func (d *decoder) hex(slash int) (rune, error) {
	const msg = `Invalid \uXXXX escape`
	end := d.at + 4
	if end >= len(d.doc) {
		return 0, d.fail(msg, slash+1)
	}
	var r rune
	for ; d.at < end; d.at++ {
		c := d.doc[d.at]
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, d.fail(msg, slash+1)
		}
	}
	return r, nil
}
