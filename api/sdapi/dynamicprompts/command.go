package dynamicprompts

import (
	"fmt"
	"strconv"
	"strings"
)

// method is how a command gives its values.
type method int

const (
	inherited     method = iota // that of the text around
	random                      // ~
	combinatorial               // !
	cyclical                    // @
)

// endless methods never run out of values.
func (m method) endless() bool { return m == random || m == cyclical }

// command is a node of a parsed template. Commands with equal keys are equal, as
// the library's are.
type command interface {
	key() string
	how() method
}

// literal is plain text.
type literal struct {
	text string
	by   method
}

// sequence is one command after another.
type sequence struct{ parts []command }

// variants is {a|b}: from low to high of the options, joined.
type variants struct {
	options   []option
	low, high int
	separator string
	by        method
}

type option struct {
	value  command
	weight float64
}

// wildcard is __path__: a value of files.
type wildcard struct {
	path      command // a literal's text is a template of its own
	by        method
	variables []variable
}

type variable struct {
	name  string
	value command
}

// assignment is ${name=value}.
type assignment struct {
	variable
	immediate bool // =!: chosen once
	keep      bool // ?=: only where it has no value yet
}

// access is ${name} or ${name:default}.
type access struct {
	name  string
	value command // nil without a default
}

// wrapped is %{wrapper$$inner}: inner takes the place of the wrapper's ellipsis.
type wrapped struct{ wrapper, inner command }

func (c literal) how() method    { return c.by }
func (c sequence) how() method   { return inherited }
func (c variants) how() method   { return c.by }
func (c wildcard) how() method   { return c.by }
func (c assignment) how() method { return inherited }
func (c access) how() method     { return inherited }
func (c wrapped) how() method    { return inherited }

func (c literal) key() string { return fmt.Sprintf("l%d%q", c.by, c.text) }

func (c sequence) key() string { return "s(" + keys(c.parts) + ")" }

func (c variants) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "v%d,%d,%d,%q(", c.by, c.low, c.high, c.separator)
	for _, o := range c.options {
		b.WriteString(strconv.FormatFloat(o.weight, 'g', -1, 64) + "::" + o.value.key() + "|")
	}
	return b.String() + ")"
}

func (c wildcard) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "w%d(%s", c.by, c.path.key())
	for _, v := range c.variables {
		b.WriteString("," + v.name + "=" + v.value.key())
	}
	return b.String() + ")"
}

func (c assignment) key() string {
	return fmt.Sprintf("=%t%t%q(%s)", c.immediate, c.keep, c.name, c.value.key())
}

func (c access) key() string {
	if c.value == nil {
		return fmt.Sprintf("$%q", c.name)
	}
	return fmt.Sprintf("$%q(%s)", c.name, c.value.key())
}

func (c wrapped) key() string { return "%(" + c.wrapper.key() + "$$" + c.inner.key() + ")" }

func keys(list []command) string {
	var b strings.Builder
	for _, c := range list {
		b.WriteString(c.key() + ";")
	}
	return b.String()
}

// empty reports a sequence of nothing, which the library takes for no command.
func empty(c command) bool {
	s, ok := c.(sequence)
	return ok && len(s.parts) == 0
}

// newVariants puts the bounds in order.
func newVariants(options []option, low, high int, separator string, by method) variants {
	low, high = min(low, high), max(low, high)
	return variants{options: options, low: max(low, 0), high: high, separator: separator, by: by}
}

// fitting has no bound above the number of options.
func (c variants) fitting() variants {
	c.low, c.high = min(c.low, len(c.options)), min(c.high, len(c.options))
	return c
}
