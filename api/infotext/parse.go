package infotext

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// Fields are the keys and values of a read text. Values are strings unless the
// parser supplied them: then they may be int, bool or, for "Styles array",
// []string. "Prompt" and "Negative prompt" are always there.
type Fields map[string]any

// Prompt is the prompt, empty when the text had none.
func (f Fields) Prompt() string { return f.text("Prompt") }

// NegativePrompt is the negative prompt, empty when the text had none.
func (f Fields) NegativePrompt() string { return f.text("Negative prompt") }

// text is the value of a key if it is a string.
func (f Fields) text(key string) string {
	s, _ := f[key].(string)
	return s
}

// Reader holds what the parser needs to know beyond the text.
type Reader struct {
	// Styles cuts known styles out of the prompts and names them. nil leaves
	// styles alone (option infotext_styles "Ignore").
	Styles func(prompt, negative string) (names []string, restPrompt, restNegative string)

	// AlwaysStyles lists the styles even when none was found (option
	// infotext_styles "Apply"; without it: "Apply if any").
	AlwaysStyles bool

	// HiresIsSize makes the size of a hires pass the Size (option
	// use_old_hires_fix_width_height).
	HiresIsSize bool

	// IgnoreVersion leaves out the rules for texts of older versions (option
	// auto_backcompat off).
	IgnoreVersion bool

	// Skip are keys to drop from the result (option infotext_skip_pasting).
	Skip []string
}

// pair is one "key: value" of the parameter line. A key has at least two
// characters; a value is a quoted string or goes up to the next comma.
var pair = regexp.MustCompile(`[` + space + `]*([` + word + `][` + word + ` \-/]+):[` + space + `]*("(?:\\[^\n]|[^\\"])+"|[^,]*)(?:,|$)`)

// The classes of Python's regular expressions, which know all of Unicode.
const (
	space = `\s\v\x1c-\x1f\x85\p{Z}`
	word  = `\p{L}\p{N}_`
)

// size is a value like 512x768.
var size = regexp.MustCompile(`^(\p{Nd}+)x(\p{Nd}+)\n?$`)

// minPairs is how many pairs make the last line the parameter line.
const minPairs = 3

// Parse reads a text. It never fails: what is no parameter is prompt.
func (r Reader) Parse(s string) Fields {
	lines := strings.Split(strip(s), "\n")
	last := lines[len(lines)-1]
	pairs := pair.FindAllStringSubmatch(last, -1)
	if len(pairs) < minPairs {
		pairs = nil
	} else {
		lines = lines[:len(lines)-1]
	}
	f := Fields{}
	prompt, negative := splitPrompts(lines)
	if r.Styles != nil {
		var names []string
		names, prompt, negative = r.Styles(prompt, negative)
		if len(names) > 0 || r.AlwaysStyles {
			f["Styles array"] = append([]string{}, names...) // never nil: a list in JSON
		}
	}
	f["Prompt"], f["Negative prompt"] = prompt, negative
	for _, m := range pairs {
		f.add(m[1], m[2])
	}
	r.complete(f)
	for _, key := range r.Skip {
		delete(f, key)
	}
	return f
}

// splitPrompts shares the text lines between prompt and negative prompt.
func splitPrompts(lines []string) (prompt, negative string) {
	into := &prompt
	for _, line := range lines {
		line = strip(line)
		if rest, ok := strings.CutPrefix(line, negativeLabel); ok {
			into, line = &negative, strip(rest)
		}
		if *into != "" {
			*into += "\n"
		}
		*into += line
	}
	return prompt, negative
}

// add stores one value of the parameter line; sizes become two keys.
func (f Fields) add(key, value string) {
	if value == "" {
		return
	}
	value = unquote(value)
	if m := size.FindStringSubmatch(value); m != nil {
		f[key+"-1"], f[key+"-2"] = m[1], m[2]
		return
	}
	f[key] = value
}

// unquote reads a value in quotes as a JSON string; what is none stays as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var value string
	if err := json.Unmarshal([]byte(s), &value); err != nil {
		return s
	}
	return value
}

// number reads a size; what is no number counts as absent.
func (f Fields) number(key string) (int, bool) {
	n, err := strconv.Atoi(f.text(key))
	return n, err == nil
}
