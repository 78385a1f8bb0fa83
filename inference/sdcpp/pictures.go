//go:build cgo && sdcpp

package sdcpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"unsafe"

	"sdworker/inference"
	"sdworker/inference/sdcpp/tiles"
)

// Sizes of tiles in cells: latent cells for the VAE, pixels for upscalers. The
// VAE's overlap covers the reach of its convolutions. The upscaler's numbers are
// A1111's defaults, ESRGAN_tile and ESRGAN_tile_overlap.
const (
	vaeTile        = 64
	vaeOverlap     = 16
	upscaleTile    = 192
	upscaleOverlap = 8
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
	g := tiles.Grid{
		H: h, W: w, Tile: vaeTile, Overlap: vaeOverlap, Wrap: in.Tiling,
		InScale: inference.LatentScale, InPlanes: 3, OutScale: 1, OutPlanes: 2 * inference.LatentChannels,
	}
	return g.Run(in.Pixels, func(tile []float32, h, w int) ([]float32, error) { return encode(tile, h, w, false) })
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
	g := tiles.Grid{
		H: in.H, W: in.W, Tile: vaeTile, Overlap: vaeOverlap, Wrap: in.Tiling,
		InScale: 1, InPlanes: inference.LatentChannels, OutScale: inference.LatentScale, OutPlanes: 3,
	}
	return g.Run(in.Latent, func(tile []float32, h, w int) ([]float32, error) { return decode(tile, h, w, false) })
}

func (e *Engine) tiled(mode inference.TileMode, h, w int) bool {
	switch mode {
	case inference.TileAlways:
		return true
	case inference.TileNever:
		return false
	default:
		return tiles.Wanted(h, w, e.memory)
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
	g := tiles.Grid{
		H: h, W: w, Tile: upscaleTile, Overlap: upscaleOverlap,
		InScale: 1, InPlanes: 3, OutScale: factor, OutPlanes: 3,
	}
	out, err := g.Run(pixels, func(tile []float32, h, w int) ([]float32, error) {
		out := make([]float32, 3*h*w*factor*factor)
		err := e.call(ctx, op, func(buf *C.char, n C.int) C.sdw_status {
			return C.sdw_upscale(e.c, floats(tile), C.int(h), C.int(w), floats(out), buf, n)
		})
		return result(out, err)
	})
	return out, factor, err
}
