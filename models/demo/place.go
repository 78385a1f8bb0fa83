package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Digest is the sha256 of the checkpoint that Write makes, in hexadecimal digits.
const Digest = "cd8f15263abba3faa62975d8269607fd5497e13f68749f69eb7c37b00280c8c7"

// Place is a folder with the model and its family, laid out as A1111's models folder.
type Place struct{ Root string }

// In is the place below a cache folder. Another version of the model has another one.
func In(cache string) Place { return Place{filepath.Join(cache, "demo", version())} }

// version tells models apart: it changes with the weights and with what is made of
// them.
var version = sync.OnceValue(func() string {
	h := sha256.New()
	h.Write([]byte(Digest))
	entries, err := weights.ReadDir(".")
	if err != nil {
		panic(err) // they are part of the program
	}
	for _, e := range entries {
		raw, err := weights.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
})

// names are the places of the kinds in a models folder.
var names = map[Kind]string{
	Checkpoint: "Stable-diffusion/demo.safetensors",
	Embedding:  "embeddings/robot.safetensors",
	LoRA:       "Lora/moonlight.safetensors",
	ControlNet: "ControlNet/demo-canny.safetensors",
}

// Path is where the file of a kind is.
func (p Place) Path(kind Kind) string { return filepath.Join(p.Root, filepath.FromSlash(names[kind])) }

// Ensure writes what is missing, which takes seconds. It may run in several programs
// at the same time.
func (p Place) Ensure(ctx context.Context) error {
	for _, kind := range Kinds() {
		if info, err := os.Stat(p.Path(kind)); err == nil && info.Mode().IsRegular() {
			continue // files appear whole
		}
		if err := p.write(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// Write writes all kinds, in place of what is there.
func (p Place) Write(ctx context.Context) error {
	for _, kind := range Kinds() {
		if err := p.write(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

func (p Place) write(ctx context.Context, kind Kind) error {
	path := p.Path(kind)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return Write(ctx, kind, path)
}
