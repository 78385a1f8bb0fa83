package prompt

import (
	"maps"
	"slices"
	"strings"
)

// Entry is one line of a prompt's timetable.
type Entry struct {
	End  int    // last step at which Text applies, counted from 1
	Text string // plain text, for [ParseAttention]
}

// Pass says for which pass a timetable is made.
type Pass struct {
	Steps      int // length of the first pass, at least 1
	HiresSteps int // length of the hires pass if the timetable is for that, else 0

	// OldTimes is option use_old_scheduling: a number below 1 is a fraction, with or
	// without a dot, any other a step, and the hires pass has the timetable of the first.
	OldTimes bool
}

// steps returns the number of steps of the pass.
func (p Pass) steps() int {
	if p.HiresSteps > 0 && !p.OldTimes {
		return p.HiresSteps
	}
	return p.Steps
}

// step returns the step after which a switch written as number happens: a number with
// a dot is a fraction of the pass, one without a step. Those of the hires pass go on from
// the end of the first pass, 1.0 and Steps.
func (p Pass) step(number string) int {
	v, _ := parseFloat(number)
	dot := strings.Contains(number, ".")
	hires := p.HiresSteps > 0
	switch {
	case p.OldTimes && v < 1:
		v *= float64(p.steps())
	case p.OldTimes:
	case dot && hires:
		v = (v - 1) * float64(p.steps())
	case dot:
		v *= float64(p.steps())
	case hires:
		v -= float64(p.Steps)
	}
	return int(max(0, min(v, float64(p.steps()))))
}

// Schedule reads prompt editing [before:after:when], [after:when] and alternation
// [a|b|...] and returns the timetable of the pass: entries of rising End, the last one
// at the end of the pass. Entries of equal text are kept apart, because Original
// emphasis averages over all entries; equal texts share their memory.
//
// Brackets and colons that form no such construct stay in the text. A prompt with a |
// outside of an alternation, or with a backslash that escapes nothing, is literal as a
// whole.
func Schedule(text string, pass Pass) []Entry {
	constructs := parseConstructs(text)
	ends := map[int]bool{pass.steps(): true}
	for i := range constructs {
		c := &constructs[i]
		if c.when == "" {
			for step := range pass.steps() {
				ends[step+1] = true
			}
		} else if c.step = pass.step(c.when); c.step >= 1 {
			ends[c.step] = true
		}
	}
	entries := make([]Entry, 0, len(ends))
	texts := map[string]string{}
	var buf []byte
	for _, end := range slices.Sorted(maps.Keys(ends)) {
		buf = textAt(buf[:0], text, constructs, end)
		shared, ok := texts[string(buf)]
		if !ok {
			shared = string(buf)
			texts[shared] = shared
		}
		entries = append(entries, Entry{End: end, Text: shared})
	}
	return entries
}

// Active returns the index of the entry that applies at a denoiser step counted from 0:
// the first whose End is not below the step. Past the last End it is the first entry
// again.
func Active(entries []Entry, step int) int {
	return max(0, slices.IndexFunc(entries, func(e Entry) bool { return step <= e.End }))
}

// textAt appends what the prompt says at a step to buf. It walks the text once; a
// construct makes it jump to the part that applies, and from that part's end past the
// construct.
func textAt(buf []byte, text string, constructs []construct, step int) []byte {
	type jump struct{ at, to int }
	jumps := []jump{{at: len(text), to: len(text)}}
	pos := 0
	for len(jumps) > 0 {
		for len(constructs) > 0 && constructs[0].open < pos {
			constructs = constructs[1:] // in a part that does not apply
		}
		next := jumps[len(jumps)-1]
		if len(constructs) > 0 && constructs[0].open < next.at {
			c := constructs[0]
			buf = append(buf, text[pos:c.open]...)
			part := c.partAt(step)
			jumps = append(jumps, jump{at: part.end, to: c.end})
			pos = part.start
			constructs = constructs[1:]
			continue
		}
		buf = append(buf, text[pos:next.at]...)
		pos = next.to
		jumps = jumps[:len(jumps)-1]
	}
	return buf
}
