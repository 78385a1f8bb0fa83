package adapter

import (
	"math"
	"strings"
)

// PEFT trains more kinds than those that have programs of their own. With R of a shape
// that the file tells, they are
//
//	AdaLoRA  dW = B diag(E) A                          arXiv:2303.10512
//	VeRA     dW = diag(b) B diag(d) A, A and B shared  arXiv:2310.11454
//	DeLoRA   dW = B diag(l / (r |A_i| |B_i|)) A * n    arXiv:2503.18225
//	GraLoRA  dW = a LoRA of each of N x N blocks       arXiv:2505.20355
//	MiSS     dW = D repeated along the inputs, or      arXiv:2409.15371
//	         W D + D in blocks; formerly Bone
//	C3A      dW = circulant blocks of a kernel         arXiv:2407.19342
//	SHiRA    dW = single values                        arXiv:2406.13175
//	HiRA     dW = W * (B A)                            ICLR 2025
//	HRA      W' = W H_1 ... H_r, reflections           arXiv:2405.17484
//	RoAd     W' = R W, pairs of outputs, biases too    arXiv:2409.00119
//	BEFT     a difference of the bias
//
// and LN tuning stores whole norms. Of other kinds, which need a random generator's
// state, the trained base or the input, a note tells the name.
const (
	VeRA    Kind = "VeRA"
	DeLoRA  Kind = "DeLoRA"
	GraLoRA Kind = "GraLoRA"
	MiSS    Kind = "MiSS"
	C3A     Kind = "C3A"
	SHiRA   Kind = "SHiRA"
	HiRA    Kind = "HiRA"
	HRA     Kind = "HRA"
	RoAd    Kind = "RoAd"
)

// tuners are the roles that tell these kinds, each with the others that it needs.
var tuners = []struct {
	kind  Kind
	roles []string
}{
	{VeRA, []string{"vera_lambda_b", "vera_lambda_d"}},
	{DeLoRA, []string{"delora_A", "delora_B", "delora_lambda", "delora_w_norm"}},
	{GraLoRA, []string{"gralora_A", "gralora_B"}},
	{MiSS, []string{"miss_block"}},
	{MiSS, []string{"bone_block"}},
	{C3A, []string{"c3a_kernel"}},
	{SHiRA, []string{"shira_weight", "shira_indices"}},
	{HiRA, []string{"hira_A", "hira_B"}},
	{HRA, []string{"hra_u"}},
	{RoAd, []string{"road_theta", "road_alpha"}},
}

// otherTuners are the names of kinds that are not read, by how their parameters begin.
var otherTuners = map[string]string{
	"fourierft_": "FourierFT", "waveft_": "WaveFT", "vblora_": "VB-LoRA", "randlora_": "RandLoRA", "pvera_": "PVeRA", "frod_": "FRoD",
	"glora_": "GLoRA as PEFT writes it", "lily_": "Lily", "osf_svd_params": "OSF", "peanut_": "PEANuT", "psoft_": "PSOFT", "supertuning_": "SuperTuning",
	"tinylora_": "TinyLoRA", "unilora_": "UniLoRA", "poly_lora_": "Poly", "poly_router": "Poly", "deft_": "DEFT", "adamss_": "AdaMSS", "shadow_": "Shadow",
	"xlora_": "X-LoRA", "internal_xlora_classifier": "X-LoRA", "lambda_layer": "T-LoRA",
}

// otherTuner returns the module and the reason for a tensor of a kind that is not read.
func otherTuner(name string) (module, reason string, ok bool) {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		for prefix, kind := range otherTuners {
			if strings.HasPrefix(part, prefix) {
				return strings.Join(parts[:i], "."), "are of the kind " + kind + ", which is not read here", true
			}
		}
	}
	return "", "", false
}

// sharedTensors are the matrices of VeRA, which all of its modules use.
func sharedTensor(name string) string {
	for _, end := range []string{"vera_A", "vera_B"} {
		if name == end || strings.HasSuffix(name, "."+end) {
			return end
		}
	}
	return ""
}

