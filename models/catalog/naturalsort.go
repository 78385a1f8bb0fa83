package catalog

import (
	"cmp"
	"strings"
)

// naturalCompare orders texts as A1111 lists files: digits by value, letters
// without regard to case.
func naturalCompare(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	for a != "" && b != "" {
		// Runs alternate between text and digits; a text run may be empty.
		var x, y string
		x, a = cutRun(a, false)
		y, b = cutRun(b, false)
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		x, a = cutRun(a, true)
		y, b = cutRun(b, true)
		if c := compareNumbers(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// cutRun splits off the longest start that consists of digits, or that has none.
func cutRun(s string, digits bool) (run, rest string) {
	for i := range len(s) {
		if (s[i] >= '0' && s[i] <= '9') != digits {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
