package dynamicprompts

import (
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// scope is what a command sees while it is sampled: the library's
// SamplingContext. It is a value; what changes in a copy stays there.
type scope struct {
	e         *expansion
	how       method // of commands without one of their own
	variables map[string]command
	sampled   []string // variables that are being sampled
	depth     int      // of templates inside templates
}

// values are the texts that a command gives. A Python generator runs until its
// first value when that is asked for, and so do these: what is random is drawn in
// the same order.
type values = iter.Seq[string]

// none ends at once.
func none(func(string) bool) {}

// source is a command's values, one at a time.
type source struct {
	next func() (string, bool)
	stop func()
}

func pull(v values) source {
	next, stop := iter.Pull(v)
	return source{next, stop}
}

// must takes a value; to have none is an error.
func (s scope) must(from source) (string, bool) {
	v, ok := from.next()
	if !ok {
		s.e.fail("%w", errNoValue)
	}
	return v, ok && s.e.err == nil
}

// pullAll starts the sources of several commands.
func (s scope) pullAll(list []command) (out []source, stop func()) {
	for _, c := range list {
		out = append(out, pull(s.of(c)))
	}
	return out, func() {
		for _, o := range out {
			o.stop()
		}
	}
}

// sampleText gives the prompts of a template.
func (s scope) sampleText(text string) values {
	if text == "" {
		return none
	}
	c, ok := s.e.parse(text)
	if !ok {
		return none
	}
	if s.depth++; s.depth > maxDepth {
		s.e.fail("wildcards name each other more than %d levels deep", maxDepth)
		return none
	}
	return s.squashed(s.of(c))
}

// sample gives the prompts of a command that stands for itself.
func (s scope) sample(c command) values {
	if empty(c) {
		return none
	}
	return s.squashed(s.of(c))
}

// squashed has single spaces for whitespace, where that is asked for.
func (s scope) squashed(v values) values {
	if !s.e.template.IgnoreWhitespace {
		return v
	}
	return func(yield func(string) bool) {
		for text := range v {
			if !yield(strings.Join(strings.FieldsFunc(text, isSpace), " ")) {
				return
			}
		}
	}
}

// path is the name of a wildcard's files. Plain text of a path is a template
// itself, which matters for its brackets only.
func (s scope) path(c command) (string, bool) {
	var v values
	if text, ok := c.(literal); ok {
		v = s.sampleText(text.text)
	} else {
		v = s.sample(c)
	}
	from := pull(v)
	defer from.stop()
	return s.must(from)
}

// of gives the values of a command by its method or that of the scope. An endless
// method cannot hold one that ends.
func (s scope) of(c command) values {
	if how := c.how(); how != inherited && (!s.how.endless() || how.endless()) {
		s.how = how
	}
	v := s.values(c)
	return func(yield func(string) bool) {
		for text := range v {
			if !s.e.spend() {
				return
			}
			if len(text) > maxText {
				s.e.fail("the template makes a prompt of more than %d bytes", maxText)
				return
			}
			if !yield(text) {
				return
			}
		}
	}
}

func (s scope) values(c command) values {
	switch c := c.(type) {
	case literal:
		return s.literal(c)
	case sequence:
		if s.how == combinatorial {
			return s.combinedSequence(c)
		}
		return s.sequence(c)
	case variants:
		switch s.how {
		case combinatorial:
			return s.combinedVariants(c)
		case cyclical:
			return s.cycledVariants(c)
		default:
			return s.randomVariants(c)
		}
	case wildcard:
		switch s.how {
		case combinatorial:
			return s.combinedWildcard(c)
		case cyclical:
			return s.cycledWildcard(c)
		default:
			return s.randomWildcard(c)
		}
	case access:
		return s.access(c)
	case wrapped:
		switch s.how {
		case combinatorial:
			return s.combinedWrap(c)
		case random:
			return s.randomWrap(c)
		default:
			s.e.fail("a wrap command cannot be sampled in turn (@)")
		}
	case assignment:
		s.e.fail("a template that only sets a variable gives no prompt")
	}
	return none
}

func (s scope) literal(c literal) values {
	return func(yield func(string) bool) {
		for yield(c.text) && s.how.endless() {
		}
	}
}

// sequence joins a value of each part, for ever.
func (s scope) sequence(c sequence) values {
	return func(yield func(string) bool) {
		parts, s, ok := s.assign(c.parts)
		if !ok {
			return
		}
		from, stop := s.pullAll(parts)
		defer stop()
		for {
			text, ok := s.joinNext(from, "")
			if !ok || !yield(text) {
				return
			}
		}
	}
}

// joinNext joins the next value of each source.
func (s scope) joinNext(from []source, separator string) (string, bool) {
	texts := make([]string, len(from))
	for i, f := range from {
		var ok bool
		if texts[i], ok = s.must(f); !ok {
			return "", false
		}
	}
	return join(texts, separator), s.e.err == nil
}

// join puts the separator between texts. One that the texts bring along at either
// end is taken off, unless there is one text only.
func join(texts []string, separator string) string {
	if len(texts) == 1 {
		return texts[0]
	}
	text := strings.Join(texts, separator)
	return strings.TrimSuffix(strings.TrimPrefix(text, separator), separator)
}

// assign carries out the assignments among commands and returns the others.
func (s scope) assign(list []command) (rest []command, inner scope, ok bool) {
	added := make(map[string]command)
	for _, c := range list {
		a, is := c.(assignment)
		if !is {
			rest = append(rest, c)
			continue
		}
		if added[a.name], ok = s.assigned(a); !ok {
			return nil, s, false
		}
	}
	return rest, s.with(added), true
}

func (s scope) assigned(a assignment) (command, bool) {
	if old, ok := s.variables[a.name]; ok && a.keep {
		return old, true
	}
	if _, plain := a.value.(literal); plain || !a.immediate {
		return a.value, true
	}
	from := pull(s.of(a.value))
	defer from.stop()
	text, ok := s.must(from)
	return literal{text: text}, ok
}

// with adds variables.
func (s scope) with(added map[string]command) scope {
	if len(added) > 0 {
		s.variables = maps.Clone(s.variables)
		if s.variables == nil {
			s.variables = make(map[string]command)
		}
		maps.Copy(s.variables, added)
	}
	return s
}

// forWildcard has the variables of a wildcard.
func (s scope) forWildcard(c wildcard) scope {
	added := make(map[string]command)
	for _, v := range c.variables {
		added[v.name] = v.value
	}
	return s.with(added)
}

func (s scope) access(c access) values {
	value, ok := s.variables[c.name]
	if !ok {
		value = c.value
	}
	switch {
	case value == nil || empty(value):
		s.e.fail("the variable %s of the template has no value", c.name)
		return none
	case slices.Contains(s.sampled, c.name):
		s.e.fail("the variable %s of the template names itself", c.name)
		return none
	}
	s.sampled = append(slices.Clip(s.sampled), c.name)
	return s.of(value)
}

// expanded turns a wildcard that is the only option into its values as options.
func (s scope) expanded(outer variants, c wildcard) (variants, bool) {
	path, ok := s.path(c.path)
	if !ok {
		return variants{}, false
	}
	list := s.e.wildcardValues(path)
	var options []option
	for text := range repeated(list) {
		v, ok := s.e.parse(text)
		if !ok {
			return variants{}, false
		}
		options = append(options, option{v, 1})
	}
	return newVariants(options, min(outer.low, len(list)), min(outer.high, len(list)), outer.separator, c.by), s.e.err == nil
}

// onlyWildcard is the wildcard that is the only option of variants.
func onlyWildcard(c variants) (wildcard, bool) {
	if len(c.options) != 1 {
		return wildcard{}, false
	}
	w, ok := c.options[0].value.(wildcard)
	return w, ok
}

// repeated gives each value as often as its weight says, fractions cut off.
func repeated(list []Value) values {
	return func(yield func(string) bool) {
		for _, v := range list {
			for range int(min(max(v.Weight, 0), maxWork)) {
				if !yield(v.Text) {
					return
				}
			}
		}
	}
}

// missing gives the wildcard itself, for ever: what stands for one without values.
func (s scope) missing(c wildcard, yield func(string) bool) {
	path, ok := s.path(c.path)
	if !ok {
		return
	}
	wrap := s.e.syntax.WildcardWrap
	if !strings.HasPrefix(path, wrap) {
		path = wrap + path
	}
	if !strings.HasSuffix(path, wrap) {
		path += wrap
	}
	for s.e.spend() && yield(path) {
	}
}

// ellipsis marks where a wrapper takes what it wraps.
var ellipsis = regexp.MustCompile(`[\x{1801}\x{2026}\x{22ee}\x{22ef}\x{22f0}\x{22f1}\x{fe19}]+|\.{3,}`)

// wrap puts inner in the place of the wrapper's first ellipsis, or behind it.
func wrap(wrapper, inner string) string {
	at := ellipsis.FindStringIndex(wrapper)
	if at == nil {
		at = []int{len(wrapper), len(wrapper)}
	}
	return join([]string{wrapper[:at[0]], inner, wrapper[at[1]:]}, "")
}