// tuner prepares one of the kinds above.
func (c *Change) tuner(r *reader, l layout) (*Delta, error) {
	var s *sum
	var err error
	switch c.Kind {
	case VeRA:
		s, err = c.vera(r, l)
	case DeLoRA:
		s, err = c.delora(r, l)
	case GraLoRA:
		s, err = c.gralora(r, l)
	case MiSS:
		return c.miss(r, l)
	case C3A:
		s, err = c.c3a(r, l)
	case SHiRA:
		s, err = c.shira(r, l)
	case HiRA:
		return c.hira(r, l)
	case HRA:
		return c.hra(r, l)
	default:
		return c.road(r, l)
	}
	if err != nil {
		return nil, err
	}
	return &Delta{apply: s.add}, nil
}

// sides demands that parts have these shapes.
func (c *Change) sides(want map[string][]int) error {
	for role, shape := range want {
		t := c.parts[role]
		if len(t.Shape) != len(shape) {
			return unfit(reasonFit)
		}
		for i, side := range shape {
			if int(t.Shape[i]) != side {
				return unfit(reasonShape)
			}
		}
	}
	return nil
}

func (c *Change) vera(r *reader, l layout) (*sum, error) {
	a, b := c.parts["vera_A"], c.parts["vera_B"]
	if a == nil || b == nil {
		return nil, unfit("need the shared matrices of VeRA, which PEFT left out of the file (save_projection)")
	}
	rank := int(c.parts["vera_lambda_d"].Values())
	if len(a.Shape) != 2 || len(b.Shape) != 2 || int(a.Shape[0]) != rank || int(b.Shape[1]) != rank {
		return nil, unfit(reasonFit)
	}
	if int(a.Shape[1]) < l.cols() || int(b.Shape[0]) < l.out || int(c.parts["vera_lambda_b"].Values()) != l.out {
		return nil, unfit(reasonShape)
	}
	wide, tall := r.floats(a), r.floats(b)
	rows, ranks := r.floats(c.parts["vera_lambda_b"]), r.floats(c.parts["vera_lambda_d"])
	down := r.arena.Floats(rank * l.cols())
	for k := range rank {
		for j := range l.cols() {
			down[k*l.cols()+j] = ranks[k] * wide[k*int(a.Shape[1])+j]
		}
	}
	for i := range l.out {
		for k := range rank {
			tall[i*rank+k] *= rows[i]
		}
	}
	return product(r.math, r.arena, tall[:l.out*rank], down, l.out, rank, l.cols(), 1), nil
}

func (c *Change) delora(r *reader, l layout) (*sum, error) {
	a, b := c.parts["delora_A"], c.parts["delora_B"]
	if len(a.Shape) != 2 {
		return nil, unfit(reasonFit)
	}
	rank := int(a.Shape[0])
	if err := c.sides(map[string][]int{"delora_A": {rank, l.cols()}, "delora_B": {l.out, rank}, "delora_w_norm": {l.cols()}, "delora_lambda": {1}}); err != nil {
		return nil, err
	}
	down, up, lengths := r.floats(a), r.floats(b), r.floats(c.parts["delora_w_norm"])
	least := func(squares float64) float64 { return max(math.Sqrt(squares), 1e-4) }
	for k := range rank {
		squares, others := 0.0, 0.0
		row := down[k*l.cols() : (k+1)*l.cols()]
		for _, v := range row {
			squares += float64(v) * float64(v)
		}
		for i := range l.out {
			others += float64(up[i*rank+k]) * float64(up[i*rank+k])
		}
		f := float32(c.scalar(r, "delora_lambda", 0) / float64(rank) / (least(squares) * least(others)))
		for j := range row {
			row[j] *= f * lengths[j]
		}
	}
	return product(r.math, r.arena, up, down, l.out, rank, l.cols(), 1), nil
}

