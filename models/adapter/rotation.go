package adapter

import "math"

// rotation turns the rows of a weight.
type rotation struct {
	math    Math
	cols    int
	spans   []Turns   // of all rows
	stretch []float32 // factors of rows behind the turns, nil for none
}

func (r *rotation) delta() *Delta {
	span := r.spans[0].Span
	return &Delta{Rows: span, apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		factors := rowFactors(ar, r.stretch, from, to, strength)
		for row := 0; row < to-from; row += span {
			r.math.Turn(ar, w[row*r.cols:(row+span)*r.cols], r.cols, r.spans[(from+row)/span], 1-strength, factors[row:row+span])
		}
	}}
}

// oft prepares W' = R^T W on blocks of rows, with R = (I + Q)(I - Q)^-1 of
// Q = B - B^T, or R itself in LyCORIS' first files (oft_diag).
func (c *Change) oft(r *reader, l layout) (*Delta, error) {
	t, whole := c.parts["oft_blocks"], false
	if t == nil {
		t, whole = c.parts["oft_diag"], true
	}
	if len(t.Shape) != 3 || t.Shape[1] != t.Shape[2] {
		return nil, unfit(reasonFit)
	}
	n, side := int(t.Shape[0]), int(t.Shape[1])
	if n*side != l.out {
		return nil, unfit(reasonShape)
	}
	stretch, err := c.rescale(r, l)
	if err != nil {
		return nil, err
	}
	var matrices []float32 // R^T
	if whole {
		matrices = r.arena.Floats(n * side * side)
		all := r.floats(t)
		for i := range n {
			transposeInto(matrices[i*side*side:], all[i*side*side:(i+1)*side*side], side, side)
		}
	} else {
		matrices = c.skew(r, t, n, side, l.out, false) // R^T = (I + Q)^-1 (I - Q)
		for i := range n {
			cayley(r.math, r.arena, matrices[i*side*side:(i+1)*side*side], side)
		}
	}
	lessUnit(matrices, side)
	rows := make([]int32, side)
	for i := range rows {
		rows[i] = int32(i)
	}
	spans := make([]Turns, n)
	for i := range spans {
		spans[i] = Turns{side, []int32{int32(side)}, rows, matrices[i*side*side : (i+1)*side*side]}
	}
	return (&rotation{r.math, l.cols(), spans, stretch}).delta(), nil
}

// boft prepares a butterfly of rotations: in stage i each block turns two runs of half a
// block of rows into each other that are 2^i such runs apart.
func (c *Change) boft(r *reader, l layout) (*Delta, error) {
	t := c.parts["oft_blocks"]
	stages, n, side := int(t.Shape[0]), int(t.Shape[1]), int(t.Shape[2])
	if t.Shape[2] != t.Shape[3] || side%2 != 0 {
		return nil, unfit(reasonFit)
	}
	if n*side != l.out || stages < 1 || stages > 30 || l.out%(side<<(stages-1)) != 0 {
		return nil, unfit(reasonShape)
	}
	stretch, err := c.rescale(r, l)
	if err != nil {
		return nil, err
	}
	b := butterfly{math: r.math, arena: r.arena, stages: stages, blocks: n, side: side}
	b.matrices = c.skew(r, t, stages*n, side, l.out, true) // R = (I - Q)^-1 (I + Q)
	for i := range stages * n {
		cayley(r.math, r.arena, b.matrices[i*side*side:(i+1)*side*side], side)
	}
	lessUnit(b.matrices, side)
	return (&rotation{r.math, l.cols(), b.spans(), stretch}).delta(), nil
}

// butterfly makes turns of the blocks of a BOFT.
type butterfly struct {
	math                 Math
	arena                *Arena
	stages, blocks, side int
	matrices             []float32 // R - I of each stage and block
}

// spans makes the turns of all spans. Stages are made one by twos, which takes as many
// products as both and passes over the weight once; all of them where the matrix of a
// span is so small that it costs less than several passes. Runs of half a block are turned
// into each other whose numbers differ in the stages' bits alone.
func (b *butterfly) spans() []Turns {
	const smallSpan = 160
	half, together := b.side/2, 2
	if b.side<<(b.stages-1) <= smallSpan {
		together = b.stages
	}
	spans := make([]Turns, b.blocks>>(b.stages-1))
	for span := range spans {
		own := &spans[span]
		own.Span = b.side << (b.stages - 1)
		for first := 0; first < b.stages; first += together {
			next := min(b.stages, first+together)
			rows := half << (next - first)
			for low := range 1 << first {
				for high := range 1 << (b.stages - next) {
					start := high<<next | low // the number of the first run, in the span
					own.Sides = append(own.Sides, int32(rows))
					for i := range rows {
						own.Rows = append(own.Rows, int32((start+i/half<<first)*half+i%half))
					}
					own.Matrices = append(own.Matrices, b.product(span<<b.stages|start, first, next)...)
				}
			}
		}
	}
	return spans
}

