package adapter

import (
	"io"
	"math"
)

// Delta is a change whose factors are in memory.
type Delta struct {
	// Rows is how many rows change each other: Apply takes a multiple of so many,
	// from a multiple of so many on. 0 is 1.
	Rows int

	apply func(w []float32, from, to int, strength float32, ar *Arena)
	from  *reader
}

// Apply makes the change, multiplied by strength, to the rows [from, to) of the
// weight, which are w. The error is one of reading the file.
func (d *Delta) Apply(w []float32, from, to int, strength float32, ar *Arena) error {
	d.apply(w, from, to, strength, ar)
	return d.from.err
}

// layout is how a weight lies in memory: [out][in][kernel].
type layout struct{ out, in, kernel int }

func (l layout) cols() int { return l.in * l.kernel }

// layoutOf reads the shape of a weight, slowest axis first.
func layoutOf(shape []int64) layout {
	l := layout{1, 1, 1}
	for i, side := range shape {
		switch i {
		case 0:
			l.out = int(side)
		case 1:
			l.in = int(side)
		default:
			l.kernel *= int(side)
		}
	}
	return l
}

// sum is an additive change: rows of dW are added to w.
type sum struct {
	rows, cols int
	add        func(w []float32, from, to int, scale float32, ar *Arena)
}

// Prepare checks a change against the shape of the weight, slowest axis first, and
// reads its factors into the arena, where they stay until its Reset. The error is an
// *UnfitError where the file does not fit, else one of reading.
func (c *Change) Prepare(m Math, from io.ReaderAt, shape []int64, ar *Arena) (*Delta, error) {
	l := layoutOf(shape)
	r := &reader{math: m, from: from, arena: ar}
	var d *Delta
	var err error
	switch c.Kind {
	case GLoRA:
		d, err = c.glora(r, l)
	case IA3:
		d, err = c.ia3(r, l)
	case OFT:
		d, err = c.oft(r, l)
	case BOFT:
		d, err = c.boft(r, l)
	case InputOFT:
		d, err = c.oftOfInputs(r, l)
	case InputBOFT:
		d, err = c.boftOfInputs(r, l)
	case Factors:
		d, err = c.factors(r, l)
	case Stored:
		d, err = c.stored(r, l)
	case VeRA, DeLoRA, GraLoRA, MiSS, C3A, SHiRA, HiRA, HRA, RoAd:
		d, err = c.tuner(r, l)
	default:
		d, err = c.additive(r, l)
	}
	if err == nil {
		err = r.err
	}
	if err != nil {
		return nil, err
	}
	d.from = r
	return d, nil
}

// additive prepares the kinds that have a dW of their own.
func (c *Change) additive(r *reader, l layout) (*Delta, error) {
	if reason := c.Problem(); reason != "" {
		return nil, unfit(reason)
	}
	var s *sum
	var err error
	switch c.Kind {
	case LoRA:
		s, err = c.lora(r, l)
	case LoHa:
		s, err = c.loha(r, l)
	case LoKr:
		s, err = c.lokr(r)
	case upOnly:
		s, err = c.whole(r, c.parts[upBias], l, c.factor(r, c.rank()))
	default:
		s, err = c.whole(r, c.parts["diff"], l, c.factor(r, 0))
	}
	if err != nil {
		return nil, err
	}
	if s, err = c.withResidual(r, s); err != nil {
		return nil, err
	}
	if s.rows != l.out || s.cols != l.cols() {
		if s.rows != l.out || l.in != inpaintingInputs || s.cols != latentInputs*l.kernel || c.Decomposed() {
			return nil, unfit(reasonShape)
		}
		s = padded(r.math, s, l)
	}
	if c.Decomposed() {
		return c.decompose(r, s, l)
	}
	return &Delta{apply: s.add}, nil
}

func (c *Change) rank() int64 {
	if t := c.parts[loraDown]; t != nil && len(t.Shape) > 0 {
		return t.Shape[0]
	}
	return 0
}

