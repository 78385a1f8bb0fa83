package rng

// Inner parts that the reference vectors describe.
var SeedSequence = seedSequence

// Mersenne is the bare MT19937 engine.
type Mersenne struct{ m mersenne }

func NewMersenne(seed uint64) *Mersenne {
	m := new(Mersenne)
	m.m.seed(uint32(seed))
	return m
}

func (m *Mersenne) Uint32() uint32   { return m.m.uint32() }
func (m *Mersenne) Float32() float32 { return m.m.float32() }
func (m *Mersenne) Float64() float64 { return m.m.float64() }

// PhiloxWords returns the four output words of one element.
func PhiloxWords(seed uint64, draw, element uint32) [4]uint32 {
	x, y, z, w := philoxBlock(seed, draw, element)
	return [4]uint32{x, y, z, w}
}

// Tree is a Brownian path.
type Tree struct{ t *brownianTree }

func NewTree(src Source, entropy uint64, start, end float64, size int) Tree {
	return Tree{newBrownianTree(src, entropy, start, end, size)}
}

func (t Tree) Increment(dst []float32, ta, tb float64) { t.t.increment(dst, ta, tb) }

// SplitNode is a node that has children.
type SplitNode struct {
	Start, End, Midway float64
	Key, Depth         uint64
	Seed               uint32
}

// SplitNodes lists the split nodes, parents first.
func (t Tree) SplitNodes() []SplitNode {
	var nodes []SplitNode
	var walk func(n *brownianNode)
	walk = func(n *brownianNode) {
		if n.left == nil {
			return
		}
		nodes = append(nodes, SplitNode{n.a, n.b, n.left.b, n.key, n.depth, t.t.seed(n.spawnKey())})
		walk(n.left)
		walk(n.right)
	}
	walk(t.t.root)
	return nodes
}