// product multiplies the rotations of the stages [first, next) for the rows of the run
// start and those that they turn it into, less the unit matrix.
func (b *butterfly) product(start, first, next int) []float32 {
	half, runs := b.side/2, 1<<(next-first)
	rows := half * runs
	out := b.arena.zeros(rows * rows)
	for i := range rows {
		out[i*rows+i] = 1
	}
	mark := b.arena.mark()
	defer b.arena.release(mark)
	part, turned := b.arena.Floats(b.side*rows), b.arena.Floats(b.side*rows)
	for stage := first; stage < next; stage++ {
		apart := 1 << (stage - first)
		for run := range runs {
			if run&apart != 0 {
				continue
			}
			number := start + run<<first // of the pair's first run
			block := number>>(stage+1)<<stage | number&(1<<stage-1)
			row := func(j int) []float32 { // a block's rows are in the order place, run
				at := ((run+j%2*apart)*half + j/2) * rows
				return out[at : at+rows]
			}
			for j := range b.side {
				copy(part[j*rows:], row(j))
			}
			copy(turned, part)
			at := (stage*b.blocks + block) * b.side * b.side
			b.math.MulAdd(turned, b.matrices[at:at+b.side*b.side], part, b.side, b.side, rows, 1)
			for j := range b.side {
				copy(row(j), turned[j*rows:(j+1)*rows])
			}
		}
	}
	lessUnit(out, rows)
	return out
}

// skew returns Q = B - B^T of n blocks of a side, shortened to the constraint: alpha
// times the number of rows, 0 for none. With transposed it returns -Q.
func (c *Change) skew(r *reader, t *Tensor, n, side, rows int, transposed bool) []float32 {
	q := r.floats(t)
	for block := range n {
		b := q[block*side*side : (block+1)*side*side]
		for i := range side {
			b[i*side+i] = 0
			for j := range i {
				v := b[i*side+j] - b[j*side+i]
				b[i*side+j], b[j*side+i] = v, -v
			}
		}
	}
	f := 1.0
	if limit := c.scalar(r, "alpha", 0) * float64(rows); limit > 0 {
		squares := r.arena.Floats(1)
		r.math.RowSquares(squares, q, len(q))
		if length := math.Sqrt(float64(squares[0])); length > limit {
			f = limit / length
		}
	}
	if transposed {
		f = -f
	}
	if f != 1 {
		r.math.Blend(q, q, float32(f), 0)
	}
	return q
}

// lessUnit takes the unit matrix off matrices q[side][side]: what a rotation changes is
// small, so that rounding it costs the weight nothing.
func lessUnit(q []float32, side int) {
	for i := 0; i < len(q); i += side {
		q[i+i/side%side]--
	}
}

// rescale reads the factors of rows that follow a rotation, nil for none.
func (c *Change) rescale(r *reader, l layout) ([]float32, error) {
	t := c.parts["rescale"]
	if t == nil {
		return nil, nil
	}
	if int(t.Values()) != l.out {
		return nil, unfit(reasonShape)
	}
	return r.floats(t), nil
}

// cayley returns 2 (I + Q)^-1 - I for a skew-symmetric q[n][n], in place: the
// rotation (I - Q)(I + Q)^-1. The symmetric part of I + Q is I, so no pivot
// vanishes and every Schur complement has the same property.
func cayley(m Math, ar *Arena, q []float32, n int) {
	for i := range n {
		q[i*n+i]++
	}
	invert(m, ar, q, n)
	m.Blend(q, q, 2, 0)
	for i := range n {
		q[i*n+i]--
	}
}

// invert replaces a[n][n] by its inverse: Gauss-Jordan elimination without pivoting, by
// a few rows and columns at a time.
func invert(m Math, ar *Arena, a []float32, n int) {
	mark := ar.mark()
	defer ar.release(mark)
	column, row := ar.Floats(n*few), ar.Floats(few*n)
	var values [few * few]float32
	for k := 0; k < n; k += few {
		s := min(few, n-k)
		pivot, row := values[:s*s], row[:s*n]
		for i := range s {
			copy(pivot[i*s:(i+1)*s], a[(k+i)*n+k:])
		}
		invertFew(pivot, s)
		clear(row)
		m.MulAdd(row, pivot, a[k*n:(k+s)*n], s, s, n, 1)
		for i := range s {
			copy(row[i*n+k:], pivot[i*s:(i+1)*s])
		}
		for i := range n {
			own := a[i*n+k:][:s]
			copy(column[i*s:], own)
			clear(own)
		}
		clear(column[k*s : (k+s)*s])
		m.MulAdd(a, column, row, n, s, n, -1)
		copy(a[k*n:], row)
	}
}

const few = 8

// invertFew replaces a[n][n] of few rows by its inverse, in float64 and without pivoting.
func invertFew(a []float32, n int) {
	var values [few * few]float64
	w := values[:n*n]
	for i, v := range a {
		w[i] = float64(v)
	}
	for k := range n {
		first := w[k*n : (k+1)*n]
		pivot := 1 / first[k]
		if math.IsInf(pivot, 0) || math.IsNaN(pivot) {
			pivot = 0
		}
		first[k] = 1
		for j := range first {
			first[j] *= pivot
		}
		for i := range n {
			if i == k {
				continue
			}
			row := w[i*n : (i+1)*n][:len(first)]
			f := row[k]
			row[k] = 0
			for j, v := range first {
				row[j] -= f * v
			}
		}
	}
	for i, v := range w {
		a[i] = float32(v)
	}
}
