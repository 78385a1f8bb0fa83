package scripts

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
)

// csvValues reads comma-separated values as Python's csv does with
// skipinitialspace, all rows as one, without the spaces round them.
func csvValues(text string) []string {
	var out []string
	for row := range strings.SplitSeq(joinQuoted(text), "\n") {
		row = strings.Trim(row, "\r")
		if row == "" {
			continue
		}
		for _, value := range csvRow(strings.ReplaceAll(row, quotedBreak, "\n")) {
			out = append(out, strings.TrimSpace(value))
		}
	}
	return out
}

// quotedBreak stands for a line break inside quotes while rows are divided.
const quotedBreak = "\x00"

func joinQuoted(text string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			inside = !inside
		case r == '\n' && inside:
			return 0
		}
		return r
	}, text)
}

// csvRow divides one row. Quotes count at the beginning of a value only, and two of
// them inside quotes are one.
func csvRow(row string) []string {
	var out []string
	for {
		row = strings.TrimLeft(row, " ")
		var value strings.Builder
		if rest, ok := strings.CutPrefix(row, `"`); ok {
			for {
				part, after, found := strings.Cut(rest, `"`)
				value.WriteString(part)
				if !found {
					rest = ""
					break
				}
				if rest = after; !strings.HasPrefix(rest, `"`) {
					break
				}
				value.WriteByte('"')
				rest = rest[1:]
			}
			row = rest
		}
		plain, after, more := strings.Cut(row, ",")
		value.WriteString(plain)
		out = append(out, value.String())
		if !more {
			return out
		}
		row = after
	}
}

// csvText writes values as one row, as Python's csv does.
func csvText(values []string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		if parts[i] = v; strings.ContainsAny(v, ",\"\r\n") || v == "" && len(values) == 1 {
			parts[i] = `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
		}
	}
	return strings.TrimSpace(strings.Join(parts, ","))
}

// The forms of ranges: 1-5, 1-5 (+2), 1-5 [3]. As in the original the decimal point
// of the last two is any character.
var (
	intRange   = regexp.MustCompile(`^\s*([+-]?\s*\d+)\s*-\s*([+-]?\s*\d+)(?:\s*\(([+-]\d+)\s*\))?\s*$`)
	intCount   = regexp.MustCompile(`^\s*([+-]?\s*\d+)\s*-\s*([+-]?\s*\d+)(?:\s*\[(\d+)\s*\])?\s*$`)
	floatRange = regexp.MustCompile(`^\s*([+-]?\s*\d+(?:.\d*)?)\s*-\s*([+-]?\s*\d+(?:.\d*)?)(?:\s*\(([+-]\d+(?:.\d*)?)\s*\))?\s*$`)
	floatCount = regexp.MustCompile(`^\s*([+-]?\s*\d+(?:.\d*)?)\s*-\s*([+-]?\s*\d+(?:.\d*)?)(?:\s*\[(\d+(?:.\d*)?)\s*\])?\s*$`)
)

// axisValues reads the values of an axis.
func axisValues(kind axisKind, list []string) ([]any, error) {
	var out []any
	for _, text := range list {
		var more []any
		var err error
		switch kind {
		case axisInt:
			more, err = intValues(text)
		case axisFloat:
			more, err = floatValues(text)
		case axisText:
			more = []any{text}
		case axisOrder:
			return permutations(list)
		}
		if err != nil {
			return nil, err
		}
		if out = append(out, more...); len(out) > inference.MaxImages {
			return nil, tooManyValues()
		}
	}
	return out, nil
}

func tooManyValues() error {
	return fault.FieldError("script_args", "an axis of x/y/z plot has more than %d values", inference.MaxImages)
}

func pyInt(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, exception.Crash("ValueError", "invalid literal for int() with base 10: %s", pyjson.Quoted(text))
	}
	return n, nil
}

func pyFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, exception.Crash("ValueError", "could not convert string to float: %s", pyjson.Quoted(text))
	}
	return f, nil
}

// parse3 reads the groups of a range; a missing third is def.
func parse3[T any](m []string, parse func(string) (T, error), def T) (a, b, c T, err error) {
	if a, err = parse(m[1]); err != nil {
		return a, b, c, err
	}
	if b, err = parse(m[2]); err != nil {
		return a, b, c, err
	}
	if c = def; m[3] != "" {
		c, err = parse(m[3])
	}
	return a, b, c, err
}

func intValues(text string) ([]any, error) {
	if m := intRange.FindStringSubmatch(text); m != nil {
		start, end, step, err := parse3(m, pyInt, 1)
		switch {
		case err != nil:
			return nil, err
		case step == 0:
			return nil, exception.Crash("ValueError", "range() arg 3 must not be zero")
		}
		var out []any
		for v := start; step > 0 && v <= end || step < 0 && v > end+1; v += step { // the end is one further, also downwards
			if out = append(out, v); len(out) > inference.MaxImages {
				return nil, tooManyValues()
			}
		}
		return out, nil
	}
	if m := intCount.FindStringSubmatch(text); m != nil {
		start, end, n, err := parse3(m, pyInt, 1)
		if err != nil {
			return nil, err
		}
		values, err := linspace(float64(start), float64(end), n)
		var out []any
		for _, v := range values {
			out = append(out, int64(v))
		}
		return out, err
	}
	n, err := pyInt(text)
	return []any{n}, err
}

func floatValues(text string) ([]any, error) {
	if m := floatRange.FindStringSubmatch(text); m != nil {
		start, end, step, err := parse3(m, pyFloat, 1)
		if err != nil {
			return nil, err
		}
		return arange(start, end+step, step)
	}
	if m := floatCount.FindStringSubmatch(text); m != nil {
		start, end, _, err := parse3([]string{"", m[1], m[2], ""}, pyFloat, 1)
		if err != nil {
			return nil, err
		}
		n, err := pyInt(m[3])
		if err != nil {
			return nil, err
		}
		values, err := linspace(start, end, n)
		var out []any
		for _, v := range values {
			out = append(out, v)
		}
		return out, err
	}
	f, err := pyFloat(text)
	return []any{f}, err
}

// arange is numpy's: from start, below stop.
func arange(start, stop, step float64) ([]any, error) {
	n := math.Ceil((stop - start) / step)
	switch {
	case step == 0:
		return nil, exception.Crash("ZeroDivisionError", "division by zero")
	case n > inference.MaxImages:
		return nil, tooManyValues()
	}
	var out []any
	for i := range int(max(n, 0)) {
		out = append(out, start+float64(i)*((start+step)-start))
	}
	return out, nil
}

// linspace is numpy's: n values from start to stop, both among them.
func linspace(start, stop float64, n int64) ([]float64, error) {
	if n > inference.MaxImages {
		return nil, tooManyValues()
	}
	var out []float64
	for i := range n {
		v := start
		if n > 1 {
			v += float64(i) * ((stop - start) / float64(n-1))
		}
		if i == n-1 && n > 1 {
			v = stop
		}
		out = append(out, v)
	}
	return out, nil
}

// permutations are those of itertools, in its order.
func permutations(list []string) ([]any, error) {
	count := 1
	for i := range list {
		if count *= i + 1; count > inference.MaxImages {
			return nil, tooManyValues()
		}
	}
	var out []any
	var visit func(done []string, used uint64)
	visit = func(done []string, used uint64) {
		if len(done) == len(list) {
			out = append(out, append([]string{}, done...))
			return
		}
		for i, v := range list {
			if used&(1<<i) == 0 {
				visit(append(done, v), used|1<<i)
			}
		}
	}
	visit(nil, 0)
	return out, nil
}
