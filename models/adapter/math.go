package adapter

import "sdworker/formats/safetensors"

// Math is the arithmetic on float32 arrays that merging consists of. Matrices are
// row-major without gaps.
type Math interface {
	// Decode widens or narrows little-endian values to float32.
	Decode(dst []float32, raw []byte, t safetensors.DType) error
	// MulAdd adds scale*a*b to c: c[m][n], a[m][k], b[k][n].
	MulAdd(c, a, b []float32, m, k, n int, scale float32)
	// Pack makes b[k][n] ready for many calls of MulAddPacked, as a copy in memory of the
	// arena.
	Pack(ar *Arena, b []float32, k, n int) Packed
	// MulAddPacked adds scale*a*b to c: c[m][b.N], a[m][b.K]. It may round each value of a
	// and b by up to 2^-12 of the largest in its row of a or column of b.
	MulAddPacked(c, a []float32, b Packed, m int, scale float32)
	// AddScaled adds scale*x to dst.
	AddScaled(dst, x []float32, scale float32)
	// AddProduct adds scale*x*y, value by value, to dst.
	AddProduct(dst, x, y []float32, scale float32)
	// Blend makes dst a*dst + b*x.
	Blend(dst, x []float32, a, b float32)
	// BlendRows makes each row i of dst, which are dstRow apart, a*dst + b[i]*x of a row of
	// x, which are xRow apart. dst may be x.
	BlendRows(dst []float32, dstRow int, x []float32, xRow, cols int, a float32, b []float32)
	// BlendColumns makes each value of column i of dst, of len(b) columns, a*dst + b[i]*x.
	// dst may be x.
	BlendColumns(dst, x []float32, a float32, b []float32)
	// Turn makes turns of the rows of w[t.Span][cols], one after the other, and adds what
	// becomes of them: each row i is then keep*w + factors[i]*turned. It may round as
	// MulAddPacked does.
	Turn(ar *Arena, w []float32, cols int, t Turns, keep float32, factors []float32)
	// RowSquares sets dst[i] to the sum of the squares of row i of x[len(dst)][cols].
	RowSquares(dst, x []float32, cols int)
}

// Packed is a matrix [K][N] in the order in which a Math reads it.
type Packed struct {
	K, N   int
	Values []float32
}

// Turns turn some rows of a span into each other, one turn after the other.
type Turns struct {
	Span     int       // rows
	Sides    []int32   // how many rows each turn is of
	Rows     []int32   // of each turn: its rows, Sides of them
	Matrices []float32 // of each turn: its matrix [side][side] less the unit matrix
}

// Plain is the Math of this package, for tests and programs without the engine.
type Plain struct{}

var _ Math = Plain{}

// Decode implements Math.
func (Plain) Decode(dst []float32, raw []byte, t safetensors.DType) error {
	return safetensors.Decode(dst, raw, t)
}

// MulAdd implements Math.
func (p Plain) MulAdd(c, a, b []float32, m, k, n int, scale float32) {
	for i := range m {
		for j := range k {
			p.AddScaled(c[i*n:(i+1)*n], b[j*n:(j+1)*n], scale*a[i*k+j])
		}
	}
}

// Pack implements Math.
func (Plain) Pack(ar *Arena, b []float32, k, n int) Packed {
	values := ar.Floats(k * n)
	copy(values, b)
	return Packed{k, n, values}
}

// MulAddPacked implements Math.
func (p Plain) MulAddPacked(c, a []float32, b Packed, m int, scale float32) {
	p.MulAdd(c, a, b.Values, m, b.K, b.N, scale)
}

// AddScaled implements Math.
func (Plain) AddScaled(dst, x []float32, scale float32) {
	for i, v := range x {
		dst[i] += scale * v
	}
}

// AddProduct implements Math.
func (Plain) AddProduct(dst, x, y []float32, scale float32) {
	for i, v := range x {
		dst[i] += scale * v * y[i]
	}
}

// Blend implements Math.
func (Plain) Blend(dst, x []float32, a, b float32) {
	for i, v := range x {
		dst[i] = a*dst[i] + b*v
	}
}

