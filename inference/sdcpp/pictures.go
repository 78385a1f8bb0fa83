//go:build cgo && sdcpp

package sdcpp

// #include "shim.h"
import "C"

import (
	"context"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/sdcpp/tiles"
)

// Sizes of the VAE's tiles in latent cells. The overlap covers the reach of its
// convolutions.
const (
	vaeTile    = 64
	vaeOverlap = 16
)

// Encode implements inference.Engine.
func (e *Engine) Encode(ctx context.Context, in inference.PixelInput) ([]float32, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	const scale = inference.LatentScale
	encode := func(pixels []float32, h, w int, wrap bool) ([]float32, error) {
		out := make([]float32, 2*inference.LatentChannels*(h/scale)*(w/scale))
		err := e.call(ctx, "encode", func(buf *C.char, n C.int) C.sdw_status {
			return C.sdw_encode(e.c, floats(pixels), C.int(h), C.int(w), flag(wrap), floats(out), buf, n)
		}, e.decoder())
		return result(out, err)
	}
	whole := func() ([]float32, error) { return encode(in.Pixels, in.H, in.W, in.Tiling) }
	g := tiles.Grid{
		H: in.H / scale, W: in.W / scale, Tile: vaeTile, Overlap: vaeOverlap, Wrap: in.Tiling,
		InScale: scale, InPlanes: 3, OutScale: 1, OutPlanes: 2 * inference.LatentChannels,
	}
	return e.tiled(in.Tiles, g, e.info.Networks.Encode(g.H, g.W), wholeCells(in), whole, func(tile []float32, h, w int) ([]float32, error) {
		return encode(tile, scale*h, scale*w, false)
	})
}

// wholeCells returns the pixels [3,H,W] without those at the right and at the
// bottom that fill no latent cell; tiles need whole cells.
func wholeCells(in inference.PixelInput) []float32 {
	h, w := in.H/inference.LatentScale*inference.LatentScale, in.W/inference.LatentScale*inference.LatentScale
	if h == in.H && w == in.W {
		return in.Pixels
	}
	out := make([]float32, 0, 3*h*w)
	for plane := range 3 {
		for y := range h {
			row := (plane*in.H + y) * in.W
			out = append(out, in.Pixels[row:row+w]...)
		}
	}
	return out
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
		}, e.decoder())
		return result(out, err)
	}
	whole := func() ([]float32, error) { return decode(in.Latent, in.H, in.W, in.Tiling) }
	g := tiles.Grid{
		H: in.H, W: in.W, Tile: vaeTile, Overlap: vaeOverlap, Wrap: in.Tiling,
		InScale: 1, InPlanes: inference.LatentChannels, OutScale: inference.LatentScale, OutPlanes: 3,
	}
	return e.tiled(in.Tiles, g, e.info.Networks.Decode(g.H, g.W), in.Latent, whole, func(tile []float32, h, w int) ([]float32, error) { return decode(tile, h, w, false) })
}

// tiled runs the VAE on the whole picture, which needs so many bytes, or on tiles of it.
// In mode TileAuto tiles are also the way out when the whole picture does not fit into
// memory, foretold or found. What is foretold counts for all modes: on a CPU the kernel
// would end the process.
func (e *Engine) tiled(mode inference.TileMode, g tiles.Grid, need int64, in []float32, whole func() ([]float32, error),
	tile func(in []float32, h, w int) ([]float32, error),
) ([]float32, error) {
	if mode == inference.TileAuto {
		mode = e.tiles
	}
	e.makeRoom(need, vaeGraph, nil)
	room := e.info.Room()
	fits := room < 0 || need <= room
	if mode == inference.TileNever && !fits {
		return nil, fault.Errorf(fault.Exhausted, "vae", "the VAE needs about %d MiB for a picture of %dx%d pixels in one piece, and there are %d MiB beside the model; let it work in tiles",
			need>>20, g.W*inference.LatentScale, g.H*inference.LatentScale, room>>20)
	}
	if mode == inference.TileNever || mode == inference.TileAuto && fits && !tiles.Wanted(g.H, g.W, e.memory) {
		out, err := whole()
		if mode != inference.TileAuto || fault.CodeOf(err) != fault.Exhausted {
			return out, err
		}
	}
	return inTiles(g, in, tile)
}

// inTiles runs a picture in tiles, and in smaller ones while there is no memory for them.
func inTiles(g tiles.Grid, in []float32, tile func(in []float32, h, w int) ([]float32, error)) ([]float32, error) {
	for {
		out, err := g.Run(in, tile)
		if fault.CodeOf(err) != fault.Exhausted || g.Tile/2 <= g.Overlap {
			return out, err
		}
		g.Tile /= 2
	}
}
