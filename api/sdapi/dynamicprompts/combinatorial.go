package dynamicprompts

import (
	"fmt"
	"slices"
	"strings"
)

// combinedSequence gives every combination of the values of its parts. Parts with
// an endless method give their next value each time.
func (s scope) combinedSequence(c sequence) values {
	return func(yield func(string) bool) {
		parts, s, ok := s.assign(c.parts)
		if !ok {
			return
		}
		shared, ok := s.newShared(parts)
		defer shared.stop()
		if !ok {
			return
		}
		for texts := range s.combine(parts, shared) {
			if !yield(strings.Join(texts, "")) {
				return
			}
		}
	}
}

type combinations = func(yield func([]string) bool)

func (s scope) combine(parts []command, shared *shared) combinations {
	return func(yield func([]string) bool) {
		if len(parts) == 0 {
			yield(nil)
			return
		}
		here := parts[0]
		if s.method(here).endless() {
			for rest := range s.combine(parts[1:], shared) {
				if text, ok := shared.next(here); ok {
					rest = append([]string{text}, rest...)
				}
				if s.e.err != nil || !yield(rest) {
					return
				}
			}
			return
		}
		for text := range s.of(here) {
			for rest := range s.combine(parts[1:], shared) {
				if !yield(append([]string{text}, rest...)) {
					return
				}
			}
		}
	}
}

// method is that of a command in the scope.
func (s scope) method(c command) method {
	if how := c.how(); how != inherited {
		return how
	}
	return s.how
}

// shared are the parts of a sequence that are not combined. Equal ones share their
// values, and each is one value ahead.
type shared struct {
	keys  []string
	from  []source
	ahead []string
	ended []bool
}

func (s scope) newShared(parts []command) (*shared, bool) {
	sh := &shared{}
	var list []command
	for _, c := range parts {
		if c.how() != combinatorial {
			list = append(list, c)
			sh.keys = append(sh.keys, c.key())
		}
	}
	sh.from, _ = s.pullAll(list)
	for _, f := range sh.from {
		text, ok := s.must(f)
		if !ok {
			return sh, false
		}
		sh.ahead, sh.ended = append(sh.ahead, text), append(sh.ended, false)
	}
	return sh, true
}

func (sh *shared) next(c command) (string, bool) {
	i := slices.Index(sh.keys, c.key())
	if sh.ended[i] {
		return "", false
	}
	text := sh.ahead[i]
	next, ok := sh.from[i].next()
	sh.ahead[i], sh.ended[i] = next, !ok
	return text, true
}

func (sh *shared) stop() {
	for _, f := range sh.from {
		f.stop()
	}
}

// combinedVariants gives every choice of low to high options, in every order. What
// comes twice is left out.
func (s scope) combinedVariants(c variants) values {
	if len(c.options) == 0 {
		return none
	}
	return func(yield func(string) bool) {
		if w, ok := onlyWildcard(c); ok {
			if inner, ok := s.expanded(c, w); ok {
				s.combinedVariants(inner)(yield)
			}
			return
		}
		c := c.fitting()
		seen := make(map[string]bool)
		for n := c.low; n <= c.high; n++ {
			for choice := range s.choices(valuesOf(c), n) {
				for texts := range s.each(choice) {
					texts = unique(texts)
					key := itemKey(texts)
					if len(texts) != n || seen[key] {
						if !s.e.spend() {
							return
						}
						continue
					}
					seen[key] = true
					if !yield(join(texts, c.separator)) {
						return
					}
				}
			}
		}
	}
}

func valuesOf(c variants) []keyed {
	list := make([]keyed, len(c.options))
	for i, o := range c.options {
		list[i] = keyed{o.value, o.value.key()}
	}
	return list
}

// keyed is a command with its key, which takes time to write.
type keyed struct {
	command
	is string
}

// choices gives every ordered choice of n commands, no two of them equal.
func (s scope) choices(list []keyed, n int) func(yield func([]command) bool) {
	return func(yield func([]command) bool) {
		if n <= 0 {
			yield(nil)
			return
		}
		for _, c := range list {
			if !s.e.spend() {
				return
			}
			var others []keyed
			for _, o := range list {
				if o.is != c.is {
					others = append(others, o)
				}
			}
			for rest := range s.choices(others, n-1) {
				if !yield(append([]command{c.command}, rest...)) {
					return
				}
			}
		}
	}
}

// each gives every combination of the values of the commands.
func (s scope) each(list []command) combinations {
	return func(yield func([]string) bool) {
		if len(list) == 0 {
			yield(nil)
			return
		}
		v := s.of(list[0])
		if s.method(list[0]).endless() {
			from := pull(v)
			defer from.stop()
			for rest := range s.each(list[1:]) {
				text, ok := s.must(from)
				if !ok || !yield(append([]string{text}, rest...)) {
					return
				}
			}
			return
		}
		for text := range v {
			for rest := range s.each(list[1:]) {
				if !yield(append([]string{text}, rest...)) {
					return
				}
			}
		}
	}
}

// itemKey tells lists apart, also the empty one from that of an empty text.
func itemKey(texts []string) string { return fmt.Sprintf("%q", texts) }

func unique(texts []string) []string {
	var out []string
	for _, t := range texts {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// wildcardList is the scope within a wildcard and its values. Without any it yields
// what stands for them.
func (s scope) wildcardList(c wildcard, yield func(string) bool) (scope, []Value) {
	path, ok := s.path(c.path)
	if !ok {
		return s, nil
	}
	s = s.forWildcard(c)
	list := s.e.wildcardValues(path)
	if len(list) == 0 {
		s.missing(c, yield)
	}
	return s, list
}

// combinedWildcard gives the prompts of every value.
func (s scope) combinedWildcard(c wildcard) values {
	return func(yield func(string) bool) {
		s, list := s.wildcardList(c, yield)
		if len(list) == 0 {
			return
		}
		for text := range repeated(list) {
			for prompt := range s.sampleText(text) {
				if !yield(prompt) {
					return
				}
			}
		}
	}
}

func (s scope) combinedWrap(c wrapped) values {
	return func(yield func(string) bool) {
		for wrapper := range s.sample(c.wrapper) {
			for inner := range s.sample(c.inner) {
				if !yield(wrap(wrapper, inner)) {
					return
				}
			}
		}
	}
}
