package prompt

import (
	"slices"
	"strings"
)

// Style is a named pair of texts that is merged with prompts.
type Style struct {
	Name           string
	Prompt         string
	NegativePrompt string
}

// stylePlace is where a style's text takes the prompt in.
const stylePlace = "{prompt}"

// ApplyStyles merges style texts with the prompt, one after the other: each {prompt} of a
// style stands for the prompt so far; a style without it follows the prompt after a comma.
func ApplyStyles(text string, styles ...string) string {
	for _, style := range styles {
		text = applyStyle(text, style)
	}
	return text
}

func applyStyle(text, style string) string {
	if strings.Contains(style, stylePlace) {
		return strings.ReplaceAll(style, stylePlace, text)
	}
	text, style = trimSpace(text), trimSpace(style)
	if text == "" || style == "" {
		return text + style
	}
	return text + ", " + style
}

// ExtractStyles is the reverse of [ApplyStyles]: it cuts the texts of styles out of a
// pair of prompts for as long as one of the styles matches both, and returns the names of
// those found in the order in which they were applied. Earlier styles are tried first,
// each is used at most once, and a style with neither text never matches.
func ExtractStyles(styles []Style, positive, negative string) (names []string, restPositive, restNegative string) {
	left := slices.Clone(styles)
	for {
		found := slices.IndexFunc(left, func(s Style) bool {
			if s.Prompt == "" && s.NegativePrompt == "" {
				return false
			}
			p, okP := extractStyle(positive, s.Prompt)
			n, okN := extractStyle(negative, s.NegativePrompt)
			if okP && okN {
				positive, negative = p, n
			}
			return okP && okN
		})
		if found < 0 {
			slices.Reverse(names)
			return names, positive, negative
		}
		names = append(names, left[found].Name)
		left = slices.Delete(left, found, found+1)
	}
}

// extractStyle cuts one style text out of a prompt.
func extractStyle(text, style string) (rest string, ok bool) {
	text, style = trimSpace(text), trimSpace(style)
	before, after, placed := strings.Cut(style, stylePlace)
	if placed {
		if !strings.HasPrefix(text, before) || !strings.HasSuffix(text, after) {
			return "", false
		}
		end := len(text) - len(after)
		return text[min(len(before), end):end], true // the two may overlap
	}
	if rest, ok = strings.CutSuffix(text, style); ok {
		rest = strings.TrimSuffix(rest, ", ")
	}
	return rest, ok
}
