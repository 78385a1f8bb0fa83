//go:build !cgo || !sdcpp

package sdcpp

import (
	"context"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/inference"
)

// backend of a program without the engine.
const (
	backend = "none"
	gpu     = false
)

// Engine is the native engine. This program was built without it.
type Engine struct{ absent }

// absent has the methods of an Engine; no value of Engine exists.
type absent interface {
	inference.Engine
	inference.LoRAApplier
	inference.VAESwitcher
	inference.PreviewDecoder
	inference.PixelUpscaler
	inference.ObjectDetector
}

// Open fails: this program was built without the engine.
func Open(context.Context, Options) (*Engine, error) {
	return nil, errAbsent("open")
}

func errAbsent(op string) error {
	return fault.Errorf(fault.Invalid, op, "this program was built without the engine; build it with: make build")
}

// Quantize fails: this program was built without the engine.
func Quantize(context.Context, string, string, string, zerolog.Logger) error {
	return errAbsent("quantize")
}

// Version describes the build.
func Version() Build { return Build{Backend: backend, Allocator: allocator()} }

// Devices lists nothing: there is no engine.
func Devices() []Device { return nil }

// Threads is n, or 1: there is no engine.
func Threads(n int) int { return max(n, 1) }

// Live returns the number of open engines.
func Live() int { return 0 }
