package rng

// NumPy is the generator behind numpy.random.seed and numpy.random.uniform, which
// is MT19937 seeded with one word. It is not safe for concurrent use.
type NumPy struct{ engine mersenne }

// NewNumPy returns the state after numpy.random.seed(seed).
func NewNumPy(seed uint32) *NumPy {
	n := &NumPy{}
	n.engine.seed(seed)
	return n
}

// Float64 is numpy.random.random_sample(): a number in [0,1) with 53 random bits.
func (n *NumPy) Float64() float64 { return n.engine.pythonFloat64() }