// gralora multiplies, for each pair of a run of inputs n and one of outputs k, a part of
// the rank: of A[n] that k, of B[k] that n.
func (c *Change) gralora(r *reader, l layout) (*sum, error) {
	a, b := c.parts["gralora_A"], c.parts["gralora_B"]
	if len(a.Shape) != 3 {
		return nil, unfit(reasonFit)
	}
	n, rank := int(a.Shape[0]), int(a.Shape[2])
	if n < 1 || rank%n != 0 {
		return nil, unfit(reasonFit)
	}
	if l.cols()%n != 0 || l.out%n != 0 {
		return nil, unfit(reasonShape)
	}
	in, out, part := l.cols()/n, l.out/n, rank/n
	if err := c.sides(map[string][]int{"gralora_A": {n, in, rank}, "gralora_B": {n, rank, out}}); err != nil {
		return nil, err
	}
	down, up := r.floats(a), r.floats(b)
	dW := r.arena.zeros(l.out * l.cols())
	mark := r.arena.mark()
	left, right, block := r.arena.Floats(out*part), r.arena.Floats(part*in), r.arena.Floats(out*in)
	for k := range n {
		for m := range n {
			for t := range part {
				for o := range out {
					left[o*part+t] = up[(k*rank+m*part+t)*out+o]
				}
				for i := range in {
					right[t*in+i] = down[(m*in+i)*rank+k*part+t]
				}
			}
			clear(block)
			r.math.MulAdd(block, left, right, out, part, in, 1)
			for o := range out {
				copy(dW[(k*out+o)*l.cols()+m*in:][:in], block[o*in:])
			}
		}
	}
	r.arena.release(mark)
	whole := rank
	if g := c.parts["gralora_A_general"]; g != nil && len(g.Shape) == 2 {
		more := int(g.Shape[0])
		if c.parts["gralora_B_general"] == nil {
			return nil, unfit(reasonIncomplete)
		}
		if err := c.sides(map[string][]int{"gralora_A_general": {more, l.cols()}, "gralora_B_general": {l.out, more}}); err != nil {
			return nil, err
		}
		r.math.MulAdd(dW, r.floats(c.parts["gralora_B_general"]), r.floats(g), l.out, more, l.cols(), 1)
		whole += more
	}
	return dense(r.math, dW, l, float32(c.notes.of(c.Text).alpha(64)/float64(whole))), nil
}

// dense is the sum scale * dW of a matrix in memory.
func dense(m Math, dW []float32, l layout, factor float32) *sum {
	return &sum{l.out, l.cols(), func(w []float32, from, to int, scale float32, _ *Arena) {
		m.AddScaled(w, dW[from*l.cols():to*l.cols()], scale*factor)
	}}
}

// miss prepares D[side][outputs], of which an input j has the row j mod side and outputs
// may repeat, or D[block][side][side], where blocks of outputs become W D + W + D.
func (c *Change) miss(r *reader, l layout) (*Delta, error) {
	t := c.parts["miss_block"]
	if t == nil {
		t = c.parts["bone_block"]
	}
	cols, m := l.cols(), r.math
	if len(t.Shape) == 2 {
		side, repeat := int(t.Shape[0]), int(t.Shape[1])
		if repeat != c.notes.of(c.Text).repeats(l.out) || l.out%repeat != 0 || side > cols {
			return nil, unfit(reasonShape)
		}
		turned := transpose(r.arena, r.floats(t), side, repeat)
		return &Delta{apply: func(w []float32, from, to int, strength float32, _ *Arena) {
			for row := from; row < to; row++ {
				d, own := turned[row%repeat*side:][:side], w[(row-from)*cols:(row-from+1)*cols]
				for j := 0; j < cols; j += side {
					n := min(side, cols-j)
					m.AddScaled(own[j:j+n], d[:n], strength)
				}
			}
		}}, nil
	}
	if len(t.Shape) != 3 || t.Shape[1] != t.Shape[2] {
		return nil, unfit(reasonFit)
	}
	side := int(t.Shape[1])
	if int(t.Shape[0])*side != l.out || cols%side != 0 {
		return nil, unfit(reasonShape)
	}
	all := r.floats(t)
	return &Delta{Rows: side, apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		before := ar.Floats(side * side)
		for row := from; row < to; row += side {
			d := all[row*side:][:side*side]
			for j := 0; j < cols; j += side {
				after := ar.zeros(side * side)
				for i := range side {
					copy(before[i*side:(i+1)*side], w[(row-from+i)*cols+j:])
				}
				m.MulAdd(after, before, d, side, side, side, 1)
				for i := range side {
					own := w[(row-from+i)*cols+j:][:side]
					m.AddScaled(own, after[i*side:(i+1)*side], strength)
					m.AddScaled(own, d[i*side:(i+1)*side], strength)
				}
				ar.release(mark)
				before = ar.Floats(side * side)
			}
		}
	}}, nil
}