// Channels that the first convolution takes in: the latent, and with it the masked
// latent and the mask.
const (
	latentInputs     = 4
	inpaintingInputs = 9
)

// padded lays a change for the latent's channels onto a convolution that takes in
// more behind them.
func padded(m Math, s *sum, l layout) *sum {
	return &sum{l.out, l.cols(), func(w []float32, from, to int, scale float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		own := ar.zeros((to - from) * s.cols)
		s.add(own, from, to, scale, ar)
		for i := range to - from {
			m.AddScaled(w[i*l.cols():i*l.cols()+s.cols], own[i*s.cols:(i+1)*s.cols], 1)
		}
	}}
}

// product is the sum scale * up[out][rank] * down[rank][cols].
func product(m Math, ar *Arena, up, down []float32, out, rank, cols int, factor float32) *sum {
	packed := m.Pack(ar, down, rank, cols)
	return &sum{out, cols, func(w []float32, from, to int, scale float32, _ *Arena) {
		m.MulAddPacked(w, up[from*rank:to*rank], packed, to-from, scale*factor)
	}}
}

func (c *Change) lora(r *reader, l layout) (*sum, error) {
	if method := c.notes.of(c.Text).changedBase(); method != "" {
		return nil, unfit("fit only the base that PEFT changed as it began (" + method + "); save them with path_initial_model_for_weight_conversion")
	}
	up, down, mid := c.parts[loraUp], c.parts[loraDown], c.parts[loraMid]
	rank := down.Shape[0]
	if mid != nil {
		flat, err := c.unfold(r, mid, down, l)
		if err != nil {
			return nil, err
		}
		n := mid.Shape[0]
		if up.Shape[0] != int64(l.out) || up.Values() != n*int64(l.out) {
			return nil, unfit(reasonFit)
		}
		return product(r.math, r.arena, r.floats(up), flat, l.out, int(n), l.cols(), float32(c.factor(r, rank))), nil
	}
	if up.Values()%rank != 0 || up.Shape[0] != up.Values()/rank {
		return nil, unfit(reasonFit)
	}
	out, cols := up.Values()/rank, down.Values()/rank
	factors := r.floats(down)
	if e := c.parts["lora_E"]; e != nil { // singular values
		if e.Values() != rank {
			return nil, unfit(reasonFit)
		}
		for k, v := range r.floats(e) {
			row := factors[k*int(cols) : (k+1)*int(cols)]
			r.math.Blend(row, row, v, 0)
		}
	}
	return product(r.math, r.arena, r.floats(up), factors, int(out), int(rank), int(cols), float32(c.factor(r, rank))), nil
}

// unfold multiplies a Tucker core[n][m][kernel] by down[m][in] to [n][in][kernel].
func (c *Change) unfold(r *reader, core, down *Tensor, l layout) ([]float32, error) {
	if len(core.Shape) < 3 || len(down.Shape) < 2 {
		return nil, unfit(reasonFit)
	}
	n, m := int(core.Shape[0]), int(core.Shape[1])
	kernel := int(core.Values()) / (n * m)
	if int(down.Shape[0]) != m {
		return nil, unfit(reasonFit)
	}
	in := int(down.Values()) / m
	if in != l.in || kernel != l.kernel {
		return nil, unfit(reasonShape)
	}
	t, d := r.floats(core), r.floats(down)
	out := r.arena.Floats(n * in * kernel)
	packed := r.math.Pack(r.arena, d, m, in)
	const some = 8 // rows of out at a time, so that what lies between stays in the processor's cache
	turned, mixed := r.arena.Floats(some*kernel*m), r.arena.Floats(some*kernel*in)
	for first := 0; first < n; first += some {
		rows := min(some, n-first)
		for i := range rows {
			transposeInto(turned[i*kernel*m:], t[(first+i)*m*kernel:], m, kernel)
		}
		clear(mixed)
		r.math.MulAddPacked(mixed, turned, packed, rows*kernel, 1)
		for i := range rows {
			transposeInto(out[(first+i)*in*kernel:], mixed[i*kernel*in:], kernel, in)
		}
	}
	return out, nil
}

