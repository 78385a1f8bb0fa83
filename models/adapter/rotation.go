package adapter

import "math"

// rotation turns the rows of a weight, in stages.
type rotation struct {
	math    Math
	cols    int
	span    int        // rows that are turned into each other, a multiple of them is the weight
	stages  [][][]turn // of each stage and span
	stretch []float32  // factors of rows behind the turns, nil for none
}

// turn is a rotation R of some rows of a span.
type turn struct {
	rows   []int     // nil for all in order
	matrix []float32 // R - I: what changes is small, so that rounding it costs the weight nothing
}

// stripValues is how many values of a span are turned at a time, so that all stages find
// them in the processor's cache; a strip has minStrip columns or more, or rounding a
// matrix would take longer than multiplying with it.
const (
	stripValues = 1 << 16
	minStrip    = 96
)

func (r *rotation) delta() *Delta {
	return &Delta{Rows: r.span, apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		factors := rowFactors(ar, r.stretch, from, to, strength)
		width := max(minStrip, stripValues/r.span/minStrip*minStrip)
		for row := 0; row < to-from; row += r.span {
			for col := 0; col < r.cols; col += width {
				width := min(width, r.cols-col)
				mark := ar.mark()
				now := ar.Floats(r.span * width)
				own := w[row*r.cols+col:]
				for i := range r.span {
					copy(now[i*width:(i+1)*width], own[i*r.cols:])
				}
				r.turn(now, width, (from+row)/r.span, ar)
				r.math.BlendRows(own, r.cols, now, width, width, 1-strength, factors[row:row+r.span])
				ar.release(mark)
			}
		}
	}}
}

// turn makes all stages with some columns of a span.
func (r *rotation) turn(now []float32, width, span int, ar *Arena) {
	for _, spans := range r.stages {
		for _, t := range spans[span] {
			mark := ar.mark()
			if t.rows == nil {
				r.math.MulAddPacked(now, t.matrix, r.math.Pack(ar, now, r.span, width), r.span, 1)
				ar.release(mark)
				continue
			}
			part := ar.Floats(len(t.rows) * width)
			for i, row := range t.rows {
				copy(part[i*width:(i+1)*width], now[row*width:])
			}
			r.math.MulAddPacked(part, t.matrix, r.math.Pack(ar, part, len(t.rows), width), len(t.rows), 1)
			for i, row := range t.rows {
				copy(now[row*width:(row+1)*width], part[i*width:])
			}
			ar.release(mark)
		}
	}
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
	blocks := make([][]turn, n)
	for i := range blocks {
		blocks[i] = []turn{{matrix: matrices[i*side*side : (i+1)*side*side]}}
	}
	return (&rotation{r.math, l.cols(), side, [][][]turn{blocks}, stretch}).delta(), nil
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
	turned := &rotation{r.math, l.cols(), side << (stages - 1), nil, stretch}
	for first := 0; first < stages; {
		next := min(stages, first+b.together())
		turned.stages = append(turned.stages, b.turns(first, next))
		first = next
	}
	return turned.delta(), nil
}

// butterfly makes turns of the blocks of a BOFT.
type butterfly struct {
	math                 Math
	arena                *Arena
	stages, blocks, side int
	matrices             []float32 // R - I of each stage and block
}

// together is how many stages are made one, in as equal parts as possible: a matrix of
// up to fusedRows rows costs less than passing over the weight once more.
func (b *butterfly) together() int {
	const fusedRows = 160
	most := 1
	for most < b.stages && b.side<<most <= fusedRows {
		most++
	}
	times := (b.stages + most - 1) / most
	return (b.stages + times - 1) / times
}

// turns makes one of the stages [first, next), for each span. Runs of half a block are
// turned into each other whose numbers differ in these bits alone.
func (b *butterfly) turns(first, next int) [][]turn {
	half, runs := b.side/2, 1<<(next-first)
	spans := make([][]turn, b.blocks>>(b.stages-1))
	for span := range spans {
		for low := range 1 << first {
			for high := range 1 << (b.stages - next) {
				start := high<<next | low // the number of the first run, in the span
				t := turn{matrix: b.product(span<<b.stages|start, first, next)}
				if runs*half < b.side<<(b.stages-1) {
					for i := range runs * half {
						t.rows = append(t.rows, (start+i/half<<first)*half+i%half)
					}
				}
				spans[span] = append(spans[span], t)
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
	for i := range q {
		q[i] *= 2
	}
	for i := range n {
		q[i*n+i]--
	}
}

// invert replaces a[n][n] by its inverse, by halves.
func invert(m Math, ar *Arena, a []float32, n int) {
	const small = 16
	if n <= small {
		gaussJordan(a, n)
		return
	}
	h := n / 2
	g := n - h
	mark := ar.mark()
	defer ar.release(mark)
	block := func(r, c, rows, cols int) []float32 {
		out := ar.Floats(rows * cols)
		for i := range rows {
			copy(out[i*cols:(i+1)*cols], a[(r+i)*n+c:])
		}
		return out
	}
	put := func(b []float32, r, c, rows, cols int) {
		for i := range rows {
			copy(a[(r+i)*n+c:(r+i)*n+c+cols], b[i*cols:(i+1)*cols])
		}
	}
	p, b, c, s := block(0, 0, h, h), block(0, h, h, g), block(h, 0, g, h), block(h, h, g, g)
	invert(m, ar, p, h)
	pb := ar.zeros(h * g) // p^-1 b
	m.MulAdd(pb, p, b, h, h, g, 1)
	m.MulAdd(s, c, pb, g, h, g, -1) // the Schur complement d - c p^-1 b
	invert(m, ar, s, g)
	cp := ar.zeros(g * h) // c p^-1
	m.MulAdd(cp, c, p, g, h, h, 1)
	scp := ar.zeros(g * h)
	m.MulAdd(scp, s, cp, g, g, h, -1)
	m.MulAdd(p, pb, scp, h, g, h, -1)
	pbs := ar.zeros(h * g)
	m.MulAdd(pbs, pb, s, h, g, g, -1)
	put(p, 0, 0, h, h)
	put(pbs, 0, h, h, g)
	put(scp, h, 0, g, h)
	put(s, h, h, g, g)
}

// gaussJordan replaces a small a[n][n] by its inverse, in float64 and without
// pivoting.
func gaussJordan(a []float32, n int) {
	w := make([]float64, n*n)
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
