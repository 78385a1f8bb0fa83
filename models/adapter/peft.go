package adapter

import "math"

// rotateInputs turns the inputs of a weight in blocks, in stages: with the inputs
// ordered as the stage says, a block w of a row becomes w R^T. This is how PEFT's OFT
// and BOFT act, W' = W (M_n ... M_1)^T.
type rotateInputs struct {
	math   Math
	cols   int
	side   int
	order  [][]int    // of each stage: the place of an input among the blocks; nil for as they are
	turns  [][]Packed // of each stage and block: (R - I)^T
	factor []float32  // of rows, behind the turns; nil for 1
}

func (r *rotateInputs) apply(w []float32, from, to int, strength float32, ar *Arena) {
	mark := ar.mark()
	defer ar.release(mark)
	rows := to - from
	now, part, turned := ar.Floats(len(w)), ar.Floats(rows*r.side), ar.Floats(rows*r.side)
	copy(now, w)
	sorted := now
	for stage, turns := range r.turns {
		order := r.order[stage]
		if order != nil {
			sorted = ar.Floats(len(w))
			for i := range rows {
				for from, to := range order {
					sorted[i*r.cols+to] = now[i*r.cols+from]
				}
			}
		}
		for block := range r.cols / r.side {
			first := block * r.side
			for i := range rows {
				copy(part[i*r.side:(i+1)*r.side], sorted[i*r.cols+first:])
			}
			copy(turned, part)
			r.math.MulAddPacked(turned, part, turns[block%len(turns)], rows, 1)
			for i := range rows {
				copy(sorted[i*r.cols+first:i*r.cols+first+r.side], turned[i*r.side:])
			}
		}
		if order != nil {
			for i := range rows {
				for from, to := range order {
					now[i*r.cols+from] = sorted[i*r.cols+to]
				}
			}
			sorted = now
		}
	}
	r.math.BlendRows(w, r.cols, now, r.cols, r.cols, 1-strength, rowFactors(ar, r.factor, from, to, strength))
}

// packTurns lays out (R - I)^T of n rotations.
func packTurns(m Math, ar *Arena, rotations []float32, n, side int) []Packed {
	lessUnit(rotations, side)
	out := make([]Packed, n)
	for i := range out {
		out[i] = m.Pack(ar, transpose(ar, rotations[i*side*side:(i+1)*side*side], side, side), side, side)
	}
	return out
}

// oftOfInputs prepares PEFT's OFT, which OneTrainer calls OFTv2: a block's rotation is
// stored as the values above the diagonal of a skew-symmetric Q. By default R is a
// polynomial of Q, 1 + 2 Q + 2 Q^2 + 2 Q^3 + Q^4; with use_cayley_neumann off it is
// (I - Q)(I + Q)^-1. One block for all is shared by them.
func (c *Change) oftOfInputs(r *reader, l layout) (*Delta, error) {
	t := c.parts["oft_R"]
	if len(t.Shape) != 2 {
		return nil, unfit(reasonFit)
	}
	n, values := int(t.Shape[0]), int(t.Shape[1])
	side := (1 + int(math.Round(math.Sqrt(float64(1+8*values))))) / 2
	if side*(side-1)/2 != values {
		return nil, unfit(reasonFit)
	}
	if n*side != l.cols() && (n != 1 || l.cols()%side != 0 || !c.notes.shared(c.Text)) {
		return nil, unfit(reasonShape)
	}
	stored := r.floats(t)
	q := r.arena.zeros(n * side * side)
	for block := range n {
		b, next := q[block*side*side:(block+1)*side*side], stored[block*values:]
		for i := range side {
			for j := i + 1; j < side; j++ {
				b[i*side+j], b[j*side+i] = next[0], -next[0]
				next = next[1:]
			}
		}
	}
	exact, terms := c.notes.rotation(c.Text)
	for block := range n {
		b := q[block*side*side : (block+1)*side*side]
		if exact {
			cayley(r.math, r.arena, b, side)
		} else {
			neumann(r.math, r.arena, b, side, terms)
		}
	}
	turn := &rotateInputs{math: r.math, cols: l.cols(), side: side, order: [][]int{nil}, turns: [][]Packed{packTurns(r.math, r.arena, q, n, side)}}
	return &Delta{apply: turn.apply}, nil
}

