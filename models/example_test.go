package models_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sdworker/models"
	"sdworker/models/synth"
)

// What a file is, its header tells, whatever its name says.
func ExampleInspect() {
	folder, err := os.MkdirTemp("", "models")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "unknown.safetensors")
	if err := synth.Write(context.Background(), path, synth.Options{Kind: synth.LoRA, Size: synth.Tiny}); err != nil {
		panic(err)
	}
	info, err := models.Inspect(path)
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Kind, info.Arch)
	fmt.Println("as a LoRA:", info.Fits(models.LoRA, models.CheckOptions{}))
	fmt.Println("as a VAE:", info.Fits(models.VAE, models.CheckOptions{}) != nil)
	// Output:
	// lora sd1
	// as a LoRA: <nil>
	// as a VAE: true
}
