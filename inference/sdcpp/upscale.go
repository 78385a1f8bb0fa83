//go:build cgo && sdcpp

package sdcpp

import (
	"context"
	"maps"
	"slices"

	"sdworker/convnet/superres"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/footprint"
	"sdworker/inference/sdcpp/tiles"
	"sdworker/models"
)

// Sizes of tiles in pixels: A1111's defaults, ESRGAN_tile and ESRGAN_tile_overlap.
const (
	upscaleTile    = 192
	upscaleOverlap = 8
)

// upscaler is a model that is loaded.
type upscaler struct {
	files   inference.UpscalerModel
	sources []*source // of its files
	model   *superres.Model
	graph   *netGraph
}

// is tells that the upscaler is that of a model's files as they are now.
func (u *upscaler) is(m inference.UpscalerModel) bool {
	return u != nil && u.files == m && !slices.ContainsFunc(u.sources, func(s *source) bool { return !s.is(s.id.Path) })
}

// UpscalePixels implements inference.PixelUpscaler. Large pictures are enlarged
// in tiles.
func (e *Engine) UpscalePixels(ctx context.Context, model inference.UpscalerModel, pixels []float32, h, w int) ([]float32, int, error) {
	const op = "upscale"
	if err := inference.CheckPixels(op, pixels, h, w); err != nil {
		return nil, 0, err
	}
	if !e.upscaler.is(model) {
		if err := e.loadUpscaler(ctx, op, model); err != nil {
			return nil, 0, err
		}
	}
	u := e.upscaler
	e.restFor(footprint.Upscaler, 0)
	defer u.graph.rest(e)
	g := tiles.Grid{
		H: h, W: w, Tile: upscaleTile, Overlap: upscaleOverlap,
		InScale: 1, InPlanes: 3, OutScale: u.model.Factor, OutPlanes: 3,
	}
	out, err := inTiles(g, pixels, func(tile []float32, h, w int) ([]float32, error) { return u.enlarge(ctx, e, op, tile, h, w) })
	return out, u.model.Factor, err
}

func (e *Engine) loadUpscaler(ctx context.Context, op string, m inference.UpscalerModel) (err error) {
	u := &upscaler{files: m}
	defer func() {
		if err != nil {
			u.close(e)
		}
	}()
	shares := []float32{1}
	if m.Other != "" {
		shares = []float32{float32(m.Share), float32(1 - m.Share)}
	}
	var parts []netPart
	for i, path := range m.Files() {
		src, err := e.files.open(path, models.Upscaler)
		if err != nil {
			return err
		}
		u.sources = append(u.sources, src)
		parts = append(parts, netPart{src, shares[i]})
	}
	u.model, _ = superres.Build(u.sources[0].model.info.Shapes()) // it was looked at when the file was opened
	if m.Other != "" && !maps.EqualFunc(u.sources[0].model.info.Shapes(), u.sources[1].model.info.Shapes(), slices.Equal) {
		return fault.Errorf(fault.Invalid, op, "%s and %s are upscalers of different shapes, which cannot be mixed", m.Path, m.Other)
	}
	if u.graph, err = e.openNetOf(ctx, op, u.model.Net, parts...); err != nil {
		return err
	}
	e.upscaler.close(e)
	e.upscaler = u
	return nil
}

// close frees an upscaler, if there is one.
func (u *upscaler) close(e *Engine) {
	if u == nil {
		return
	}
	u.graph.close(e)
	for _, src := range u.sources {
		src.close()
	}
}

// enlarge runs the network on a picture [3,h,w], which is filled up with its mirror
// image where the network takes whole groups of pixels.
func (u *upscaler) enlarge(ctx context.Context, e *Engine, op string, pixels []float32, h, w int) ([]float32, error) {
	fullH, fullW := roundUp(h, u.model.Group), roundUp(w, u.model.Group)
	in := pixels
	if fullH != h || fullW != w {
		in = resample(pixels, h, w, fullH, fullW)
	}
	outputs, err := u.graph.run(ctx, e, op, in, fullH, fullW)
	if err != nil {
		return nil, err
	}
	out, f := outputs[0], u.model.Factor
	if fullH != h || fullW != w {
		out = resample(out, f*fullH, f*fullW, f*h, f*w)
	}
	for i, v := range out {
		out[i] = min(max(v, 0), 1) // which keeps NaN
	}
	return out, nil
}

func roundUp(n, step int) int { return (n + step - 1) / step * step }

// resample cuts planes [3,h,w] at the right and the bottom, or goes on with their
// mirror images, edges not repeated.
func resample(planes []float32, h, w, toH, toW int) []float32 {
	out := make([]float32, 0, 3*toH*toW)
	for p := range 3 {
		for y := range toH {
			row := planes[(p*h+mirrored(y, h))*w:][:w]
			for x := range toW {
				out = append(out, row[mirrored(x, w)])
			}
		}
	}
	return out
}

// mirrored brings a position behind the end of n back; what is too short to be
// mirrored repeats its end.
func mirrored(i, n int) int {
	if i < n {
		return i
	}
	return max(2*(n-1)-i, 0)
}
