// Package yolo builds YOLOv8 networks, for detection and segmentation, from the
// tensors of their files, whatever their width and depth.
package yolo

import (
	"fmt"
	"strings"

	"sdworker/convnet"
)

// Strides are the pixels between neighbouring places of each level that objects are
// looked for on.
var Strides = [3]int{8, 16, 32}

// Bins are the distances that each side of a box is a mean of.
const Bins = 16

// epsilon of the batch norms, as ultralytics' initialize_weights sets it.
const epsilon = 1e-3

// prefix of the names of a file that ultralytics writes.
const prefix = "model."

// Model is a detector. The outputs of its network are, for every level, distances
// [4*Bins,h,w] and classes [Classes,h,w], before the sigmoid, then with masks their
// coefficients [Masks,h,w] for every level and the prototypes [Masks,4h,4w] of the
// first one.
type Model struct {
	Net     *convnet.Net
	Classes int
	Masks   int // coefficients of a mask, 0 for a detector without
}

// Is tells whether a file looks like a YOLO model of any version.
func Is(has func(name string) bool) bool {
	return has("model.0.conv.weight") && has("model.1.conv.weight")
}

// Build makes the network, or says what is wrong with the file in a predicate.
func Build(shapes convnet.Shapes) (*Model, string) {
	if !isVersion8(shapes) {
		return nil, "is a YOLO model of another kind; accepted are YOLOv8 models for detection and segmentation"
	}
	b := &builder{convnet.New(shapes, 3)}
	levels := b.pyramid()
	m := &Model{Classes: b.Dim(head+"cv3.0.2.weight", 0), Masks: b.Dim(head+"cv4.0.2.weight", 0)}
	var outputs []int
	for _, part := range []string{"cv2", "cv3", "cv4"} {
		if part == "cv4" && m.Masks == 0 {
			continue
		}
		for i, x := range levels {
			outputs = append(outputs, b.branch(x, fmt.Sprintf("%s%s.%d.", head, part, i)))
		}
	}
	if m.Masks > 0 {
		proto := b.conv(levels[0], head+"proto.cv1", 1)
		proto = b.conv(b.Double(proto, head+"proto.upsample"), head+"proto.cv2", 1)
		outputs = append(outputs, b.conv(proto, head+"proto.cv3", 1))
	}
	var problem string
	if m.Net, problem = b.Build(outputs...); problem != "" {
		return nil, problem
	}
	return m, m.check(m.Net)
}

// check compares the channels of what comes out with what Decode reads.
func (m *Model) check(net *convnet.Net) string {
	sizes := net.Sizes(Strides[2], Strides[2])
	for i, at := range net.Outputs {
		want := [...]int{4 * Bins, m.Classes, m.Masks, m.Masks}[i/len(Strides)]
		if got := sizes[at].Channels; got != want {
			return fmt.Sprintf("has a last layer of %d channels where %d are needed", got, want)
		}
	}
	return ""
}

// head is what the layers that find objects are called.
const head = prefix + "22."

// isVersion8 tells YOLOv8 from the versions before and after, and from models for
// poses and turned boxes, which have a fourth branch without prototypes.
func isVersion8(shapes convnet.Shapes) bool {
	for _, name := range []string{"2.cv1.conv.weight", "9.cv1.conv.weight", "21.cv2.conv.weight", "22.cv2.0.2.weight", "22.cv3.0.0.conv.weight", "22.dfl.conv.weight"} {
		if shapes[prefix+name] == nil {
			return false
		}
	}
	for name := range shapes {
		if rest, ok := strings.CutPrefix(name, prefix); ok && (strings.HasPrefix(rest, "23.") || strings.HasPrefix(rest, "2.m.0.cv3.")) {
			return false
		}
	}
	return shapes[head+"cv4.0.2.weight"] == nil || shapes[head+"proto.cv1.conv.weight"] != nil
}

type builder struct{ *convnet.Builder }

// conv is ultralytics' Conv: convolution, batch norm (folded into some files), SiLU.
func (b *builder) conv(x int, name string, stride int) int {
	if b.Has(name + ".bn.weight") {
		return b.SiLU(b.ConvNorm(x, name+".conv", name+".bn", stride, epsilon))
	}
	return b.SiLU(b.Conv(x, name+".conv", stride))
}

// branch is a part of the head at one level.
func (b *builder) branch(x int, name string) int {
	x = b.conv(b.conv(x, name+"0", 1), name+"1", 1)
	return b.Conv(x, name+"2", 1)
}

// c2f splits the channels, sends one half through a row of bottlenecks and joins all
// that came on the way.
func (b *builder) c2f(x, layer int, shortcut bool) int {
	name := fmt.Sprintf("%s%d.", prefix, layer)
	y := b.conv(x, name+"cv1", 1)
	half := b.Channels(y) / 2
	last := b.Slice(y, half, half)
	joined := y
	for i := 0; b.Has(fmt.Sprintf("%sm.%d.cv1.conv.weight", name, i)); i++ {
		inner := fmt.Sprintf("%sm.%d.", name, i)
		z := b.conv(b.conv(last, inner+"cv1", 1), inner+"cv2", 1)
		if shortcut {
			z = b.Add(last, z)
		}
		last, joined = z, b.Concat(joined, z)
	}
	return b.conv(joined, name+"cv2", 1)
}

// pool is SPPF: three poolings in a row, joined.
func (b *builder) pool(x, layer int) int {
	name := fmt.Sprintf("%s%d.", prefix, layer)
	y := b.conv(x, name+"cv1", 1)
	joined := y
	for range 3 {
		y = b.MaxPool(y, 5)
		joined = b.Concat(joined, y)
	}
	return b.conv(joined, name+"cv2", 1)
}

// down halves the size.
func (b *builder) down(x, layer int) int { return b.conv(x, fmt.Sprintf("%s%d", prefix, layer), 2) }

// pyramid is the list of layers of yolov8.yaml up to the head; it returns the three
// levels.
func (b *builder) pyramid() [3]int {
	x := b.c2f(b.down(b.down(0, 0), 1), 2, true)
	p3 := b.c2f(b.down(x, 3), 4, true)
	p4 := b.c2f(b.down(p3, 5), 6, true)
	p5 := b.pool(b.c2f(b.down(p4, 7), 8, true), 9)
	n4 := b.c2f(b.Concat(b.Enlarge(p5, 2), p4), 12, false)
	n3 := b.c2f(b.Concat(b.Enlarge(n4, 2), p3), 15, false)
	m4 := b.c2f(b.Concat(b.down(n3, 16), n4), 18, false)
	m5 := b.c2f(b.Concat(b.down(m4, 19), p5), 21, false)
	return [3]int{n3, m4, m5}
}
