//go:build cgo && sdcpp

package sdcpp

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sdworker/convnet"
	"sdworker/convnet/yolo"
	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/inference/detect"
	"sdworker/inference/footprint"
	"sdworker/inference/imageio"
	"sdworker/models"
)

// detector is a YOLO model that is loaded.
type detector struct {
	src   *source
	model *yolo.Model
	graph *netGraph
	side  int // of the picture that it was trained for
}

// maxDetectors is how many stay loaded: those of the units that a request usually has.
const maxDetectors = 4

// Detect implements inference.ObjectDetector.
func (e *Engine) Detect(ctx context.Context, model string, m imageio.RGB, confidence float64) ([]detect.Found, error) {
	const op = "detect"
	d, err := e.detector(ctx, op, model)
	if err != nil {
		return nil, err
	}
	e.restFor(footprint.Upscaler, 0) // which is larger than a detector's graph
	l := detect.NewLetterbox(m, d.side, d.side)
	outputs, err := d.graph.run(ctx, e, op, l.Pixels, l.H, l.W)
	d.graph.rest(e)
	if err != nil {
		return nil, err
	}
	return detect.Decode(d.model, &l, outputs, confidence), nil
}

// detector returns a loaded model, the last used first in e.detectors.
func (e *Engine) detector(ctx context.Context, op, path string) (*detector, error) {
	at := slices.IndexFunc(e.detectors, func(d *detector) bool { return d.src.is(path) })
	if at >= 0 {
		d := e.detectors[at]
		e.detectors = slices.Insert(slices.Delete(e.detectors, at, at+1), 0, d)
		return d, nil
	}
	src, err := e.files.open(path, models.Detector)
	if err != nil {
		return nil, err
	}
	d := &detector{src: src, side: cmp.Or(src.model.info.DetectorSide(), detect.DefaultSide)}
	d.model, _ = yolo.Build(src.model.info.Shapes()) // it was looked at when the file was opened
	if d.graph, err = e.openNetOf(ctx, op, d.model.Net, netPart{src, 1}); err != nil {
		src.close()
		return nil, err
	}
	e.detectors = slices.DeleteFunc(e.detectors, func(old *detector) bool {
		gone := old.src.id.Path == path
		if gone {
			old.close(e)
		}
		return gone
	})
	e.detectors = slices.Insert(e.detectors, 0, d)
	if last := len(e.detectors) - 1; last == maxDetectors {
		e.detectors[last].close(e)
		e.detectors = e.detectors[:last]
	}
	return d, nil
}

func (d *detector) close(e *Engine) {
	d.graph.close(e)
	d.src.close()
}

// netPart is a file that the values of a network's arrays come from, all of them or a
// share.
type netPart struct {
	src   *source
	share float32
}

// read returns its share of the values of a tensor.
func (p netPart) read(t models.Weight) ([]float32, error) {
	values, err := safetensors.ReadFloat32s(p.src.file, t.Tensor.Offset, t.Tensor.Values(), safetensors.DType(t.Tensor.DType))
	if p.share != 1 {
		for i := range values {
			values[i] *= p.share
		}
	}
	return values, err
}

// openNetOf makes a network on the device and fills its arrays from its file, or from
// several of the same shapes, whose shares are added.
func (e *Engine) openNetOf(ctx context.Context, op string, net *convnet.Net, parts ...netPart) (*netGraph, error) {
	tensors := make([]map[string]models.Weight, len(parts))
	for i, p := range parts {
		tensors[i] = make(map[string]models.Weight, len(p.src.model.weights))
		for _, w := range p.src.model.weights {
			tensors[i][w.Name] = w
		}
	}
	g, err := e.openNet(ctx, op, net)
	if err != nil {
		return nil, err
	}
	last := parts[0].src // that was read
	var failed error
	err = net.LoadEach(func(name string) (sum []float32, _ error) {
		for i, p := range parts {
			var values []float32
			last = p.src
			if values, failed = p.read(tensors[i][name]); failed != nil {
				return nil, failed
			}
			if i == 0 {
				sum = values
				continue
			}
			for k, v := range values {
				sum[k] += v
			}
		}
		return sum, nil
	}, func(i int, values []float32) error { return g.set(ctx, e, op, i, values) })
	overwritten := slices.IndexFunc(parts, func(p netPart) bool { return p.src.overwritten() })
	switch {
	case overwritten >= 0:
		err = beingWritten(parts[overwritten].src.id.Path)
	case failed != nil:
		err = &fault.Error{Code: fault.Invalid, Op: op, Msg: fmt.Sprintf("%s cannot be read", last.id.Path), Err: failed}
	case err != nil && fault.CodeOf(err) == fault.Internal: // an array of another length
		err = &fault.Error{Code: fault.Invalid, Op: op, Msg: fmt.Sprintf("%s cannot be read", last.id.Path), Err: err}
	}
	if err != nil {
		g.close(e)
		return nil, err
	}
	return g, nil
}
