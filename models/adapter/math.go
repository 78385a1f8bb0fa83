package adapter

import (
	"math"

	"sdworker/formats/safetensors"
)

// Math is the arithmetic on float32 arrays that merging consists of. Matrices are
// row-major without gaps.
type Math interface {
	// Decode widens or narrows little-endian values to float32.
	Decode(dst []float32, raw []byte, t safetensors.DType) error
	// MulAdd adds scale*a*b to c: c[m][n], a[m][k], b[k][n].
	MulAdd(c, a, b []float32, m, k, n int, scale float32)
	// Pack makes b[k][n] ready for many calls of MulAddPacked, in memory of the arena.
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
	// SumSquares returns the sum of the squares of x.
	SumSquares(x []float32) float64
}

// Packed is a matrix [K][N] in the order in which a Math reads it.
type Packed struct {
	K, N   int
	Values []float32
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
func (Plain) Pack(_ *Arena, b []float32, k, n int) Packed { return Packed{k, n, b} }

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

// SumSquares implements Math.
func (Plain) SumSquares(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
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
	return out
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
	const small = 32
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
		pivot := 1 / w[k*n+k]
		if math.IsInf(pivot, 0) || math.IsNaN(pivot) {
			pivot = 0
		}
		w[k*n+k] = 1
		for j := range n {
			w[k*n+j] *= pivot
		}
		for i := range n {
			if i == k {
				continue
			}
			f := w[i*n+k]
			w[i*n+k] = 0
			for j := range n {
				w[i*n+j] -= f * w[k*n+j]
			}
		}
	}
	for i, v := range w {
		a[i] = float32(v)
	}
}
