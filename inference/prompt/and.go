package prompt

import "strings"

// Part is one of the prompts that AND combines.
type Part struct {
	Text   string
	Weight float64
}

// SplitAND divides a positive prompt at the word AND. Each part may end in ": 1.2", its
// weight; without one it weighs 1. The guided prediction is
// uncond + sum over parts of (cond_i - uncond) * weight_i * cfg scale.
//
// There is at least one part, and empty parts count.
func SplitAND(text string) []Part {
	pieces := splitWord(text, "AND")
	parts := make([]Part, len(pieces))
	for i, piece := range pieces {
		parts[i] = readPart(piece)
	}
	return parts
}

func readPart(piece string) Part {
	piece = strings.TrimRightFunc(piece, isSpace)
	colon := strings.LastIndexByte(piece, ':')
	if colon < 0 {
		return Part{Text: piece, Weight: 1}
	}
	number := strings.TrimLeftFunc(piece[colon+1:], isSpace)
	if !isPartWeight(number) {
		return Part{Text: piece, Weight: 1}
	}
	weight, _ := parseFloat(number)
	return Part{Text: strings.TrimRightFunc(piece[:colon], isSpace), Weight: weight}
}

// isPartWeight reports whether s is an optional sign and 1, 1. , 1.5 or .5.
func isPartWeight(s string) bool {
	s = unsigned(s)
	whole := skip(s, 0, isDigit)
	if whole == len(s) {
		return whole > 0
	}
	if s[whole] != '.' {
		return false
	}
	fraction := skip(s, whole+1, isDigit)
	return fraction == len(s) && fraction > 1
}