// neumann replaces q[side][side] by PEFT's approximation of (I + Q)(I - Q)^-1 with some
// number of terms.
func neumann(m Math, ar *Arena, q []float32, side, terms int) {
	mark := ar.mark()
	defer ar.release(mark)
	out := ar.zeros(side * side)
	for i := range side {
		out[i*side+i] = 1
	}
	power := ar.Floats(side * side)
	copy(power, q)
	raise := func() {
		next := ar.zeros(side * side)
		m.MulAdd(next, power, q, side, side, side, 1)
		power = next
	}
	if terms > 1 {
		m.AddScaled(out, q, 2)
	}
	if terms > 2 {
		raise()
		m.AddScaled(out, power, 2)
		for range terms - 4 {
			raise()
			m.AddScaled(out, power, 2)
		}
		raise()
		m.AddScaled(out, power, 1)
	}
	copy(q, out)
}

// boftOfInputs prepares PEFT's BOFT: R = (I - S)(I + S)^-1 with S = (B - B^T) / 2. In
// stage i the halves of blocks are sorted within runs of 2^(i+1): even ones, then odd
// ones.
func (c *Change) boftOfInputs(r *reader, l layout) (*Delta, error) {
	t := c.parts["boft_R"]
	if len(t.Shape) != 4 || t.Shape[2] != t.Shape[3] {
		return nil, unfit(reasonFit)
	}
	stages, n, side := int(t.Shape[0]), int(t.Shape[1]), int(t.Shape[2])
	if n*side != l.cols() || stages > 30 || stages > 1 && (side%2 != 0 || l.cols()%(side<<(stages-1)) != 0) {
		return nil, unfit(reasonShape)
	}
	turn := &rotateInputs{math: r.math, cols: l.cols(), side: side}
	if s := c.parts["boft_s"]; s != nil {
		if int(s.Values()) != l.out {
			return nil, unfit(reasonShape)
		}
		turn.factor = r.floats(s)
	}
	q := r.floats(t)
	for i := range stages * n {
		b := q[i*side*side : (i+1)*side*side]
		for x := range side {
			b[x*side+x] = 0
			for y := range x {
				v := (b[x*side+y] - b[y*side+x]) / 2
				b[x*side+y], b[y*side+x] = v, -v
			}
		}
		cayley(r.math, r.arena, b, side)
	}
	for stage := range stages {
		turn.order = append(turn.order, halvesSorted(l.cols(), side, stage, stages))
		turn.turns = append(turn.turns, packTurns(r.math, r.arena, q[stage*n*side*side:(stage+1)*n*side*side], n, side))
	}
	return &Delta{apply: turn.apply}, nil
}

// halvesSorted is where each input stands in a stage of PEFT's BOFT, nil for in its
// place.
func halvesSorted(cols, side, stage, stages int) []int {
	if stages == 1 {
		return nil
	}
	half, count := side/2, 2<<stage // of a run
	order := make([]int, cols)
	for p := range order {
		run, place := p/(half*count), p/half%count
		source := 2 * place // even ones first
		if place >= count/2 {
			source = 2*(place-count/2) + 1
		}
		order[p] = run*half*count + source*half + p%half
	}
	return order
}

// factors prepares PEFT's IA3, W' = W * l, where l is for outputs, and then for the
// bias, too, or for inputs of layers that were named as feed forward ones.
func (c *Change) factors(r *reader, l layout) (*Delta, error) {
	t, m, cols := c.parts["ia3_l"], r.math, l.cols()
	byRow := int(t.Values()) == l.out && !ofInputs(t) && !c.notes.feedsForward(plainModule(c.Module), c.Text)
	if !byRow && (int(t.Values()) != l.in || c.Optional) {
		return nil, unfit(reasonShape)
	}
	v := r.floats(t)
	if byRow {
		return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
			m.BlendRows(w, cols, w, cols, cols, 1-strength, rowFactors(ar, v, from, to, strength))
		}}, nil
	}
	all := r.arena.Floats(cols)
	for i := range all {
		all[i] = v[i/l.kernel] - 1
	}
	return &Delta{apply: func(w []float32, from, to int, strength float32, _ *Arena) {
		for i := range to - from {
			row := w[i*cols : (i+1)*cols]
			m.AddProduct(row, row, all, strength)
		}
	}}, nil
}

// ofInputs tells a row [1,in] from a column [out,1].
func ofInputs(t *Tensor) bool { return len(t.Shape) == 2 && t.Shape[0] == 1 && t.Shape[1] > 1 }
