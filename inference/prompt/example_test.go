package prompt_test

import (
	"fmt"

	"sdworker/inference/prompt"
)

func ExampleSchedule() {
	for _, e := range prompt.Schedule("a [red|blue] cat", prompt.Pass{Steps: 3}) {
		fmt.Printf("to step %d: %s\n", e.End, e.Text)
	}
	// Output:
	// to step 1: a red cat
	// to step 2: a blue cat
	// to step 3: a red cat
}

func ExampleParseAttention() {
	spans, err := prompt.ParseAttention("a (cat:1.2) on [grass]")
	if err != nil {
		panic(err)
	}
	for _, s := range spans {
		fmt.Printf("%q weighs %.3g\n", s.Text, s.Weight)
	}
	// Output:
	// "a " weighs 1
	// "cat" weighs 1.2
	// " on " weighs 1
	// "grass" weighs 0.909
}