// c3a prepares circulant blocks: of kernel[k][n] the value (input - output) mod side,
// through the number of inputs.
func (c *Change) c3a(r *reader, l layout) (*sum, error) {
	t := c.parts["c3a_kernel"]
	if len(t.Shape) != 3 {
		return nil, unfit(reasonFit)
	}
	side := int(t.Shape[2])
	if int(t.Shape[0])*side != l.out || int(t.Shape[1])*side != l.cols() {
		return nil, unfit(reasonShape)
	}
	kernels := r.floats(t)
	dW := r.arena.Floats(l.out * l.cols())
	for o := range l.out {
		for i := range l.cols() {
			kernel := kernels[(o/side*int(t.Shape[1])+i/side)*side:][:side]
			dW[o*l.cols()+i] = kernel[(i%side-o%side+side)%side]
		}
	}
	return dense(r.math, dW, l, 1/float32(l.cols())), nil
}

func (c *Change) shira(r *reader, l layout) (*sum, error) {
	at, t := c.parts["shira_indices"], c.parts["shira_weight"]
	n := int(t.Values())
	if len(at.Shape) != 2 || at.Shape[0] != 2 || int(at.Shape[1]) != n {
		return nil, unfit(reasonFit)
	}
	sides := l.out + l.cols() // PEFT stores as many values as a LoRA of the rank has
	if rank := c.notes.of(c.Text).Rank; n == 0 || n%sides != 0 || rank != nil && float64(n/sides) != *rank {
		return nil, unfit(reasonShape)
	}
	index, single := r.ints(at), r.floats(t)
	dW := r.arena.zeros(l.out * l.cols())
	most, mostInput := int64(0), int64(0)
	for i := range n {
		o, j := index[i], index[n+i]
		if o < 0 || j < 0 || o >= int64(l.out) || j >= int64(l.cols()) {
			return nil, unfit(reasonShape)
		}
		most, mostInput = max(most, o), max(mostInput, j)
		dW[int(o)*l.cols()+int(j)] += single[i]
	}
	if most < int64(l.out/2) && mostInput < int64(l.cols()/2) { // the places of a narrower layer
		return nil, unfit(reasonShape)
	}
	return dense(r.math, dW, l, 1), nil
}

func (c *Change) hira(r *reader, l layout) (*Delta, error) {
	a, b := c.parts["hira_A"], c.parts["hira_B"]
	if len(a.Shape) < 2 || len(b.Shape) < 2 || a.Shape[0] != b.Shape[1] {
		return nil, unfit(reasonFit)
	}
	rank := int(a.Shape[0])
	if int(a.Values()) != rank*l.cols() || int(b.Values()) != l.out*rank {
		return nil, unfit(reasonShape)
	}
	cols, m := l.cols(), r.math
	factors := product(m, r.arena, r.floats(b), r.floats(a), l.out, rank, cols, 1)
	return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		f := ar.zeros(len(w))
		factors.add(f, from, to, 1, ar)
		m.AddProduct(w, w, f, strength)
	}}, nil
}

