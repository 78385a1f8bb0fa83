package rng

import (
	"math"
	"strconv"
)

// timeDigits is the number of decimals to which torchsde rounds times when its
// tolerance is 1e-6.
const timeDigits = 6

// bridgeGrain is the number of values worth a goroutine when a node splits.
const bridgeGrain = 16384

// brownianTree is one sample path of Brownian motion over an interval of time,
// refined where it is asked. Every node is a function of the entropy and of its
// place alone, so the path does not depend on the order of the questions. It
// repeats torchsde's BrownianTree (tol 1e-6, halfway tree) for a path that
// starts at 0.
type brownianTree struct {
	source  Source
	entropy uint64
	start   float64 // of the interval, not rounded
	end     float64
	root    *brownianNode
	draw    []float32   // scratch of split
	free    [][]float32 // increments of dropped nodes, to be used again
}

// brownianNode holds the increment w of the path over [a,b].
type brownianNode struct {
	a, b        float64 // rounded to timeDigits
	key         uint64  // place among the nodes of this depth
	depth       uint64
	w           []float32
	left, right *brownianNode
}

// newBrownianTree makes the path of size values over [start,end].
func newBrownianTree(src Source, entropy uint64, start, end float64, size int) *brownianTree {
	t := &brownianTree{source: src, entropy: entropy, start: start, end: end, draw: make([]float32, size)}
	t.root = &brownianNode{a: roundTime(start), b: roundTime(end), w: make([]float32, size)}
	t.normal(t.root.w, nil)
	scale := float32(math.Sqrt(end - start))
	for i := range t.root.w {
		t.root.w[i] *= scale
	}
	return t
}

// increment sets dst to W(tb) - W(ta). Times outside the interval are moved to
// its edge.
func (t *brownianTree) increment(dst []float32, ta, tb float64) {
	clear(dst)
	ta, tb = t.clamp(ta), t.clamp(tb)
	if !(ta < tb) {
		return
	}
	t.prune(t.root, ta, tb)
	t.add(t.root, ta, tb, dst)
}

func (t *brownianTree) clamp(at float64) float64 {
	return roundTime(min(max(at, t.start), t.end))
}

// add adds the increments of the nodes that cover [ta,tb], left to right.
func (t *brownianTree) add(n *brownianNode, ta, tb float64, dst []float32) {
	if ta == n.a && tb == n.b {
		for i, w := range n.w {
			dst[i] += w
		}
		return
	}
	t.split(n)
	mid := n.left.b
	if ta < mid {
		t.add(n.left, ta, min(tb, mid), dst)
	}
	if tb > mid {
		t.add(n.right, max(ta, mid), tb, dst)
	}
}

// split bisects a node with a Brownian bridge.
func (t *brownianTree) split(n *brownianNode) {
	if n.left != nil {
		return
	}
	mid := roundTime((n.a + n.b) / 2)
	n.left = &brownianNode{a: n.a, b: mid, key: 2 * n.key, depth: n.depth + 1, w: t.buffer()}
	n.right = &brownianNode{a: mid, b: n.b, key: 2*n.key + 1, depth: n.depth + 1, w: t.buffer()}

	t.normal(t.draw, n.spawnKey())
	l, r, h := mid-n.a, n.b-mid, n.b-n.a
	mean, deviation := float32(l/h), float32(math.Sqrt(l*r/h))
	left, right := n.left.w, n.right.w
	spread(len(t.draw), bridgeGrain, func(from, to int) {
		for i := from; i < to; i++ {
			w := n.w[i]
			left[i] = mean*w + deviation*t.draw[i]
			right[i] = w - left[i]
		}
	})
}

func (n *brownianNode) spawnKey() []uint64 { return []uint64{n.key, n.depth} }

// seed is the seed of the normal draw that belongs to a spawn key.
func (t *brownianTree) seed(spawnKey []uint64) uint32 {
	return seedSequence(t.entropy, spawnKey, poolWords, 1)[0]
}

func (t *brownianTree) normal(dst []float32, spawnKey []uint64) {
	NewGenerator(t.source, int64(t.seed(spawnKey))).Normal(dst)
}

// prune forgets the nodes below those that have an end of the next question
// inside. The samplers walk in one direction, so what a question needs again
// is the way down to its ends, and memory stays at about 100 latents per image.
func (t *brownianTree) prune(n *brownianNode, ta, tb float64) {
	if n.left == nil {
		return
	}
	t.prune(n.left, ta, tb)
	t.prune(n.right, ta, tb)
	inside := func(at float64) bool { return n.a < at && at < n.b }
	if n.left.left == nil && n.right.left == nil && !inside(ta) && !inside(tb) {
		t.free = append(t.free, n.left.w, n.right.w)
		n.left, n.right = nil, nil
	}
}

func (t *brownianTree) buffer() []float32 {
	if last := len(t.free) - 1; last >= 0 {
		w := t.free[last]
		t.free = t.free[:last]
		return w
	}
	return make([]float32, len(t.draw))
}

// roundTime rounds like Python's round(at, 6): the decimal nearest to the exact
// binary value.
func roundTime(at float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(at, 'f', timeDigits, 64), 64)
	if err != nil {
		return at // NaN and infinities have no decimals
	}
	return rounded
}
