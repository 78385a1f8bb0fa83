//go:build cgo && sdcpp

package sdcpp

import (
	"context"

	"sdworker/convnet"
	"sdworker/convnet/depth"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/models"
)

// Depth implements inference.DepthEstimator.
func (e *Engine) Depth(ctx context.Context, in inference.DepthInput) ([]float32, error) {
	const op = "depth"
	if err := inference.CheckPixels(op, in.Pixels, in.H, in.W); err != nil {
		return nil, err
	}
	if in.H%depth.Patch != 0 || in.W%depth.Patch != 0 {
		return nil, fault.Errorf(fault.Invalid, op, "picture is %dx%d pixels, want multiples of %d", in.W, in.H, depth.Patch)
	}
	src, err := e.files.open(in.Model, models.Depth)
	if err != nil {
		return nil, err
	}
	defer src.close()
	net, problem := depth.Build(src.model.info.Shapes(), in.Version, in.Positions, in.H, in.W)
	if problem != "" {
		return nil, fault.Errorf(fault.Invalid, op, "%s %s", in.Model, problem)
	}
	g, err := e.openRoomy(ctx, op, net, src, graphBytes(net, in.H, in.W))
	if err != nil {
		return nil, err
	}
	defer g.close(e)
	outputs, err := g.run(ctx, e, op, in.Pixels, in.H, in.W)
	if err != nil {
		return nil, err
	}
	return outputs[0], nil
}

// graphBytes bounds what the graph of a network holds that goes forward without looking
// far back: a few values of the largest size.
func graphBytes(net *convnet.Net, h, w int) int64 {
	largest := 0
	for _, size := range net.Sizes(h, w) {
		largest = max(largest, size.Len())
	}
	const alive = 6
	return alive * 4 * int64(largest)
}
