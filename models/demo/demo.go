// Package demo holds a tiny model that draws flat cartoons of what a prompt says, and
// writes it as a file that looks like any checkpoint of Stable Diffusion 1.5.
//
// Only the trained weights are stored, with eight bits each, in a UNet and an
// autoencoder narrower than those that the engine's group norms work well with. In
// the file they lie inside wider ones whose other channels are zero or constant, so
// that the wide networks compute the same as the narrow ones. The text encoder is
// constructed, see text.go. Equal programs write equal bytes, on every processor.
package demo

import (
	"embed"
	"strings"
)

// Side is the length of a picture's sides, in pixels, that the model was trained on,
// and Steps how many of most samplers are enough. Sampler draws the cleanest grounds:
// its own noise hides that the model leaves a little of the first one.
const (
	Side    = 256
	Steps   = 20
	Sampler = "Euler a"
)

// weights come from training/demo, which says how they were made.
//
//go:embed *.weights
var weights embed.FS

//go:embed prompts.txt
var prompts string

// Prompts are examples of what the model draws.
func Prompts() []string { return strings.Split(strings.TrimSpace(prompts), "\n") }
