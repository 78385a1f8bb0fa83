package detect

import (
	"cmp"
	"math"
	"slices"

	"sdworker/convnet/yolo"
)

// Limits of ultralytics' predict.
const (
	overlap  = 0.7   // intersection over union from which the weaker of two boxes goes
	maxBoxes = 30000 // looked at
	maxFound = 300   // kept
)

// Box is a rectangle by two of its corners, pixels.
type Box struct{ X1, Y1, X2, Y2 float32 }

// Area is the area of a box, pixels.
func (b Box) Area() float64 { return (float64(b.X2) - float64(b.X1)) * (float64(b.Y2) - float64(b.Y1)) }

// Found is one object.
type Found struct {
	Box        Box
	Confidence float32
	Class      int
	mask       *plane // of a segmentation network
}

// candidate is an object as the network places it.
type candidate struct {
	Found
	coefficients []float32
}

// Decode reads what the network of a model gave for a letterbox: the objects whose
// confidence is above the given one, the most confident first.
func Decode(m *yolo.Model, l *Letterbox, outputs [][]float32, confidence float64) []Found {
	var all []candidate
	levels := len(yolo.Strides)
	for i, stride := range yolo.Strides {
		level := level{classes: m.Classes, masks: m.Masks, stride: stride, h: l.H / stride, w: l.W / stride}
		level.sides, level.scores = outputs[i], outputs[levels+i]
		if m.Masks > 0 {
			level.coefficients = outputs[2*levels+i]
		}
		all = level.appendCandidates(all, float32(confidence))
	}
	kept := suppress(all)
	out := make([]Found, len(kept))
	for i, c := range kept {
		out[i] = c.Found
		out[i].Box = l.toPicture(c.Box)
		if m.Masks > 0 {
			out[i].mask = newPlane(outputs[len(outputs)-1], c, l)
		}
	}
	return out
}

// level is what the network gives for places that are stride pixels apart.
type level struct {
	classes, masks int
	stride         int
	h, w           int       // places
	sides          []float32 // [4*Bins,h,w]
	scores         []float32 // [classes,h,w]
	coefficients   []float32 // [masks,h,w]
}

func (l *level) appendCandidates(all []candidate, confidence float32) []candidate {
	places := l.h * l.w
	for at := range places {
		best, class := float32(math.Inf(-1)), 0
		for c := range l.classes {
			if v := l.scores[c*places+at]; v > best {
				best, class = v, c
			}
		}
		score := float32(1 / (1 + math.Exp(-float64(best))))
		if !(score > confidence) {
			continue
		}
		c := candidate{Found: Found{Box: l.box(at), Confidence: score, Class: class}}
		for k := range l.masks {
			c.coefficients = append(c.coefficients, l.coefficients[k*places+at])
		}
		all = append(all, c)
	}
	return all
}

// box reads the distances of the four sides from the middle of a place.
func (l *level) box(at int) Box {
	var side [4]float64
	for s := range side {
		side[s] = l.distance(s, at)
	}
	x, y, stride := float64(at%l.w)+0.5, float64(at/l.w)+0.5, float64(l.stride)
	return Box{
		float32((x - side[0]) * stride), float32((y - side[1]) * stride),
		float32((x + side[2]) * stride), float32((y + side[3]) * stride),
	}
}

// distance is the mean of the bins of a side, weighted by their softmax.
func (l *level) distance(side, at int) float64 {
	places := l.h * l.w
	largest := math.Inf(-1)
	var v [yolo.Bins]float64
	for i := range v {
		v[i] = float64(l.sides[(side*yolo.Bins+i)*places+at])
		largest = max(largest, v[i])
	}
	total, mean := 0.0, 0.0
	for i, x := range v {
		weight := math.Exp(x - largest)
		total += weight
		mean += weight * float64(i)
	}
	return mean / total
}

// suppress keeps the best of boxes of a class that lie over each other.
func suppress(all []candidate) []candidate {
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.Confidence, a.Confidence) })
	var kept []candidate
	for _, c := range all[:min(len(all), maxBoxes)] {
		covered := slices.ContainsFunc(kept, func(k candidate) bool { return k.Class == c.Class && ratio(k.Box, c.Box) > overlap })
		if covered {
			continue
		}
		if kept = append(kept, c); len(kept) == maxFound {
			break
		}
	}
	return kept
}

// ratio is the intersection of two boxes over their union.
func ratio(a, b Box) float64 {
	common := Box{max(a.X1, b.X1), max(a.Y1, b.Y1), min(a.X2, b.X2), min(a.Y2, b.Y2)}
	if common.X2 <= common.X1 || common.Y2 <= common.Y1 {
		return 0
	}
	return common.Area() / (a.Area() + b.Area() - common.Area())
}