// BlendRows implements Math.
func (p Plain) BlendRows(dst []float32, dstRow int, x []float32, xRow, cols int, a float32, b []float32) {
	for i, f := range b {
		p.Blend(dst[i*dstRow:i*dstRow+cols], x[i*xRow:i*xRow+cols], a, f)
	}
}

// BlendColumns implements Math.
func (Plain) BlendColumns(dst, x []float32, a float32, b []float32) {
	for i, v := range x {
		dst[i] = a*dst[i] + b[i%len(b)]*v
	}
}

// Turn implements Math.
func (p Plain) Turn(ar *Arena, w []float32, cols int, t Turns, keep float32, factors []float32) {
	mark := ar.mark()
	defer ar.release(mark)
	now, part := ar.Floats(len(w)), ar.Floats(len(w))
	copy(now, w)
	rows, matrices := t.Rows, t.Matrices
	for _, s := range t.Sides {
		side := int(s)
		for i, row := range rows[:side] {
			copy(part[i*cols:(i+1)*cols], now[int(row)*cols:])
		}
		for i, row := range rows[:side] {
			p.MulAdd(now[int(row)*cols:(int(row)+1)*cols], matrices[i*side:(i+1)*side], part[:side*cols], 1, side, cols, 1)
		}
		rows, matrices = rows[side:], matrices[side*side:]
	}
	p.BlendRows(w, cols, now, cols, cols, keep, factors)
}

// RowSquares implements Math.
func (Plain) RowSquares(dst, x []float32, cols int) {
	for i := range dst {
		sum := 0.0
		for _, v := range x[i*cols : (i+1)*cols] {
			sum += float64(v) * float64(v)
		}
		dst[i] = float32(sum)
	}
}

// Arena hands out scratch memory that is used again after Reset, so that merging
// many layers allocates little. The zero value is ready to use.
type Arena struct {
	blocks [][]float32
	block  int // that is being used
	used   int // of it
	raw    []byte
}

const (
	arenaBlock = 1 << 20 // values of a block, unless more are asked for
	cacheLine  = 16      // values, where what is handed out begins
)

// Floats returns n values of any content.
func (a *Arena) Floats(n int) []float32 {
	for a.block < len(a.blocks) && a.used+n > len(a.blocks[a.block]) {
		a.block, a.used = a.block+1, 0
	}
	if a.block == len(a.blocks) {
		a.blocks = append(a.blocks, make([]float32, max(n, arenaBlock)))
		a.used = 0
	}
	out := a.blocks[a.block][a.used : a.used+n : a.used+n]
	a.used += (n + cacheLine - 1) / cacheLine * cacheLine
	return out
}

// Scratch returns n values of any content. They are valid until anything else is asked for.
func (a *Arena) Scratch(n int) []float32 {
	mark := a.mark()
	defer a.release(mark)
	return a.Floats(n)
}

// zeros returns n zeros.
func (a *Arena) zeros(n int) []float32 {
	out := a.Floats(n)
	clear(out)
	return out
}

// Bytes returns n bytes of any content. They are valid until the next call.
func (a *Arena) Bytes(n int) []byte {
	if cap(a.raw) < n {
		a.raw = make([]byte, n)
	}
	return a.raw[:n]
}

// Reset takes all memory back.
func (a *Arena) Reset() { a.block, a.used = 0, 0 }

// mark and release take back what was handed out since.
func (a *Arena) mark() [2]int { return [2]int{a.block, a.used} }

func (a *Arena) release(m [2]int) { a.block, a.used = m[0], m[1] }

// transpose returns a[rows][cols] as [cols][rows].
func transpose(ar *Arena, a []float32, rows, cols int) []float32 {
	out := ar.Floats(rows * cols)
	transposeInto(out, a, rows, cols)
	return out
}

// transposeInto makes out[cols][rows] of a[rows][cols].
func transposeInto(out, a []float32, rows, cols int) {
	const tile = 32
	for i0 := 0; i0 < rows; i0 += tile {
		for j0 := 0; j0 < cols; j0 += tile {
			for i := i0; i < min(i0+tile, rows); i++ {
				for j := j0; j < min(j0+tile, cols); j++ {
					out[j*rows+i] = a[i*cols+j]
				}
			}
		}
	}
}
