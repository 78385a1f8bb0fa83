package dynamicprompts

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth is how deep brackets may be nested, and how often a wildcard's value
// may name another wildcard.
const maxDepth = 50

// parser reads a template as dynamicprompts/parser/parse.py does: alternatives in
// order, the first that matches counts. Every token may follow a comment.
type parser struct {
	syntax Syntax
	text   string
	at     int
	depth  int
	fault  error // ends the parse, whatever else could match
}

// Syntax are the brackets of the language. The zero value has the usual ones.
type Syntax struct {
	VariantStart, VariantEnd string // { and }
	WildcardWrap             string // __
}

func (s Syntax) withDefaults() Syntax {
	or := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	or(&s.VariantStart, "{")
	or(&s.VariantEnd, "}")
	or(&s.WildcardWrap, "__")
	return s
}

const (
	variableStart = "${"
	variableEnd   = "}"
	wrapStart     = "%{"
	wrapEnd       = "}"
)

// parse reads a whole template.
func parse(text string, syntax Syntax, depth int) (command, error) {
	if isAlphanumeric(text) {
		return literal{text: text}, nil
	}
	p := &parser{syntax: syntax, text: expandTabs(text), depth: depth}
	c := p.prompt()
	p.comments()
	p.space()
	switch {
	case p.fault != nil:
		return nil, p.fault
	case p.at < len(p.text):
		return nil, fmt.Errorf("the template cannot be read from %q on", shorten(p.text[p.at:]))
	}
	return c, nil
}

func shorten(s string) string {
	const longest = 40
	if runes := []rune(s); len(runes) > longest {
		return string(runes[:longest]) + "..."
	}
	return s
}

// try runs f and goes back where it fails.
func (p *parser) try(f func() bool) bool {
	at := p.at
	if p.fault == nil && f() {
		return true
	}
	p.at = at
	return false
}

// fail ends the parse.
func (p *parser) fail(format string, args ...any) bool {
	if p.fault == nil {
		p.fault = fmt.Errorf(format, args...)
	}
	return false
}

const whitespace = " \t\r\n"

// space passes whitespace.
func (p *parser) space() bool {
	p.at = len(p.text) - len(strings.TrimLeft(p.text[p.at:], whitespace))
	return true
}

// comment is one of # and // to the end of the line, and /* */.
var comment = regexp.MustCompile(`^[ \t\r\n]*(?:#[^\n]*|//[^\n]*|/\*(?s:.*?)\*/)`)

// comments passes comments and the whitespace before them.
func (p *parser) comments() {
	for {
		rest := p.text[p.at:]
		first := strings.TrimLeft(rest, whitespace)
		if !strings.HasPrefix(first, "#") && !strings.HasPrefix(first, "/") {
			return
		}
		n := len(comment.FindString(rest))
		if n == 0 {
			return
		}
		p.at += n
	}
}

// token matches a fixed text.
func (p *parser) token(s string) bool {
	return p.try(func() bool {
		p.comments()
		if !strings.HasPrefix(p.text[p.at:], s) {
			return false
		}
		p.at += len(s)
		return true
	})
}

// blank matches optional whitespace after comments.
func (p *parser) blank() bool {
	p.comments()
	return p.space()
}

// match matches a regular expression that begins with ^.
func (p *parser) match(re *regexp.Regexp) (found string, ok bool) {
	ok = p.try(func() bool {
		p.comments()
		at := re.FindStringIndex(p.text[p.at:])
		if at == nil {
			return false
		}
		found = p.text[p.at : p.at+at[1]]
		p.at += at[1]
		return true
	})
	return found, ok
}