func (c *Change) loha(r *reader, l layout) (*sum, error) {
	var up [2][]float32
	var down [2]Packed
	var rank [2]int
	for i, roles := range [][3]string{{"hada_w1_a", "hada_w1_b", "hada_t1"}, {"hada_w2_a", "hada_w2_b", "hada_t2"}} {
		a, b, core := c.parts[roles[0]], c.parts[roles[1]], c.parts[roles[2]]
		if len(a.Shape) < 2 || len(b.Shape) < 2 {
			return nil, unfit(reasonFit)
		}
		if core != nil { // here the up factor lies [rank][out]
			flat, err := c.unfold(r, core, b, l)
			if err != nil {
				return nil, err
			}
			rank[i] = int(core.Shape[0])
			if int(a.Shape[0]) != rank[i] {
				return nil, unfit(reasonFit)
			}
			if int(a.Values()) != rank[i]*l.out {
				return nil, unfit(reasonShape)
			}
			up[i], down[i] = transpose(r.arena, r.floats(a), rank[i], l.out), r.math.Pack(r.arena, flat, rank[i], l.cols())
			continue
		}
		rank[i] = int(b.Shape[0])
		if int(a.Values()) != int(a.Shape[0])*rank[i] {
			return nil, unfit(reasonFit)
		}
		if int(a.Shape[0]) != l.out || int(b.Values()) != rank[i]*l.cols() {
			return nil, unfit(reasonShape)
		}
		up[i], down[i] = r.floats(a), r.math.Pack(r.arena, r.floats(b), rank[i], l.cols())
	}
	factor := float32(c.factor(r, c.parts["hada_w1_b"].Shape[0]))
	cols, m := l.cols(), r.math
	return &sum{l.out, cols, func(w []float32, from, to int, scale float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		n := (to - from) * cols
		x, y := ar.zeros(n), ar.zeros(n)
		m.MulAddPacked(x, up[0][from*rank[0]:to*rank[0]], down[0], to-from, 1)
		m.MulAddPacked(y, up[1][from*rank[1]:to*rank[1]], down[1], to-from, 1)
		m.AddProduct(w, x, y, scale*factor)
	}}, nil
}

// lokr prepares w1[ra][ca] (x) w2[rb][cb*kernel].
func (c *Change) lokr(r *reader) (*sum, error) {
	w1, ra, rank, err := c.half(r, "lokr_w1", nil)
	if err != nil {
		return nil, err
	}
	w2, rb, rank2, err := c.half(r, "lokr_w2", c.parts["lokr_t2"])
	if err != nil {
		return nil, err
	}
	if rank2 > 0 {
		rank = rank2
	}
	factor := float32(c.factor(r, rank))
	ca, cb, m := len(w1)/ra, len(w2)/rb, r.math
	cols := ca * cb
	return &sum{ra * rb, cols, func(w []float32, from, to int, scale float32, _ *Arena) {
		for row := from; row < to; row++ {
			i, k := row/rb, row%rb
			m.MulAdd(w[(row-from)*cols:(row-from+1)*cols], w1[i*ca:(i+1)*ca], w2[k*cb:(k+1)*cb], ca, 1, cb, scale*factor)
		}
	}}, nil
}

