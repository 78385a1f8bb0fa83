//go:build cgo && sdcpp

package sdcpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"unsafe"

	"sdworker/inference"
)

// Encode implements inference.Engine.
func (e *Engine) Encode(ctx context.Context, in inference.PixelInput) ([]float32, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	h, w := in.H/inference.LatentScale, in.W/inference.LatentScale
	encode := func(pixels []float32, h, w int, wrap bool) ([]float32, error) {
		out := make([]float32, 2*inference.LatentChannels*h*w)
		err := e.call(ctx, "encode", func(buf *C.char, n C.int) C.sdw_status {
			return C.sdw_encode(e.c, floats(pixels), C.int(h), C.int(w), flag(wrap), floats(out), buf, n)
		})
		return result(out, err)
	}
	if !e.tiled(in.Tiles, h, w) {
		return encode(in.Pixels, h, w, in.Tiling)
	}
	g := grid{
		h: h, w: w, tile: vaeTile, overlap: vaeOverlap, wrap: in.Tiling,
		inScale: inference.LatentScale, inPlanes: 3, outScale: 1, outPlanes: 2 * inference.LatentChannels,
	}
	return g.run(in.Pixels, func(tile []float32, h, w int) ([]float32, error) { return encode(tile, h, w, false) })
}

// Decode implements inference.Engine.
func (e *Engine) Decode(ctx context.Context, in inference.LatentInput) ([]float32, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	decode := func(latent []float32, h, w int, wrap bool) ([]float32, error) {
		out := make([]float32, pixelCount(h, w))
		err := e.call(ctx, "decode", func(buf *C.char, n C.int) C.sdw_status {
			return C.sdw_decode(e.c, floats(latent), C.int(h), C.int(w), flag(wrap), floats(out), buf, n)
		})
		return result(out, err)
	}
	if !e.tiled(in.Tiles, in.H, in.W) {
		return decode(in.Latent, in.H, in.W, in.Tiling)
	}
	g := grid{
		h: in.H, w: in.W, tile: vaeTile, overlap: vaeOverlap, wrap: in.Tiling,
		inScale: 1, inPlanes: inference.LatentChannels, outScale: inference.LatentScale, outPlanes: 3,
	}
	return g.run(in.Latent, func(tile []float32, h, w int) ([]float32, error) { return decode(tile, h, w, false) })
}

func (e *Engine) tiled(mode inference.TileMode, h, w int) bool {
	switch mode {
	case inference.TileAlways:
		return true
	case inference.TileNever:
		return false
	default:
		return wantTiles(h, w, e.memory)
	}
}

// UpscalePixels implements inference.PixelUpscaler. Large pictures are enlarged
// in tiles.
func (e *Engine) UpscalePixels(ctx context.Context, model string, pixels []float32, h, w int) ([]float32, int, error) {
	const op = "upscale"
	if err := inference.CheckPixels(op, pixels, h, w); err != nil {
		return nil, 0, err
	}
	if _, err := regularFile(op, model); err != nil {
		return nil, 0, err
	}
	file := C.CString(model)
	defer C.free(unsafe.Pointer(file))
	var c C.int
	err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
		return C.sdw_upscale_factor(e.c, file, &c, buf, n)
	})
	if err != nil {
		return nil, 0, err
	}
	factor := int(c)
	g := grid{
		h: h, w: w, tile: upscaleTile, overlap: upscaleOverlap,
		inScale: 1, inPlanes: 3, outScale: factor, outPlanes: 3,
	}
	out, err := g.run(pixels, func(tile []float32, h, w int) ([]float32, error) {
		out := make([]float32, 3*h*w*factor*factor)
		err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
			return C.sdw_upscale(e.c, floats(tile), C.int(h), C.int(w), floats(out), buf, n)
		})
		return result(out, err)
	})
	return out, factor, err
}