// nested runs f one level deeper.
func (p *parser) nested(f func() bool) bool {
	if p.depth++; p.depth > maxDepth {
		return p.fail("the template is nested more than %d levels deep", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.try(f)
}

// prompt is a whole template.
func (p *parser) prompt() command {
	return p.sequence(func() (command, bool) {
		if c, ok := p.assignment(); ok {
			return c, true
		}
		return p.chunk(p.plain)
	})
}

// variantPrompt is a text inside brackets.
func (p *parser) variantPrompt() command {
	return p.sequence(func() (command, bool) { return p.chunk(p.variantPlain) })
}

// chunk is one command, or text as plain reads it.
func (p *parser) chunk(plain func() (string, bool)) (command, bool) {
	if c, ok := p.access(); ok {
		return c, true
	}
	if c, ok := p.wrapped(); ok {
		return c, true
	}
	if c, ok := p.variants(); ok {
		return c, true
	}
	if c, ok := p.wildcard(); ok {
		return c, true
	}
	return p.literal(plain)
}

// sequence reads commands until none matches. One alone stands for itself.
func (p *parser) sequence(next func() (command, bool)) command {
	p.comments()
	var parts []command
	for {
		c, ok := next()
		if !ok {
			break
		}
		parts = append(parts, c)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return sequence{parts}
}

// literal joins texts that comments divide.
func (p *parser) literal(plain func() (string, bool)) (command, bool) {
	var parts []string
	for {
		s, ok := plain()
		if !ok {
			break
		}
		parts = append(parts, s)
	}
	return literal{text: strings.Join(parts, " ")}, len(parts) > 0
}

func (p *parser) plain() (string, bool) { return p.until("") }

func (p *parser) variantPlain() (string, bool) { return p.until("|$" + p.syntax.VariantEnd) }

func (p *parser) wildcardPlain() (string, bool) { return p.until(")(") }

// until matches text up to a character that begins something else.
func (p *parser) until(more string) (text string, ok bool) {
	stops := "#" + p.syntax.VariantStart + variableStart + wrapStart + more
	ok = p.try(func() bool {
		p.comments()
		rest := p.text[p.at:]
		end := len(rest)
		if at := strings.IndexAny(rest, stops); at >= 0 {
			end = at
		}
		if at := strings.Index(rest, p.syntax.WildcardWrap); at >= 0 {
			end = min(end, at)
		}
		text = rest[:end]
		p.at += end
		return end > 0
	})
	return text, ok
}

var methods = map[byte]method{'~': random, '!': combinatorial, '@': cyclical}

// method matches an optional sign of a sampling method.
func (p *parser) method() method {
	p.comments()
	if p.at < len(p.text) {
		if m, ok := methods[p.text[p.at]]; ok {
			p.at++
			return m
		}
	}
	return inherited
}

var variableName = regexp.MustCompile(`^[A-Za-z_-][A-Za-z0-9_-]*`)

// name matches the name of a variable after its bracket.
func (p *parser) name(name *string) bool {
	p.blank()
	s, ok := p.match(variableName)
	*name = s
	return ok && p.blank()
}

func (p *parser) assignment() (command, bool) {
	var a assignment
	ok := p.nested(func() bool {
		if !p.token(variableStart) || !p.name(&a.name) {
			return false
		}
		a.keep = p.token("?")
		if !p.token("=") {
			return false
		}
		a.immediate = p.token("!")
		p.blank()
		a.value = p.variantPrompt()
		p.blank()
		return p.token(variableEnd)
	})
	return a, ok
}

func (p *parser) access() (command, bool) {
	var a access
	ok := p.nested(func() bool {
		if !p.token(variableStart) || !p.name(&a.name) {
			return false
		}
		if p.token(":") {
			p.blank()
			a.value = p.variantPrompt()
		}
		p.blank()
		return p.token(variableEnd)
	})
	return a, ok
}

// pathAccess is a variable in the path of a wildcard, with its own name for a
// default.
func (p *parser) pathAccess() (command, bool) {
	c, ok := p.access()
	if !ok {
		return nil, false
	}
	a := c.(access)
	if a.value == nil || empty(a.value) {
		a.value = literal{text: a.name}
	}
	text, plain := a.value.(literal)
	if !plain {
		return nil, p.fail("the default of variable %s in the name of a wildcard must be plain text", a.name)
	}
	a.value = literal{text: strings.TrimFunc(text.text, isSpace)}
	return a, true
}

func (p *parser) wrapped() (command, bool) {
	var w wrapped
	ok := p.nested(func() bool {
		if !p.token(wrapStart) {
			return false
		}
		p.blank()
		w.wrapper = p.variantPrompt()
		p.blank()
		if !p.token("$$") {
			return false
		}
		p.blank()
		w.inner = p.variantPrompt()
		return p.token(wrapEnd)
	})
	return w, ok
}

// bounds are the numbers before $$: 2, 1-3, 1- or -3.
type bounds struct {
	low, high string
	exact     bool
	separator string
}

var digits = regexp.MustCompile(`^[0-9]+`)

func (p *parser) bounds() (b bounds, ok bool) {
	number := func(to *string) bool {
		s, ok := p.match(digits)
		*to = s
		return ok
	}
	var low, high string
	alternatives := []func() bool{
		func() bool { return number(&low) && p.token("-") && number(&high) },
		func() bool { low = ""; return p.token("-") && number(&high) },
		func() bool { high = ""; return number(&low) && p.token("-") },
		func() bool { b.exact = true; return number(&low) },
	}
	ok = p.try(func() bool {
		for _, alternative := range alternatives {
			if p.try(alternative) {
				b.low, b.high = low, high
				if !p.token("$$") {
					return false
				}
				b.separator = p.separator()
				return true
			}
		}
		return false
	})
	return b, ok
}

var separator = regexp.MustCompile(`^[ -~]+`)

// separator matches the optional text between the bounds and the options.
func (p *parser) separator() string {
	found := ","
	p.try(func() bool {
		p.comments()
		s := separator.FindString(p.text[p.at:])
		if end := strings.IndexAny(s, "${}"); end >= 0 {
			s = s[:end]
		}
		p.at += len(s)
		if s == "" || !p.token("$$") {
			return false
		}
		found = s
		return true
	})
	return found
}

func (p *parser) variants() (command, bool) {
	var (
		list    []option
		how     method
		b       bounds
		bounded bool
	)
	ok := p.nested(func() bool {
		if !p.token(p.syntax.VariantStart) {
			return false
		}
		p.blank()
		how = p.method()
		b, bounded = p.bounds()
		p.blank()
		for {
			list = append(list, p.option())
			if !p.token("|") {
				break
			}
		}
		p.blank()
		return p.token(p.syntax.VariantEnd)
	})
	if !ok {
		return nil, false
	}
	if !bounded {
		return newVariants(list, 1, 1, ",", how), true
	}
	low, high := 1, len(list)
	if b.low != "" {
		low = whole(b.low)
	}
	if b.high != "" {
		high = whole(b.high)
	} else if b.exact {
		high = low
	}
	return newVariants(list, low, high, b.separator, how), true
}

// whole reads digits; numbers beyond any use are all alike.
func whole(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n > math.MaxInt32 {
		return math.MaxInt32
	}
	return n
}

var weight = regexp.MustCompile(`^(?:[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)|[0-9]+)`)

func (p *parser) option() option {
	o := option{weight: 1}
	p.blank()
	p.try(func() bool {
		s, ok := p.match(weight)
		if !ok || !p.token("::") {
			return false
		}
		o.weight, _ = strconv.ParseFloat(s, 64) // too large is infinite, as in Python
		return true
	})
	o.value = p.variantPrompt()
	p.blank()
	return o
}

var specification = regexp.MustCompile(`^[^)]+`)

func (p *parser) wildcard() (command, bool) {
	var w wildcard
	ok := p.nested(func() bool {
		if !p.token(p.syntax.WildcardWrap) {
			return false
		}
		w.by = p.method()
		path, ok := p.path()
		if !ok {
			return false
		}
		w.path = path
		var spec string
		p.try(func() bool {
			p.blank()
			if !p.token("(") {
				return false
			}
			if spec, ok = p.match(specification); !ok || !p.token(")") {
				spec = ""
				return false
			}
			return true
		})
		if !p.token(p.syntax.WildcardWrap) {
			return false
		}
		w.variables, ok = p.specification(spec)
		return ok
	})
	return w, ok
}

// path is the name of a wildcard, up to a bracket.
func (p *parser) path() (command, bool) {
	next := func() (command, bool) {
		if strings.HasPrefix(strings.TrimLeft(p.text[p.at:], whitespace), "(") {
			return nil, false
		}
		if c, ok := p.pathAccess(); ok {
			return c, true
		}
		if c, ok := p.variants(); ok {
			return c, true
		}
		if c, ok := p.literal(p.wildcardPlain); ok {
			return c, true
		}
		return p.literal(p.variantPlain)
	}
	c := p.sequence(next)
	return c, !empty(c)
}

// specification reads the variables of __path(a=x, b=y)__.
func (p *parser) specification(spec string) ([]variable, bool) {
	if spec == "" {
		return nil, true
	}
	var out []variable
	for pair := range strings.SplitSeq(spec, ",") {
		key, text, _ := strings.Cut(pair, "=")
		v := variable{name: strings.TrimFunc(key, isSpace)}
		var err error
		if v.value, err = parse(strings.TrimFunc(text, isSpace), p.syntax, p.depth); err != nil {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

// isAlphanumeric is Python's str.isalnum.
func isAlphanumeric(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) {
			return false
		}
	}
	return s != ""
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// expandTabs is Python's str.expandtabs.
func expandTabs(s string) string {
	if !strings.Contains(s, "\t") {
		return s
	}
	const width = 8
	var b strings.Builder
	column := 0
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch r {
		case '\t':
			n := width - column%width
			b.WriteString(strings.Repeat(" ", n))
			column += n
		case '\n', '\r':
			column = 0
			b.WriteString(s[:size])
		default:
			column++
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}
