package clip_test

import (
	"fmt"

	"sdworker/inference/clip"
)

func ExampleEncode() {
	batch, err := clip.Encode([]string{"a (lovely:1.5) cat"}, clip.Options{CommaBacktrack: 20})
	if err != nil {
		panic(err)
	}
	text := batch.Texts[0]
	fmt.Println("tokens:", text.Tokens, "of", text.Limit())
	fmt.Println("ids:", text.Chunks[0].IDs[:6])
	fmt.Println("weights:", text.Chunks[0].Weights[:6])
	// Output:
	// tokens: 3 of 75
	// ids: [49406 320 2165 2368 49407 49407]
	// weights: [1 1 1.5 1 1 1]
}