// half is one factor of a LoKr as a matrix of some rows: whole, or a product with
// its rank, or a product around a Tucker core.
func (c *Change) half(r *reader, role string, core *Tensor) (values []float32, rows int, rank int64, err error) {
	if t := c.parts[role]; t != nil {
		if len(t.Shape) < 2 {
			return nil, 0, 0, unfit(reasonFit)
		}
		return r.floats(t), int(t.Shape[0]), 0, nil
	}
	a, b := c.parts[role+"_a"], c.parts[role+"_b"]
	if len(a.Shape) < 2 || len(b.Shape) < 2 {
		return nil, 0, 0, unfit(reasonFit)
	}
	rank = b.Shape[0]
	if core != nil { // a lies [rank][rows], b [rank][in]
		if len(core.Shape) < 3 || a.Shape[0] != core.Shape[0] || b.Shape[0] != core.Shape[1] {
			return nil, 0, 0, unfit(reasonFit)
		}
		n, m := int(core.Shape[0]), int(core.Shape[1])
		kernel, in := int(core.Values())/(n*m), int(b.Values())/m
		flat, err := c.unfold(r, core, b, layout{0, in, kernel})
		if err != nil {
			return nil, 0, 0, err
		}
		rows = int(a.Values()) / n
		up := transpose(r.arena, r.floats(a), n, rows)
		out := r.arena.zeros(rows * in * kernel)
		r.math.MulAdd(out, up, flat, rows, n, in*kernel, 1)
		return out, rows, rank, nil
	}
	rows = int(a.Shape[0])
	if a.Values() != int64(rows)*rank {
		return nil, 0, 0, unfit(reasonFit)
	}
	cols := int(b.Values() / rank)
	out := r.arena.zeros(rows * cols)
	r.math.MulAdd(out, r.floats(a), r.floats(b), rows, int(rank), cols, 1)
	return out, rows, rank, nil
}

// whole prepares a difference that is stored as it is.
func (c *Change) whole(r *reader, t *Tensor, l layout, factor float64) (*sum, error) {
	n := int(t.Values())
	if n%l.out != 0 || len(t.Shape) > 1 && l.cols() > 1 && int(t.Shape[0]) != l.out {
		return nil, unfit(reasonShape)
	}
	values, cols, m := r.part(t), n/l.out, r.math
	return &sum{l.out, cols, func(w []float32, from, to int, scale float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		m.AddScaled(w, values(from*cols, to*cols, ar), scale*float32(factor))
	}}, nil
}

// stored prepares the weight that takes the place of the checkpoint's.
func (c *Change) stored(r *reader, l layout) (*Delta, error) {
	t, cols := c.parts["stored"], l.cols()
	if len(t.Shape) == 0 || int(t.Shape[0]) != l.out || int(t.Values()) != l.out*cols {
		return nil, unfit(reasonShape)
	}
	values, m := r.part(t), r.math
	return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		m.Blend(w, values(from*cols, to*cols, ar), 1-strength, strength)
	}}, nil
}

// withResidual adds what an extraction left over: a matrix, dense or of single
// values. A1111 multiplies it with alpha through rank as the product.
func (c *Change) withResidual(r *reader, s *sum) (*sum, error) {
	var values []float32
	switch {
	case c.Kind == upOnly:
		return s, nil
	case c.parts["bias"] != nil:
		t := c.parts["bias"]
		if int(t.Values()) != s.rows*s.cols || len(t.Shape) > 1 && int(t.Shape[0]) != s.rows {
			return nil, unfit(reasonShape)
		}
		values = r.floats(t)
	case c.parts["bias_indices"] != nil && c.parts["bias_values"] != nil:
		at, t := c.parts["bias_indices"], c.parts["bias_values"]
		n := t.Values()
		if len(at.Shape) != 2 || at.Shape[1] != n {
			return nil, unfit(reasonFit)
		}
		sides := []int64{int64(s.rows), int64(s.cols)}
		if size := c.parts["bias_size"]; size != nil {
			sides = r.ints(size)
		}
		if int64(len(sides)) != at.Shape[0] {
			return nil, unfit(reasonFit)
		}
		all := int64(1)
		for _, side := range sides {
			if side <= 0 || side > maxValues/all {
				return nil, unfit(reasonFit)
			}
			all *= side
		}
		if all != int64(s.rows)*int64(s.cols) || sides[0] != int64(s.rows) {
			return nil, unfit(reasonShape)
		}
		values = r.arena.zeros(int(all))
		index, single := r.ints(at), r.floats(t)
		for i := range n {
			place := int64(0)
			for axis, side := range sides {
				x := index[int64(axis)*n+i]
				if x < 0 || x >= side {
					return nil, unfit(reasonFit)
				}
				place = place*side + x
			}
			values[place] += single[i]
		}
	default:
		return s, nil
	}
	factor, m, add, cols := float32(c.factor(r, c.rank())), r.math, s.add, s.cols
	return &sum{s.rows, cols, func(w []float32, from, to int, scale float32, ar *Arena) {
		add(w, from, to, scale, ar)
		m.AddScaled(w, values[from*cols:to*cols], scale*factor)
	}}, nil
}

