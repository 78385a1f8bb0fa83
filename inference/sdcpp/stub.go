//go:build !cgo || !sdcpp

package sdcpp

import (
	"context"

	"sdworker/inference"
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
}

// Open fails: this program was built without the engine.
func Open(context.Context, Options) (*Engine, error) {
	return nil, inference.Errorf(inference.Invalid, "open",
		"this program was built without the engine; build it with: make build")
}

// Version describes the build.
func Version() Build { return Build{Backend: "none", Allocator: allocator()} }

// Live returns the number of open engines.
func Live() int { return 0 }
