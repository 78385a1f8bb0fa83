package models

import (
	"sdworker/convnet/clipvision"
	"sdworker/convnet/depth"
	"sdworker/convnet/ipadapter"
	"sdworker/sd1"
)

func (i *Info) ipAdapterNet() (sd1.Net, string) {
	m, problem := ipadapter.Build(i.Shapes())
	if problem != "" {
		return nil, problem
	}
	return parameters(m.Net), ""
}

func (i *Info) imageEncoderNet() (sd1.Net, string) {
	m, problem := clipvision.Build(i.Shapes())
	if problem != "" {
		return nil, problem
	}
	return parameters(m.Net), ""
}

func (i *Info) depthNet() (sd1.Net, string) {
	net, problem := depth.Build(i.Shapes(), depth.V1, depth.Offset, depth.Patch, depth.Patch)
	if problem != "" {
		return nil, problem
	}
	return parameters(net), ""
}

// Encodes tells whether an image encoder gives what an IP-Adapter takes. Both are usable.
func (i *Info) Encodes(adapter *Info) bool {
	a, problem := ipadapter.Build(adapter.Shapes())
	if problem != "" {
		return false
	}
	e, problem := clipvision.Build(i.Shapes())
	return problem == "" && a.Takes(e.Width, e.Embedding)
}
