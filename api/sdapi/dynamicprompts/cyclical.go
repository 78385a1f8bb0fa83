package dynamicprompts

// cycledVariants gives the choices of low to high options in turn, for ever.
func (s scope) cycledVariants(c variants) values {
	if len(c.options) == 0 {
		return none
	}
	return func(yield func(string) bool) {
		if w, ok := onlyWildcard(c); ok {
			if inner, ok := s.expanded(c, w); ok {
				s.cycledVariants(inner)(yield)
			}
			return
		}
		c := c.fitting()
		choices := func(yield func(values) bool) {
			for n := c.low; n <= c.high; n++ {
				for choice := range s.choices(valuesOf(c), n) {
					if !yield(s.cycledChoice(choice, c.separator)) {
						return
					}
				}
			}
		}
		s.cycle(choices, yield)
	}
}

// cycledChoice joins the next value of each command of a choice, which are asked
// for from the last to the first. Where one has no value left, those before it make
// the last text.
func (s scope) cycledChoice(choice []command, separator string) values {
	return func(yield func(string) bool) {
		from, stop := s.pullAll(choice)
		defer stop()
		for ended := false; !ended; {
			texts := make([]string, len(from))
			end := len(from)
			for i := len(from) - 1; i >= 0; i-- {
				var ok bool
				if texts[i], ok = from[i].next(); !ok {
					end, ended = i, true
				}
			}
			if s.e.err != nil || !yield(join(texts[:end], separator)) {
				return
			}
		}
	}
}

// cycle gives the next value of each of several sources in turn.
func (s scope) cycle(list func(yield func(values) bool), yield func(string) bool) {
	var from []source
	defer func() {
		for _, f := range from {
			f.stop()
		}
	}()
	give := func(f source) bool {
		text, ok := s.must(f)
		return ok && yield(text)
	}
	for v := range list {
		f := pull(v)
		from = append(from, f)
		if !give(f) {
			return
		}
	}
	if len(from) == 0 {
		s.e.fail("%w", errNoValue)
	}
	for s.e.err == nil {
		for _, f := range from {
			if !give(f) {
				return
			}
		}
	}
}

// cycledWildcard gives the values of files in turn, for ever.
func (s scope) cycledWildcard(c wildcard) values {
	return func(yield func(string) bool) {
		path, ok := s.path(c.path)
		if !ok {
			return
		}
		list := s.e.wildcardValues(path)
		s := s.forWildcard(c)
		s.how = cyclical
		if len(list) == 0 {
			s.missing(c, yield)
			return
		}
		s.cycle(func(yield func(values) bool) {
			for text := range repeated(list) {
				if !yield(s.sampleText(text)) {
					return
				}
			}
		}, yield)
	}
}
