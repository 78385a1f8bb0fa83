package prompt

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Span is a piece of prompt text with its attention weight.
type Span struct {
	Text   string
	Weight float64 // finite unless the prompt's own numbers overflow; 1 is neutral
}

// breakWord is the word that closes a chunk.
const breakWord = "BREAK"

// IsBreak reports whether the span is a marker that closes the current chunk. A marker
// that a group multiplied is the ordinary word again.
func (s Span) IsBreak() bool { return s.Text == breakWord && s.Weight == -1 }

// WeightError reports an attention weight such as 1.2.3 that is no number. Its text is
// what a Python server says.
type WeightError struct {
	Weight string
}

func (e *WeightError) Error() string {
	return fmt.Sprintf("could not convert string to float: '%s'", e.Weight)
}

const (
	roundWeight  = 1.1
	squareWeight = 1 / 1.1

	// maxNesting bounds the groups of one kind that may be open at once. Deeper brackets
	// are literal, which keeps a hostile prompt from costing its length squared; 1.1^1000
	// is far outside of any use.
	maxNesting = 1000
)

// ParseAttention reads the attention syntax of one text: (a) weighs 1.1, [a] weighs
// 1/1.1, (a:1.3) weighs 1.3, groups nest and multiply, a backslash makes a bracket
// literal, BREAK as a word gives a marker, see [Span.IsBreak].
//
// Neighbours of equal weight are one span. The result has at least one span. The only
// error is a [*WeightError].
func ParseAttention(text string) ([]Span, error) {
	var p attention
	for pos := 0; pos < len(text); {
		switch c := text[pos]; c {
		case '\\':
			pos++
			literal := ""
			if pos < len(text) && strings.IndexByte(`()[]\`, text[pos]) >= 0 {
				literal = text[pos : pos+1]
				pos++
			}
			p.add(literal, 1)
		case '(', '[':
			if !p.open(c) {
				p.add(text[pos:pos+1], 1)
			}
			pos++
		case ')', ']':
			if !p.close(c) {
				p.add(text[pos:pos+1], 1)
			}
			pos++
		case ':':
			number, end := weightSuffix(text, pos)
			if end == 0 {
				p.add(":", 1)
				pos++
				break
			}
			if len(p.round) == 0 {
				p.add(text[pos:end], 1)
			} else {
				weight, ok := parseFloat(number)
				if !ok {
					return nil, &WeightError{Weight: number}
				}
				p.multiplyFrom(pop(&p.round), weight)
			}
			pos = end
		default:
			end := len(text)
			if i := strings.IndexAny(text[pos:], `\()[]:`); i >= 0 {
				end = pos + i
			}
			p.addRun(text[pos:end])
			pos = end
		}
	}
	p.closeAll(p.round, roundWeight)
	p.closeAll(p.square, squareWeight)
	return p.spans(), nil
}

// attention is the state of [ParseAttention]: the text read so far, where its entries
// start in it, and the entries at which the open groups start.
type attention struct {
	text          []byte
	entries       []entry
	round, square []int
}

// entry is a piece of the text that reaches to the start of the next entry.
type entry struct {
	start  int
	weight float64
}

// add appends text as an entry, or to the last entry when both have the same weight and
// no open group starts between them, so that they can only stay equal.
func (p *attention) add(text string, weight float64) {
	last := len(p.entries) - 1
	if last < 0 || p.entries[last].weight != weight || top(p.round) > last || top(p.square) > last {
		p.entries = append(p.entries, entry{start: len(p.text), weight: weight})
	}
	p.text = append(p.text, text...)
}

// addRun appends a run of plain text, with a marker for each BREAK in it.
func (p *attention) addRun(text string) {
	parts := splitWord(text, breakWord)
	for i, part := range parts {
		if i > 0 {
			p.add(breakWord, -1)
			part = strings.TrimLeftFunc(part, isSpace)
		}
		if i < len(parts)-1 {
			part = strings.TrimRightFunc(part, isSpace)
		}
		p.add(part, 1)
	}
}

func (p *attention) open(bracket byte) bool {
	groups := &p.round
	if bracket == '[' {
		groups = &p.square
	}
	if len(*groups) == maxNesting {
		return false
	}
	*groups = append(*groups, len(p.entries))
	return true
}

func (p *attention) close(bracket byte) bool {
	groups, weight := &p.round, roundWeight
	if bracket == ']' {
		groups, weight = &p.square, squareWeight
	}
	if len(*groups) == 0 {
		return false
	}
	p.multiplyFrom(pop(groups), weight)
	return true
}

func (p *attention) multiplyFrom(start int, weight float64) {
	for i := start; i < len(p.entries); i++ {
		p.entries[i].weight *= weight
	}
}

// closeAll ends the groups that are still open, which start at the given entries.
func (p *attention) closeAll(starts []int, weight float64) {
	open := 0
	for i := range p.entries {
		for open < len(starts) && starts[open] <= i {
			open++
		}
		w := p.entries[i].weight
		for range open {
			w *= weight
		}
		p.entries[i].weight = w
	}
}

// spans joins neighbours of equal weight.
func (p *attention) spans() []Span {
	if len(p.entries) == 0 {
		return []Span{{Weight: 1}}
	}
	var spans []Span
	text := string(p.text)
	for first := 0; first < len(p.entries); {
		next := first + 1
		for next < len(p.entries) && p.entries[next].weight == p.entries[first].weight {
			next++
		}
		end := len(text)
		if next < len(p.entries) {
			end = p.entries[next].start
		}
		spans = append(spans, Span{Text: text[p.entries[first].start:end], Weight: p.entries[first].weight})
		first = next
	}
	return spans
}

// weightSuffix reads ": 1.2 )" at pos. It returns the number and the end of the piece, or
// an end of 0 when something else stands there.
func weightSuffix(text string, pos int) (number string, end int) {
	start := skip(text, pos+1, isSpace)
	digits := start
	if digits < len(text) && (text[digits] == '+' || text[digits] == '-') {
		digits++
	}
	stop := skip(text, digits, func(r rune) bool { return r == '.' || isDigit(r) })
	end = skip(text, stop, isSpace)
	if stop == digits || end == len(text) || text[end] != ')' {
		return "", 0
	}
	return text[start:stop], end + 1
}

// skip returns the first index from pos on whose character is not in the class.
func skip(text string, pos int, class func(rune) bool) int {
	for pos < len(text) {
		r, size := utf8.DecodeRuneInString(text[pos:])
		if !class(r) {
			break
		}
		pos += size
	}
	return pos
}

// top returns the last element, or -1.
func top(stack []int) int {
	if len(stack) == 0 {
		return -1
	}
	return stack[len(stack)-1]
}

func pop(stack *[]int) int {
	last := top(*stack)
	*stack = (*stack)[:len(*stack)-1]
	return last
}
