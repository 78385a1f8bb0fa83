package infotext_test

import (
	"fmt"

	"sdworker/api/infotext"
	"sdworker/inference"
)

func ExampleWrite() {
	settings := inference.DefaultSettings()
	settings.ClipSkip = 2
	fmt.Println(infotext.Write(infotext.Params{
		Request: &inference.Request{
			Prompt: "a cat", NegativePrompt: "bad, ugly", Steps: 20, Sampler: "DPM++ 2M", CFGScale: 7, Settings: settings,
		},
		Seed: 1, Width: 512, Height: 512,
		Sampling: infotext.Sampling{EtaAncestral: 1, SNoise: 1}, Version: "v1.9.3",
	}))
	// Output:
	// a cat
	// Negative prompt: bad, ugly
	// Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 1, Size: 512x512, Clip skip: 2, Version: v1.9.3
}

func ExampleReader_Parse() {
	f := infotext.Reader{}.Parse("a cat\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 512x768")
	fmt.Println(f.Prompt(), f["Steps"], f["Sampler"], f["Size-1"], f["Size-2"], f["Schedule type"])
	// Output: a cat 20 Euler a 512 768 Automatic
}
