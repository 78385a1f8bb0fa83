package judge

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// plain matches prompts of one or two coloured things and a place.
var plain = regexp.MustCompile(`^an? (\w+) (\w+)(?: and an? (\w+) (\w+))?(?: (in the snow|at night|in a meadow|by the sea|in the desert)| on an? (\w+) background)?$`)

// Expect is what a picture of a prompt must show. The prompt names each thing with its
// colour, as in "a red house and a white cat at night" or "an orange fish on a pink background".
func Expect(prompt string) (Verdict, error) {
	m := plain.FindStringSubmatch(prompt)
	if m == nil {
		return Verdict{}, fmt.Errorf("%q is not a prompt of coloured things and a place", prompt)
	}
	v := Verdict{Colour: m[1], Object: m[2], Colour2: m[3], Object2: m[4], Place: m[6]}
	if place := m[5]; place != "" {
		v.Place = place[strings.LastIndexByte(place, ' ')+1:]
	}
	for _, answer := range []*string{&v.Object2, &v.Colour2, &v.Place} {
		if *answer == "" {
			*answer = None
		}
	}
	n, err := load()
	if err != nil {
		return Verdict{}, err
	}
	answers := v.answers()
	for _, h := range n.heads {
		if !slices.Contains(h.answers, *answers[h.name]) {
			return Verdict{}, fmt.Errorf("%q: the judge knows no %s %q", prompt, h.name, *answers[h.name])
		}
	}
	return v, nil
}
