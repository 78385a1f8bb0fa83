package prompt

import (
	"slices"
	"strings"
)

// construct is one working [before:after:when] or [a|b] of a prompt, by byte offsets.
type construct struct {
	open, end int    // of its [ and after its ]
	parts     []part // before and after, or the options
	when      string // the number of an edit, "" for an alternation
	step      int    // the number as a step of the pass
}

type part struct{ start, end int }

// partAt returns the part that applies at a step, counted from 1.
func (c construct) partAt(step int) part {
	switch {
	case c.when == "":
		return c.parts[(max(1, step)-1)%len(c.parts)]
	case step <= c.step:
		return c.parts[0]
	default:
		return c.parts[1]
	}
}

// group is an open bracket and the separators seen directly inside it.
type group struct {
	open   int
	square bool
	colons []int // offsets; a third one makes the group invalid and is the last kept
	bars   []int
}

// parseConstructs finds the constructs of a prompt, ordered by their start, in one pass.
//
// A construct's parts hold only text, escapes and balanced groups that are valid in
// their turn: (a), (a:b), [a] and constructs. Therefore a bracket that does not match, or
// a group of another form, spoils every group that is open around it, and all these are
// literal; constructs already closed inside them work all the same. A bar in a spoiled
// group or in no square group makes the whole prompt literal: the result is nil.
func parseConstructs(text string) []construct {
	var found []construct
	var open []group
	spoil := func() (ok bool) {
		ok = !slices.ContainsFunc(open, func(g group) bool { return len(g.bars) > 0 })
		open = open[:0]
		return ok
	}
	for pos := 0; pos < len(text); pos++ {
		switch c := text[pos]; c {
		case '\\':
			pos++ // the rest of a multi-byte character is plain text
			if pos == len(text) || text[pos] == '\n' {
				return nil
			}
		case '(', '[':
			open = append(open, group{open: pos, square: c == '['})
		case ':':
			if len(open) > 0 {
				if g := &open[len(open)-1]; len(g.colons) < 3 {
					g.colons = append(g.colons, pos)
				}
			}
		case '|':
			if len(open) == 0 || !open[len(open)-1].square {
				return nil
			}
			g := &open[len(open)-1]
			g.bars = append(g.bars, pos)
		case ')', ']':
			if len(open) == 0 {
				break
			}
			g := open[len(open)-1]
			made, ok := g.close(text, pos)
			if g.square != (c == ']') || !ok {
				if !spoil() {
					return nil
				}
				break
			}
			open = open[:len(open)-1]
			if made.parts != nil {
				found = append(found, made)
			}
		}
	}
	if !spoil() {
		return nil
	}
	slices.SortFunc(found, func(a, b construct) int { return a.open - b.open })
	return found
}

// close says whether the group, closed at pos, has a valid form, and returns the
// construct it makes, which has no parts for one that only groups.
func (g group) close(text string, pos int) (made construct, ok bool) {
	made = construct{open: g.open, end: pos + 1}
	start := g.open + 1
	switch {
	case !g.square:
		return made, len(g.colons) <= 1
	case len(g.bars) > 0:
		if len(g.colons) > 0 {
			return made, false
		}
		for _, bar := range g.bars {
			made.parts = append(made.parts, part{start, bar})
			start = bar + 1
		}
		made.parts = append(made.parts, part{start, pos})
		return made, true
	case len(g.colons) == 0:
		return made, true
	case len(g.colons) > 2:
		return made, false
	}
	last := g.colons[len(g.colons)-1]
	made.when = trimSpace(text[last+1 : pos])
	if !isNumber(made.when) {
		return made, false
	}
	before := part{start, start}
	if len(g.colons) == 2 {
		before.end = g.colons[0]
		start = g.colons[0] + 1
	}
	made.parts = []part{before, {start, last}}
	return made, true
}

// isNumber reports whether s is a signed decimal number in ASCII digits, with optional
// fraction and exponent.
func isNumber(s string) bool {
	mantissa, exponent, scaled := s, "", false
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent, scaled = s[:i], s[i+1:], true
	}
	whole, fraction, _ := strings.Cut(unsigned(mantissa), ".")
	return isDigits(whole) && isDigits(fraction) && whole+fraction != "" &&
		(!scaled || exponent != "" && isDigits(unsigned(exponent)) && unsigned(exponent) != "")
}

// unsigned drops one sign.
func unsigned(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

func isDigits(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}
