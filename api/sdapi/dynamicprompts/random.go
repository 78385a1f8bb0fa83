package dynamicprompts

import "slices"

// randomVariants chooses among options, for ever.
func (s scope) randomVariants(c variants) values {
	if len(c.options) == 0 {
		return none
	}
	if len(c.options) == 1 {
		if w, ok := onlyWildcard(c); ok {
			return func(yield func(string) bool) {
				if inner, ok := s.expanded(c, w); ok {
					s.randomVariants(inner)(yield)
				}
			}
		}
		return func(yield func(string) bool) { s.of(c.options[0].value)(yield) }
	}
	c = c.fitting()
	return func(yield func(string) bool) {
		for {
			n := min(c.high, s.e.rand.Between(c.low, c.high))
			chosen, ok := s.choose(c.options, n)
			if !ok {
				return
			}
			text, ok := s.chosen(chosen, c.separator)
			if !ok || !yield(text) {
				return
			}
		}
	}
}

// chosen joins a first value of each command.
func (s scope) chosen(list []command, separator string) (string, bool) {
	if len(list) == 0 {
		return "", true
	}
	from, stop := s.pullAll(list)
	defer stop()
	return s.joinNext(from, separator)
}

// choose draws n of several options by weight, none twice. As in the library, what
// leaves is the first weight of the value of the chosen one's.
func (s scope) choose(options []option, n int) ([]command, bool) {
	options = slices.Clone(options)
	weights := make([]float64, len(options))
	for i, o := range options {
		weights[i] = o.weight
	}
	var out []command
	for range n {
		sums := make([]float64, len(weights))
		var sum float64
		for i, w := range weights {
			sum += w
			sums[i] = sum
		}
		drawn, err := s.e.rand.Weighted(sums)
		if err != nil {
			s.e.fail("the weights of the template cannot be used: %w", err)
			return nil, false
		}
		chosen := options[drawn].value
		key := chosen.key()
		first := slices.IndexFunc(options, func(o option) bool { return o.value.key() == key })
		out = append(out, options[first].value)
		gone := slices.Index(weights, weights[first])
		weights = slices.Delete(weights, gone, gone+1)
		options = slices.Delete(options, first, first+1)
	}
	return out, true
}

// draws is how many values the library draws at once where weights differ.
const draws = 10

// randomWildcard chooses among values of files, for ever.
func (s scope) randomWildcard(c wildcard) values {
	return func(yield func(string) bool) {
		s, list := s.wildcardList(c, yield)
		if len(list) == 0 {
			return
		}
		for {
			for _, at := range s.draw(list) {
				for text := range first(s.sampleText(list[at].Text)) {
					if !yield(text) {
						return
					}
				}
			}
			if !s.e.spend() {
				return
			}
		}
	}
}

// draw chooses values: one, or several at once where weights differ.
func (s scope) draw(list []Value) []int {
	if !slices.ContainsFunc(list, func(v Value) bool { return v.Weight != list[0].Weight }) {
		return []int{s.e.rand.Below(len(list))}
	}
	sums := make([]float64, len(list))
	var sum float64
	for i, v := range list {
		sum += v.Weight
		sums[i] = sum
	}
	out := make([]int, draws)
	for i := range out {
		var err error
		if out[i], err = s.e.rand.Weighted(sums); err != nil {
			s.e.fail("the weights of a wildcard cannot be used: %w", err)
			return nil
		}
	}
	return out
}

// first ends after one value.
func first(v values) values {
	return func(yield func(string) bool) {
		for text := range v {
			yield(text)
			return
		}
	}
}

func (s scope) randomWrap(c wrapped) values {
	return func(yield func(string) bool) {
		from, stop := s.pullAll([]command{c.wrapper, c.inner})
		defer stop()
		for {
			wrapper, ok := from[0].next()
			if !ok {
				return
			}
			inner, ok := from[1].next()
			if !ok || !yield(wrap(wrapper, inner)) {
				return
			}
		}
	}
}
