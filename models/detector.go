package models

import (
	"strconv"

	"sdworker/convnet"
	"sdworker/convnet/yolo"
	"sdworker/sd1"
)

// Shapes are the shapes of the tensors that have values, by their original names.
func (i *Info) Shapes() convnet.Shapes {
	out := make(convnet.Shapes, len(i.original))
	for name, at := range i.original {
		if i.Tensors[at].Bytes > 0 {
			out[name] = i.Tensors[at].Shape
		}
	}
	return out
}

func (i *Info) detectorNet() (sd1.Net, string) {
	m, problem := yolo.Build(i.Shapes())
	if problem != "" {
		return nil, problem
	}
	return parameters(m.Net), ""
}

// parameters lists what a network of package convnet reads of its file.
func parameters(net *convnet.Net) sd1.Net {
	out := make(sd1.Net, len(net.Params))
	for i, p := range net.Params {
		out[i] = sd1.Param{Name: p.Name, Shape: p.Shape}
	}
	return out
}

// DetectorSide is the size of pictures that a detector was trained for, pixels; 0 when
// the file does not say it.
func (i *Info) DetectorSide() int {
	for _, key := range []string{"train_args.imgsz", "imgsz"} {
		if side, err := strconv.Atoi(i.Metadata[key]); err == nil && side >= 32 && side <= 4096 {
			return side
		}
	}
	return 0
}
