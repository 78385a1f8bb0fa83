package hint_test

import (
	"fmt"

	"sdworker/inference/hint"
	"sdworker/inference/imageio"
)

// A white square on black becomes its outline.
func ExampleMake() {
	square := imageio.RGB{W: 64, H: 64, Pix: make([]uint8, 3*64*64)}
	for y := 16; y < 48; y++ {
		for x := 16; x < 48; x++ {
			i := 3 * (y*64 + x)
			square.Pix[i], square.Pix[i+1], square.Pix[i+2] = 255, 255, 255
		}
	}
	made, err := hint.Make(hint.Picture{RGB: square}, hint.Options{
		Module: "canny", Sliders: hint.Sliders{Resolution: 64, A: 100, B: 200}, Width: 64, Height: 64,
	})
	if err != nil {
		panic(err)
	}
	at := func(x, y int) float32 { return made.Pixels[y*made.W+x] } // its first plane
	fmt.Println("inside", at(32, 32), "edge", max(at(15, 32), at(16, 32)), "outside", at(4, 4))
	// Output: inside 0 edge 1 outside 0
}
