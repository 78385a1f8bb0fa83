package imageio_test

import (
	"fmt"

	"sdworker/inference/imageio"
)

func ExampleEncodePNG() {
	picture := imageio.Fill(64, 64, [3]uint8{200, 30, 90})
	file, err := imageio.EncodePNG(picture, imageio.Text{Key: "parameters", Value: "a cat\nSteps: 20"})
	if err != nil {
		panic(err)
	}
	fmt.Println(imageio.ReadInfo(file).Parameters)
	// Output:
	// a cat
	// Steps: 20
}
