// Package dynamicprompts expands prompt templates with variants ({a|b}), wildcards
// (__name__) and variables (${x=a}), as version 0.31.0 of the Python library of
// that name does, on which A1111's extension "Dynamic Prompts" stands. Templates in
// Jinja2 and the generators that ask other models are not part of it.
package dynamicprompts

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"sdworker/inference/rng"
)

// Template expands templates. Its zero value has the usual brackets and no
// wildcards.
type Template struct {
	Syntax           Syntax
	Wildcards        *Wildcards // nil for none
	IgnoreWhitespace bool       // runs of whitespace become one space
	// Work is how many values all expansions together may take, which count it down;
	// nil for no bound but that of each.
	Work *int
}

// Limits of one expansion. Without them a short template could work for ever.
const (
	maxWork = 1 << 17   // values that its commands give
	maxText = 128 << 10 // bytes of one prompt
)

// Random returns a prompt for each seed: the one that the library gives for it,
// which for commands with a memory (@) depends on the seeds before.
func (t *Template) Random(text string, seeds []int64) ([]string, error) {
	if text == "" {
		return make([]string, len(seeds)), nil
	}
	e := t.expansion(rng.NewPython(0))
	next, stop := iter.Pull(e.sample(text, random))
	defer stop()
	out := make([]string, 0, len(seeds))
	for _, seed := range seeds {
		e.rand.Seed(seed)
		s, ok := next()
		if !ok {
			return nil, e.failure()
		}
		out = append(out, s)
	}
	return out, nil
}

// RandomOf returns n prompts that rand chooses, one after another.
func (t *Template) RandomOf(text string, n int, rand *rng.Python) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	e := t.expansion(rand)
	var out []string
	for s := range e.sample(text, random) {
		if out = append(out, s); len(out) == n {
			return out, e.err
		}
	}
	return nil, e.failure()
}

// Combinatorial returns every prompt that the template can give, at most limit of
// them. rand chooses where the template asks for a random value (~). The error
// wraps ErrTooMany where limit ends the list.
func (t *Template) Combinatorial(text string, limit int, rand *rng.Python) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	e := t.expansion(rand)
	var out []string
	for s := range e.sample(text, combinatorial) {
		if len(out) == limit {
			return out, ErrTooMany
		}
		out = append(out, s)
	}
	return out, e.err
}

// ErrTooMany reports that a template gives more prompts than were asked for.
var ErrTooMany = errors.New("the template gives more prompts")

// expansion is one use of a template.
type expansion struct {
	template *Template
	syntax   Syntax
	rand     *rng.Python
	parsed   map[string]command
	values   map[string][]Value
	work     int
	err      error // ends every iteration
}

func (t *Template) expansion(rand *rng.Python) *expansion {
	return &expansion{
		template: t, syntax: t.Syntax.withDefaults(), rand: rand,
		parsed: make(map[string]command), values: make(map[string][]Value),
	}
}

func (e *expansion) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

// parse reads a template, or a text that it read before.
func (e *expansion) parse(text string) (command, bool) {
	c, ok := e.parsed[text]
	if !ok {
		var err error
		if c, err = parse(text, e.syntax, 0); err != nil {
			e.fail("%w", err)
			return nil, false
		}
		e.parsed[text] = c
	}
	return c, true
}

// failure is the error of an iteration that ended too early.
func (e *expansion) failure() error {
	if e.err != nil {
		return e.err
	}
	return errNoValue
}

var errNoValue = errors.New("a part of the template has no value")

// spend counts work and reports whether there is any left.
func (e *expansion) spend() bool {
	if left := e.template.Work; left != nil {
		if *left <= 0 {
			e.fail("the templates take too much work together")
			return false
		}
		*left--
	}
	if e.work++; e.work > maxWork {
		e.fail("the template takes too much work: more than %d values", maxWork)
	}
	return e.err == nil
}

// sample gives the prompts of a template.
func (e *expansion) sample(text string, how method) iter.Seq[string] {
	return scope{e: e, how: how}.sampleText(text)
}

// wildcardValues are the values of the files that a path names.
func (e *expansion) wildcardValues(path string) []Value {
	if v, ok := e.values[path]; ok && (e.template.Wildcards == nil || !e.template.Wildcards.Shuffle) {
		return v
	}
	var v []Value
	if w := e.template.Wildcards; w != nil {
		var err error
		if v, err = w.values(path, e.syntax.WildcardWrap); err != nil {
			e.fail("%w", err)
		}
		if w.Shuffle {
			v = slices.Clone(v)
			e.rand.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
		}
	}
	e.values[path] = v
	return v
}