// hra prepares reflections I - 2 u u^T of unit vectors, one after the other; with
// apply_GS the vectors are made orthogonal first.
func (c *Change) hra(r *reader, l layout) (*Delta, error) {
	t := c.parts["hra_u"]
	if len(t.Shape) != 2 {
		return nil, unfit(reasonFit)
	}
	cols, rank, m := l.cols(), int(t.Shape[1]), r.math
	if int(t.Shape[0]) != cols {
		return nil, unfit(reasonShape)
	}
	u := transpose(r.arena, r.floats(t), cols, rank)
	orthogonal := c.notes.of(c.Text).Orthogonal
	for k := range rank {
		v := u[k*cols : (k+1)*cols]
		for j := 0; orthogonal && j < k; j++ {
			other, dot := u[j*cols:(j+1)*cols], 0.0
			for i, x := range other {
				dot += float64(x) * float64(v[i])
			}
			m.AddScaled(v, other, float32(-dot))
		}
		squares := 0.0
		for _, x := range v {
			squares += float64(x) * float64(x)
		}
		m.Blend(v, v, float32(1/math.Sqrt(squares)), 0)
	}
	return &Delta{apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		now := ar.Floats(len(w))
		copy(now, w)
		for k := range rank {
			v, along := u[k*cols:(k+1)*cols], ar.zeros(to-from)
			m.MulAdd(along, now, v, to-from, cols, 1, 1)
			m.MulAdd(now, along, v, to-from, 1, cols, -2)
		}
		m.Blend(w, now, 1-strength, strength)
	}}, nil
}

// road prepares turns of pairs of outputs that are half a group apart, of the weight or
// of the bias: y_i = f_i x_i - s_i x_(i+half), y_(i+half) = f_(i+half) x_(i+half) +
// s_(i+half) x_i. The file has f and s as lengths and angles: one for both outputs of a
// pair, one for each, or two for each.
func (c *Change) road(r *reader, l layout) (*Delta, error) {
	theta, alpha := c.parts["road_theta"], c.parts["road_alpha"]
	n, group := int(theta.Values()), c.notes.of(c.Text).group(64)
	if int(alpha.Values()) != n {
		return nil, unfit(reasonFit)
	}
	if group < 2 || group%2 != 0 || l.out%group != 0 || n != l.out/2 && n != l.out && n != 2*l.out {
		return nil, unfit(reasonShape)
	}
	if told := c.notes.of(c.Text).anglesOf(l.out); told != 0 && n != told { // as of a layer with twice or half the outputs
		return nil, unfit(reasonShape)
	}
	angles, lengths := r.floats(theta), r.floats(alpha)
	cols, half, m := l.cols(), group/2, r.math
	first, second := r.arena.Floats(l.out), r.arena.Floats(l.out)
	for i := range l.out {
		at, again := i, i
		switch n {
		case l.out / 2:
			at = i/group*half + i%half
			again = at
		case 2 * l.out:
			at = i/group*2*group + i%group
			again = at + group
		}
		first[i] = float32(float64(lengths[at]) * math.Cos(float64(angles[at])))
		second[i] = float32(float64(lengths[again]) * math.Sin(float64(angles[again])))
		if i%group < half {
			second[i] = -second[i]
		}
	}
	return &Delta{Rows: group, apply: func(w []float32, from, to int, strength float32, ar *Arena) {
		mark := ar.mark()
		defer ar.release(mark)
		now := ar.Floats(len(w))
		copy(now, w)
		for i := range to - from {
			row, partner := w[i*cols:(i+1)*cols], i+half
			if i%group >= half {
				partner = i - half
			}
			m.Blend(row, now[partner*cols:(partner+1)*cols], 1+strength*(first[from+i]-1), strength*second[from+i])
		}
	}}, nil
}
