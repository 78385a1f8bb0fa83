package inference

import (
	"context"
	"slices"

	"sdworker/fault"
	"sdworker/inference/batch"
	"sdworker/inference/imageio"
)

// Names of the upscalers that need no model file.
const (
	UpscalerNone    = "None"
	UpscalerLanczos = "Lanczos"
	UpscalerNearest = "Nearest"
)

// BuiltinUpscalers lists them in A1111's order.
func BuiltinUpscalers() []string { return []string{UpscalerNone, UpscalerLanczos, UpscalerNearest} }

// maxUpscalePasses is how often A1111 runs a model whose factor is too small
// for the wanted size (modules/upscaler.py).
const maxUpscalePasses = 3

// Upscale enlarges one picture. The model file, if one is needed, is run by the
// engine of the checkpoint in use.
func (p *Pipeline) Upscale(ctx context.Context, req *UpscaleRequest, hooks Hooks) (imageio.RGB, error) {
	w, h := imageio.UpscaleSize(req.Image.W, req.Image.H, req.Scale)
	if w < 1 || h < 1 || w > 4*MaxSide || h > 4*MaxSide {
		return imageio.RGB{}, fault.FieldError("upscaling_resize", "upscaling gives %dx%d pixels, want 8 to %d a side", w, h, 4*MaxSide)
	}
	if req.Model.Path == "" {
		return upscale(ctx, nil, req, hooks)
	}
	var out imageio.RGB
	err := p.enter(ctx, batch.Want{Any: true}, func(turn *turn) error {
		m := p.inUse()
		if m == nil {
			return fault.Errorf(fault.NotFound, "upscale", "no checkpoint is loaded, so no engine runs that could upscale with a model")
		}
		if keeper, ok := m.eng.(FileKeeper); ok && turn.first {
			keeper.Renew() // for the upscaler: the checkpoint does not matter here
		}
		turn.Open()
		var err error
		out, err = upscale(ctx, m.join(nil), req, hooks)
		return p.broken(turn, m, err)
	})
	return out, err
}

// upscale enlarges m until it has the wanted size and then resizes it to that
// size exactly, as Upscaler.upscale of modules/upscaler.py does.
func upscale(ctx context.Context, eng PixelUpscaler, req *UpscaleRequest, hooks Hooks) (imageio.RGB, error) {
	m := req.Image
	if req.Upscaler == UpscalerNone {
		return m, nil
	}
	w, h := imageio.UpscaleSize(m.W, m.H, req.Scale)
	for i := range maxUpscalePasses {
		if m.W >= w && m.H >= h && (i > 0 || req.Scale != 1) || hooks.Control.Interrupted() {
			break
		}
		before := m
		var err error
		if m, err = upscaleOnce(ctx, eng, req, m); err != nil {
			return imageio.RGB{}, err
		}
		hooks.Report(Progress{Phase: PhaseUpscaling, Step: i + 1, Steps: maxUpscalePasses})
		if m.W == before.W && m.H == before.H {
			break
		}
	}
	if m.W != w || m.H != h {
		m = m.Resize(w, h, imageio.Lanczos)
	}
	return m, nil
}

func upscaleOnce(ctx context.Context, eng PixelUpscaler, req *UpscaleRequest, m imageio.RGB) (imageio.RGB, error) {
	scaledW, scaledH := int(float64(m.W)*req.Scale), int(float64(m.H)*req.Scale)
	switch {
	case req.Model.Path == "" && req.Upscaler == UpscalerNearest:
		return m.Resize(scaledW, scaledH, imageio.Nearest), nil
	case req.Model.Path == "" && req.Upscaler == UpscalerLanczos:
		return m.Resize(scaledW, scaledH, imageio.Lanczos), nil
	case req.Model.Path == "":
		return m, fault.Errorf(fault.NotFound, "upscale", "could not find upscaler named %s", req.Upscaler)
	}
	out, factor, err := eng.UpscalePixels(ctx, req.Model, toPlanar(m), m.H, m.W)
	if err != nil {
		return m, err
	}
	if slices.ContainsFunc(out, func(v float32) bool { return v != v }) {
		return m, fault.Errorf(fault.Internal, "upscale", "the upscaler %s produced a picture of NaNs", req.Upscaler)
	}
	return roundRGB(out, m.H*factor, m.W*factor), nil
}

// resizeWith gives m exactly w by h pixels as resize_image of modules/images.py
// does: by the upscaler where the picture grows, and by Lanczos otherwise.
func (j *job) resizeWith(ctx context.Context, m imageio.RGB, w, h int, upscaler string) (imageio.RGB, error) {
	scale := max(float64(w)/float64(m.W), float64(h)/float64(m.H))
	if upscaler != "" && upscaler != UpscalerNone && scale > 1 {
		var err error
		m, err = upscale(ctx, j.eng, &UpscaleRequest{Image: m, Upscaler: upscaler, Model: j.req.Files.Upscalers[upscaler], Scale: scale}, j.hooks)
		if err != nil {
			return m, err
		}
	}
	if m.W != w || m.H != h {
		m = m.Resize(w, h, imageio.Lanczos)
	}
	return m, nil
}