// decompose prepares a DoRA: the merged weight gets the trained lengths, of rows or
// of inputs, as the shape of the scale says.
func (c *Change) decompose(r *reader, s *sum, l layout) (*Delta, error) {
	t := c.parts["dora_scale"]
	byRow := false
	switch {
	case t == nil: // PEFT trains the lengths of rows and stores them in several shapes
		t, byRow = c.parts[magnitude], true
	case len(t.Shape) == 0:
	case t.Shape[0] == t.Values():
		byRow = int(t.Values()) == l.out
	case len(t.Shape) > 1 && t.Shape[1] == t.Values():
		byRow = int(t.Values()) == l.out && l.out != l.in // diffusers turns PEFT's shape into this
	}
	length := l.in
	if byRow {
		length = l.out
	}
	if int(t.Values()) != length {
		return nil, unfit(reasonShape)
	}
	scale, cols, m := r.floats(t), l.cols(), r.math
	if byRow {
		return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
			mark := ar.mark()
			defer ar.release(mark)
			merged := ar.Floats(len(w))
			copy(merged, w)
			s.add(merged, from, to, 1, ar)
			factors := ar.Floats(to - from)
			m.RowSquares(factors, merged, cols)
			for i, squares := range factors {
				factors[i] = strength * scale[from+i] / norm(float64(squares))
			}
			m.BlendRows(w, cols, merged, cols, cols, 1-strength, factors)
		}}, nil
	}
	return &Delta{Rows: l.out, apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		merged := w
		if strength != 1 {
			merged = ar.Floats(len(w))
		}
		squares := ar.zeros(cols)
		rows := max(minRows, cachedValues/cols)
		for first := from; first < to; first += rows {
			end := min(first+rows, to)
			own := merged[(first-from)*cols : (end-from)*cols]
			if strength != 1 {
				copy(own, w[(first-from)*cols:])
			}
			s.add(own, first, end, 1, ar)
			for row := 0; row < len(own); row += cols {
				m.AddProduct(squares, own[row:row+cols], own[row:row+cols], 1)
			}
		}
		factors := ar.Floats(cols)
		for i := range l.in {
			total := 0.0
			for _, v := range squares[i*l.kernel : (i+1)*l.kernel] {
				total += float64(v)
			}
			f := strength * scale[i] / norm(total)
			for k := range l.kernel {
				factors[i*l.kernel+k] = f
			}
		}
		m.BlendColumns(w, merged, 1-strength, factors)
	}}, nil
}

// Rows that are passed over several times are taken so many values at a time, which
// stay in the processor's cache; but no fewer rows than a product needs to be fast.
const (
	cachedValues = 1 << 16
	minRows      = 24
)

// norm is the length of a vector from its sum of squares, never 0.
func norm(squares float64) float32 {
	return float32(math.Sqrt(squares) + 1.1920929e-07) // the epsilon of float32, as LyCORIS adds
}

