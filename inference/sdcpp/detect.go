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
	if d.graph, err = e.openNetOf(ctx, op, d.model.Net, src); err != nil {
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

// openNetOf makes a network on the device and fills its arrays from its file.
func (e *Engine) openNetOf(ctx context.Context, op string, net *convnet.Net, src *source) (*netGraph, error) {
	tensors := make(map[string]models.Weight, len(src.model.weights))
	for _, w := range src.model.weights {
		tensors[w.Name] = w
	}
	g, err := e.openNet(ctx, op, net)
	if err != nil {
		return nil, err
	}
	var read error
	err = net.LoadEach(func(name string) (values []float32, _ error) {
		t := tensors[name].Tensor
		values, read = safetensors.ReadFloat32s(src.file, t.Offset, t.Values(), safetensors.DType(t.DType))
		return values, read
	}, func(i int, values []float32) error { return g.set(ctx, e, op, i, values) })
	switch {
	case src.overwritten():
		err = beingWritten(src.id.Path)
	case read != nil:
		err = &fault.Error{Code: fault.Invalid, Op: op, Msg: fmt.Sprintf("%s cannot be read", src.id.Path), Err: read}
	case err != nil && fault.CodeOf(err) == fault.Internal: // an array of another length
		err = &fault.Error{Code: fault.Invalid, Op: op, Msg: fmt.Sprintf("%s cannot be read", src.id.Path), Err: err}
	}
	if err != nil {
		g.close(e)
		return nil, err
	}
	return g, nil
}