// glora prepares dW = W a1 a2 + b1 b2. Files of 2023 have the factors the other way
// round: dW = W a2 a1 + b2 b1.
func (c *Change) glora(r *reader, l layout) (*Delta, error) {
	a1, a2, b1, b2 := c.parts["a1"], c.parts["a2"], c.parts["b1"], c.parts["b2"]
	for _, t := range []*Tensor{a1, a2, b1, b2} {
		if len(t.Shape) < 2 {
			return nil, unfit(reasonFit)
		}
	}
	if a1.Shape[0] < a1.Shape[1] || a1.Shape[0] == a1.Shape[1] && b1.Shape[0] < b1.Shape[1] {
		a1, a2, b1, b2 = a2, a1, b2, b1
	}
	rank := int(a2.Shape[0])
	if int(a1.Values()) != l.in*rank || int(a2.Values()) != rank*l.in {
		return nil, unfit(reasonShape)
	}
	down := b2.Shape[0]
	var flat []float32
	if core := c.parts["bm"]; core != nil {
		var err error
		if flat, err = c.unfold(r, core, b2, l); err != nil {
			return nil, err
		}
		down = core.Shape[0]
	} else {
		if int(b2.Values()) != int(down)*l.cols() {
			return nil, unfit(reasonShape)
		}
		flat = r.floats(b2)
	}
	if int(b1.Values()) != l.out*int(down) {
		return nil, unfit(reasonShape)
	}
	first, second, up := r.floats(a1), r.floats(a2), r.floats(b1)
	factor, m := float32(c.factor(r, int64(rank))), r.math
	var firstT, secondT []float32
	var firstP, secondP Packed
	if l.kernel > 1 {
		firstT, secondT = transpose(r.arena, first, l.in, rank), transpose(r.arena, second, rank, l.in)
	} else {
		firstP, secondP = m.Pack(r.arena, first, l.in, rank), m.Pack(r.arena, second, rank, l.in)
	}
	b := product(m, r.arena, up, flat, l.out, int(down), l.cols(), factor)
	return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		rows := to - from
		inner := ar.zeros(rows * rank * l.kernel) // W a1, before anything is added to W
		if l.kernel == 1 {
			m.MulAddPacked(inner, w, firstP, rows, 1)
			m.MulAddPacked(w, inner, secondP, rows, strength*factor)
		} else {
			for i := range rows {
				row, own := w[i*l.cols():(i+1)*l.cols()], inner[i*rank*l.kernel:(i+1)*rank*l.kernel]
				m.MulAdd(own, firstT, row, rank, l.in, l.kernel, 1)
				m.MulAdd(row, secondT, own, l.in, rank, l.kernel, strength*factor)
			}
		}
		b.add(w, from, to, strength, ar)
	}}, nil
}

// ia3 prepares dW = W * v, where v is for the inputs if on_input is set, else for the
// rows.
func (c *Change) ia3(r *reader, l layout) (*Delta, error) {
	t, cols, m := c.parts["weight"], l.cols(), r.math
	if c.scalar(r, "on_input", 0) != 0 {
		if int(t.Values()) != l.in {
			return nil, unfit(reasonShape)
		}
		v := r.floats(t)
		factors := r.arena.Floats(cols)
		for i := range factors {
			factors[i] = v[i/l.kernel]
		}
		return &Delta{apply: func(w []float32, from, to int, strength float32, _ *Arena) {
			for i := range to - from {
				row := w[i*cols : (i+1)*cols]
				m.AddProduct(row, row, factors, strength)
			}
		}}, nil
	}
	if int(t.Values()) != l.out {
		return nil, unfit(reasonShape)
	}
	v := r.floats(t)
	return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		m.BlendRows(w, cols, w, cols, cols, 1, rowFactors(ar, v, from, to, strength))
	}}, nil
}

// rowFactors returns strength times the factors of the rows [from, to), which are 1 if
// there are none, in memory of the arena.
func rowFactors(ar *Arena, factors []float32, from, to int, strength float32) []float32 {
	out := ar.Floats(to - from)
	for i := range out {
		out[i] = strength
		if factors != nil {
			out[i] *= factors[from+i]
		}
	}
	return out
}
