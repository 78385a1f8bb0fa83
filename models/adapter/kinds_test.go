package adapter_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/models/adapter"
)

// The formulas below are those of the papers and of A1111's Lora extension, written
// out for single values in float64.

var random = rand.New(rand.NewPCG(1, 2))

// some fills an array with small random values.
func some(shape ...int64) values {
	n := int64(1)
	for _, side := range shape {
		n *= side
	}
	v := values{shape, make([]float32, n)}
	for i := range v.data {
		v.data[i] = float32(random.NormFloat64()) / 2
	}
	return v
}

func number(x float64) values { return values{nil, []float32{float32(x)}} }

// at returns a value by its indices; missing ones are 0.
func (v values) at(index ...int) float64 {
	place := 0
	for axis, side := range v.shape {
		i := 0
		if axis < len(index) {
			i = index[axis]
		}
		place = place*int(side) + i
	}
	return float64(v.data[place])
}

// with makes an array of the same shape from a function of out, in and kernel.
func (v values) with(f func(o, i, k int) float64) values {
	in, kernel := 1, 1
	if len(v.shape) > 1 {
		in = int(v.shape[1])
	}
	for _, side := range v.shape[min(2, len(v.shape)):] {
		kernel *= int(side)
	}
	out := values{v.shape, make([]float32, len(v.data))}
	for place := range out.data {
		out.data[place] = float32(f(place/(in*kernel), place/kernel%in, place%kernel))
	}
	return out
}

func (v values) flat(o, i, k int) float64 {
	in, kernel := int(v.shape[1]), 1
	for _, side := range v.shape[2:] {
		kernel *= int(side)
	}
	return float64(v.data[(o*in+i)*kernel+k])
}

// sumOver adds f(0) to f(n-1).
func sumOver(n int, f func(r int) float64) float64 {
	total := 0.0
	for r := range n {
		total += f(r)
	}
	return total
}

// length is the norm of the values that f gives for n places.
func length(n int, f func(i int) float64) float64 {
	return math.Sqrt(sumOver(n, func(i int) float64 { return f(i) * f(i) }))
}

const (
	linear     = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
	linearName = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
	conv       = "lora_unet_mid_block_resnets_0_conv1"
	convName   = "model.diffusion_model.middle_block.0.in_layers.2.weight"
	convBias   = "model.diffusion_model.middle_block.0.in_layers.2.bias"
	normLayer  = "lora_unet_mid_block_resnets_0_norm1"
	normName   = "model.diffusion_model.middle_block.0.in_layers.0."
	first      = "lora_unet_conv_in"
	firstName  = "model.diffusion_model.input_blocks.0.0.weight"
)

// Sizes of the layers: outputs, inputs, places of the kernel, rank.
const (
	outs, ins, places, rank = 20, 12, 9, 4
)

func prefixed(module string, parts map[string]values) map[string]values {
	out := map[string]values{}
	for role, v := range parts {
		out[module+"."+role] = v
	}
	return out
}

// delta is dW of one value.
type delta func(o, i, k int) float64

// example is what a module has and what that changes.
type example struct {
	parts map[string]values
	want  delta
}

func TestKinds(t *testing.T) {
	w, kernel := some(outs, ins), some(outs, ins, 3, 3)
	up, down := some(outs, rank), some(rank, ins)
	upConv, downConv := some(outs, rank, 1, 1), some(rank, ins, 3, 3)
	product := delta(func(o, i, _ int) float64 {
		return sumOver(rank, func(r int) float64 { return up.at(o, r) * down.at(r, i) })
	})
	productConv := delta(func(o, i, k int) float64 {
		return sumOver(rank, func(r int) float64 { return upConv.at(o, r) * downConv.flat(r, i, k) })
	})
	pair := func(more map[string]values) map[string]values {
		parts := map[string]values{"lora_up.weight": up, "lora_down.weight": down}
		maps.Copy(parts, more)
		return parts
	}
	pairConv := func(more map[string]values) map[string]values {
		parts := map[string]values{"lora_up.weight": upConv, "lora_down.weight": downConv}
		maps.Copy(parts, more)
		return parts
	}
	times := func(f float64, d delta) delta { return func(o, i, k int) float64 { return f * d(o, i, k) } }
	plus := func(a, b delta) delta { return func(o, i, k int) float64 { return a(o, i, k) + b(o, i, k) } }
	// dora is W' - W with W' = (W + dW) * scale / |W + dW|.
	dora := func(w values, d delta, scale values, byRow bool) delta {
		in, n := int(w.shape[1]), len(w.data)/int(w.shape[0])/int(w.shape[1])
		v := func(o, i, k int) float64 { return w.flat(o, i, k) + d(o, i, k) }
		return func(o, i, k int) float64 {
			norm := length(in*n, func(x int) float64 { return v(o, x/n, x%n) })
			at := o
			if !byRow {
				norm = length(int(w.shape[0])*n, func(x int) float64 { return v(x/n, i, x%n) })
				at = i
			}
			return v(o, i, k)*float64(scale.data[at])/norm - w.flat(o, i, k)
		}
	}
	a1, b1, a2, b2 := some(outs, rank), some(rank, ins), some(outs, rank), some(rank, ins)
	hadamard := delta(func(o, i, _ int) float64 {
		return sumOver(rank, func(r int) float64 { return a1.at(o, r) * b1.at(r, i) }) * sumOver(rank, func(r int) float64 { return a2.at(o, r) * b2.at(r, i) })
	})
	core, tuckerUp, tuckerDown := some(rank, rank, 3, 3), some(outs, rank, 1, 1), some(rank, ins, 1, 1)
	tucker := func(core, up, down values, upFirst bool) delta {
		return func(o, i, k int) float64 {
			return sumOver(rank, func(m int) float64 {
				return sumOver(rank, func(n int) float64 {
					place := []int{o, m}
					if upFirst {
						place = []int{m, o}
					}
					return core.flat(m, n, k) * up.at(place...) * down.at(n, i)
				})
			})
		}
	}
	core2, ta1, tb1, ta2, tb2 := some(rank, rank, 3, 3), some(rank, outs), some(rank, ins), some(rank, outs), some(rank, ins)
	k1, k2, k2Conv := some(4, 3), some(5, 4), some(5, 4, 3, 3)
	k1a, k1b, k2a, k2b := some(4, 2), some(2, 3), some(5, 2), some(2, 4)
	k2bConv, kt, kta, ktb := some(2, 4*9), some(2, 2, 3, 3), some(2, 5), some(2, 4)
	kronecker := delta(func(o, i, _ int) float64 { return k1.at(o/5, i/4) * k2.at(o%5, i%4) })
	scaleOut, scaleIn := some(outs, 1), some(1, ins)
	dense := some(outs, ins)
	vector, vectorIn := some(outs), some(ins)

	for name, e := range map[string]example{
		"LoRA":            {pair(nil), product},
		"LoRA, alpha":     {pair(map[string]values{"alpha": number(2)}), times(0.5, product)},
		"LoRA, scale":     {pair(map[string]values{"alpha": number(2), "scale": number(3)}), times(3, product)},
		"LoRA, scalar":    {pair(map[string]values{"scalar": number(0.25)}), times(0.25, product)},
		"LoRA, remainder": {pair(map[string]values{"alpha": number(2), "bias": dense}), times(0.5, plus(product, dense.flat))},
		"DoRA, rows":      {pair(map[string]values{"alpha": number(2), "dora_scale": scaleOut}), dora(w, times(0.5, product), scaleOut, true)},
		"DoRA, inputs":    {pair(map[string]values{"dora_scale": scaleIn}), dora(w, product, scaleIn, false)},
		"DoRA of PEFT":    {pair(map[string]values{"lora_magnitude_vector.weight": {[]int64{outs}, scaleOut.data}}), dora(w, product, scaleOut, true)},
		"LoHa":            {map[string]values{"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": number(2)}, times(0.5, hadamard)},
		"LoHa, DoRA":      {map[string]values{"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "dora_scale": scaleOut}, dora(w, hadamard, scaleOut, true)},
		"LoKr, whole":     {map[string]values{"lokr_w1": k1, "lokr_w2": k2, "alpha": number(7)}, kronecker},
		"LoKr, second in parts": {map[string]values{"lokr_w1": k1, "lokr_w2_a": k2a, "lokr_w2_b": k2b, "alpha": number(1)}, func(o, i, _ int) float64 {
			return 0.5 * k1.at(o/5, i/4) * sumOver(2, func(r int) float64 { return k2a.at(o%5, r) * k2b.at(r, i%4) })
		}},
		"LoKr, first in parts": {map[string]values{"lokr_w1_a": k1a, "lokr_w1_b": k1b, "lokr_w2": k2, "alpha": number(1)}, func(o, i, _ int) float64 {
			return 0.5 * sumOver(2, func(r int) float64 { return k1a.at(o/5, r) * k1b.at(r, i/4) }) * k2.at(o%5, i%4)
		}},
		"LoKr, both in parts": {map[string]values{"lokr_w1_a": k1a, "lokr_w1_b": k1b, "lokr_w2_a": k2a, "lokr_w2_b": k2b, "alpha": number(1)}, func(o, i, _ int) float64 {
			return 0.5 * sumOver(2, func(r int) float64 { return k1a.at(o/5, r) * k1b.at(r, i/4) }) * sumOver(2, func(r int) float64 { return k2a.at(o%5, r) * k2b.at(r, i%4) })
		}},
		"LoKr, DoRA":    {map[string]values{"lokr_w1": k1, "lokr_w2": k2, "dora_scale": scaleIn}, dora(w, kronecker, scaleIn, false)},
		"full":          {map[string]values{"diff": dense}, dense.flat},
		"IA3":           {map[string]values{"weight": vector, "on_input": number(0)}, func(o, i, _ int) float64 { return w.at(o, i) * vector.at(o) }},
		"IA3, column":   {map[string]values{"weight": {[]int64{outs, 1}, vector.data}, "on_input": number(0)}, func(o, i, _ int) float64 { return w.at(o, i) * vector.at(o) }},
		"IA3, inputs":   {map[string]values{"weight": vectorIn, "on_input": number(1)}, func(o, i, _ int) float64 { return w.at(o, i) * vectorIn.at(i) }},
		"GLoRA of 2023": glora2023(w),
		"GLoRA":         glora(w),
	} {
		t.Run(name, func(t *testing.T) { check(t, linear, linearName, w, e.parts, e.want) })
	}
	row := func(v values) values { return values{[]int64{v.shape[0], v.shape[1], 1, 1}, v.data} }
	for name, e := range map[string]example{
		"LoCon":         {pairConv(map[string]values{"alpha": number(2)}), times(0.5, productConv)},
		"LoCon, Tucker": {map[string]values{"lora_up.weight": tuckerUp, "lora_down.weight": tuckerDown, "lora_mid.weight": core, "alpha": number(1)}, times(0.25, tucker(core, tuckerUp, tuckerDown, false))},
		"DoRA, rows":    {pairConv(map[string]values{"dora_scale": row(scaleOut)}), dora(kernel, productConv, scaleOut, true)},
		"DoRA, inputs":  {pairConv(map[string]values{"dora_scale": row(scaleIn)}), dora(kernel, productConv, scaleIn, false)},
		"DoRA of PEFT":  {pairConv(map[string]values{"lora_magnitude_vector": {[]int64{1, outs, 1, 1}, scaleOut.data}}), dora(kernel, productConv, scaleOut, true)},
		"LoHa, Tucker": {map[string]values{"hada_t1": core, "hada_w1_a": ta1, "hada_w1_b": tb1, "hada_t2": core2, "hada_w2_a": ta2, "hada_w2_b": tb2}, func(o, i, k int) float64 {
			return tucker(core, ta1, tb1, true)(o, i, k) * tucker(core2, ta2, tb2, true)(o, i, k)
		}},
		"LoKr, whole": {map[string]values{"lokr_w1": k1, "lokr_w2": k2Conv}, func(o, i, k int) float64 { return k1.at(o/5, i/4) * k2Conv.flat(o%5, i%4, k) }},
		"LoKr, parts": {map[string]values{"lokr_w1": k1, "lokr_w2_a": k2a, "lokr_w2_b": k2bConv, "alpha": number(2)}, func(o, i, k int) float64 {
			return k1.at(o/5, i/4) * sumOver(2, func(r int) float64 { return k2a.at(o%5, r) * k2bConv.at(r, i%4*9+k) })
		}},
		"LoKr, Tucker": {map[string]values{"lokr_w1": k1, "lokr_t2": kt, "lokr_w2_a": kta, "lokr_w2_b": ktb, "alpha": number(2)}, func(o, i, k int) float64 {
			return k1.at(o/5, i/4) * sumOver(2, func(m int) float64 {
				return sumOver(2, func(n int) float64 { return kt.flat(m, n, k) * kta.at(m, o%5) * ktb.at(n, i%4) })
			})
		}},
		"IA3":         {map[string]values{"weight": {[]int64{1, outs, 1, 1}, vector.data}, "on_input": number(0)}, func(o, i, k int) float64 { return kernel.flat(o, i, k) * vector.at(o) }},
		"IA3, inputs": {map[string]values{"weight": {[]int64{1, ins, 1, 1}, vectorIn.data}, "on_input": number(1)}, func(o, i, k int) float64 { return kernel.flat(o, i, k) * vectorIn.at(i) }},
	} {
		t.Run("convolution, "+name, func(t *testing.T) { check(t, conv, convName, kernel, e.parts, e.want) })
	}
}

// TestDoRAOfManyRows has more rows than are computed at a time.
func TestDoRAOfManyRows(t *testing.T) {
	w, up, down, scale := some(60, 2800), some(60, 1), some(1, 2800), some(1, 2800)
	v := w.with(func(o, i, _ int) float64 { return w.at(o, i) + up.at(o)*down.at(0, i) })
	lengths := make([]float64, 2800)
	for i := range lengths {
		lengths[i] = length(60, func(o int) float64 { return v.at(o, i) })
	}
	check(t, linear, linearName, w, map[string]values{"lora_up.weight": up, "lora_down.weight": down, "dora_scale": scale}, func(o, i, _ int) float64 {
		return v.at(o, i)*scale.at(0, i)/lengths[i] - w.at(o, i)
	})
}

// check compares the merged weight at three strengths: W + s dW.
func check(t *testing.T, module, name string, w values, parts map[string]values, want delta) {
	t.Helper()
	f, content := parse(t, nil, prefixed(module, parts))
	require.Empty(t, f.Summary())
	for _, strength := range []float32{1, 0.6, -0.5} {
		got := merged(t, f, content, map[string]values{name: w}, strength)
		right := w.with(func(o, i, k int) float64 { return w.flat(o, i, k) + float64(strength)*want(o, i, k) })
		requireClose(t, right, got[name], fmt.Sprint("strength ", strength))
	}
}

func glora(w values) example {
	a1, a2, b1, b2 := some(ins, rank), some(rank, ins), some(outs, rank), some(rank, ins)
	return example{map[string]values{"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2, "alpha": number(2)}, func(o, i, _ int) float64 {
		return 0.5 * sumOver(rank, func(r int) float64 {
			return sumOver(ins, func(x int) float64 { return w.at(o, x) * a1.at(x, r) })*a2.at(r, i) + b1.at(o, r)*b2.at(r, i)
		})
	}}
}

func glora2023(w values) example {
	a1, a2, b1, b2 := some(rank, ins), some(ins, rank), some(rank, ins), some(outs, rank)
	return example{map[string]values{"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2, "alpha": number(rank)}, func(o, i, _ int) float64 {
		return sumOver(rank, func(r int) float64 {
			return sumOver(ins, func(x int) float64 { return w.at(o, x) * a2.at(x, r) })*a1.at(r, i) + b2.at(o, r)*b1.at(r, i)
		})
	}}
}

// solve returns the x of m x = b by elimination with pivots; m is overwritten.
func solve(m [][]float64, b []float64) []float64 {
	n := len(b)
	x := append([]float64(nil), b...)
	for k := range n {
		p := k
		for i := k; i < n; i++ {
			if math.Abs(m[i][k]) > math.Abs(m[p][k]) {
				p = i
			}
		}
		m[k], m[p], x[k], x[p] = m[p], m[k], x[p], x[k]
		for i := k + 1; i < n; i++ {
			f := m[i][k] / m[k][k]
			for j := k; j < n; j++ {
				m[i][j] -= f * m[k][j]
			}
			x[i] -= f * x[k]
		}
	}
	for k := n - 1; k >= 0; k-- {
		for j := k + 1; j < n; j++ {
			x[k] -= m[k][j] * x[j]
		}
		x[k] /= m[k][k]
	}
	return x
}

// rotated returns R v, or R^T v, with R = (I + Q)(I - Q)^-1 and Q = f (B - B^T).
func rotated(b func(i, j int) float64, n int, f float64, transposed bool, v []float64) []float64 {
	sign := 1.0
	if transposed { // R^T = (I - Q)(I + Q)^-1, since the factors commute
		sign = -1
	}
	q := func(i, j int) float64 { return sign * f * (b(i, j) - b(j, i)) }
	m := make([][]float64, n)
	for i := range n {
		m[i] = make([]float64, n)
		for j := range n {
			m[i][j] = -q(i, j)
		}
		m[i][i]++
	}
	x := solve(m, v)
	out := make([]float64, n)
	for i := range n {
		out[i] = x[i] + sumOver(n, func(j int) float64 { return q(i, j) * x[j] })
	}
	return out
}

// skewLength is |B - B^T| over all blocks.
func skewLength(b values) float64 {
	n := int(b.shape[len(b.shape)-1])
	return length(len(b.data), func(x int) float64 {
		block, i, j := x/(n*n), x/n%n, x%n
		return float64(b.data[(block*n+i)*n+j]) - float64(b.data[(block*n+j)*n+i])
	})
}

func TestRotations(t *testing.T) {
	for name, tc := range map[string]struct {
		blocks  values
		alpha   float64 // 0 for none
		rescale bool
		w       values
	}{
		"linear":                   {some(4, 5, 5), 0, false, some(20, 6)},
		"constrained":              {some(4, 5, 5), 0.01, false, some(20, 6)},
		"rescaled convolution":     {some(5, 4, 4), 0.02, true, some(20, 3, 3, 3)},
		"one block of many rows":   {some(1, 70, 70), 0, false, some(70, 3)},
		"large constraint, unused": {some(4, 5, 5), 100, false, some(20, 6)},
	} {
		t.Run(name, func(t *testing.T) {
			rows, n := int(tc.w.shape[0]), int(tc.blocks.shape[1])
			f := 1.0
			if limit := tc.alpha * float64(rows); tc.alpha > 0 && skewLength(tc.blocks) > limit {
				f = limit / skewLength(tc.blocks)
			}
			parts := map[string]values{"oft_blocks": tc.blocks, "alpha": number(tc.alpha)}
			stretch := some(tc.w.shape[0], 1)
			if tc.rescale {
				parts["rescale"] = stretch
			}
			for _, module := range []string{linear, "oft_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"} { // LyCORIS, kohya
				check(t, module, linearName, tc.w, parts, func(o, i, k int) float64 {
					block := o / n
					column := make([]float64, n)
					for x := range n {
						column[x] = tc.w.flat(block*n+x, i, k)
					}
					b := func(i, j int) float64 { return float64(tc.blocks.data[(block*n+i)*n+j]) }
					v := rotated(b, n, f, true, column)[o%n]
					if tc.rescale {
						v *= stretch.at(o)
					}
					return v - tc.w.flat(o, i, k)
				})
			}
		})
	}
	t.Run("stored rotation", func(t *testing.T) {
		r, w := some(4, 5, 5), some(20, 6)
		check(t, linear, linearName, w, map[string]values{"oft_diag": r}, func(o, i, _ int) float64 {
			return sumOver(5, func(n int) float64 { return r.at(o/5, n, o%5) * w.at(o/5*5+n, i) }) - w.at(o, i)
		})
	})
	for name, sizes := range map[string][3]int64{"butterfly": {24, 6, 3}, "butterfly of many rows": {192, 6, 6}} {
		rows, side, stages := int(sizes[0]), int(sizes[1]), int(sizes[2])
		t.Run(name, func(t *testing.T) {
			blocks, w, stretch := some(sizes[2], sizes[0]/sizes[1], sizes[1], sizes[1]), some(sizes[0], 2, 3, 3), some(sizes[0])
			limit := 0.02 * float64(rows)
			f := min(1, limit/skewLength(blocks))
			check(t, conv, convName, w, map[string]values{"oft_blocks": blocks, "alpha": number(0.02), "rescale": stretch}, func(o, i, k int) float64 {
				v := make([]float64, rows)
				for x := range rows {
					v[x] = w.flat(x, i, k)
				}
				for stage := range stages {
					run := side / 2 << stage // rows of a pair are this far apart
					var order []int
					for group := 0; group < rows; group += 2 * run {
						for x := range run {
							order = append(order, group+x, group+x+run)
						}
					}
					next := make([]float64, rows)
					for block := range rows / side {
						part := make([]float64, side)
						for j := range side {
							part[j] = v[order[block*side+j]]
						}
						b := func(i, j int) float64 { return blocks.at(stage, block, i, j) }
						for j, x := range rotated(b, side, f, false, part) {
							next[order[block*side+j]] = x
						}
					}
					v = next
				}
				return v[o]*stretch.at(o) - w.flat(o, i, k)
			})
		})
	}
}

// Norms and biases get differences.
func TestNormsAndBiases(t *testing.T) {
	weight, bias, dw, db := some(outs), some(outs), some(outs), some(outs)
	kernel, diff := some(outs, ins, 3, 3), some(outs, ins, 3, 3)
	sum := func(a, b values, s float64) values {
		return values{a.shape, a.with(func(o, _, _ int) float64 { return a.at(o) + s*b.at(o) }).data}
	}
	for _, roles := range [][2]string{{"w_norm", "b_norm"}, {"diff", "diff_b"}} {
		f, content := parse(t, nil, prefixed(normLayer, map[string]values{roles[0]: dw, roles[1]: db}))
		got := merged(t, f, content, map[string]values{normName + "weight": weight, normName + "bias": bias}, 0.5)
		requireClose(t, sum(weight, dw, 0.5), got[normName+"weight"], roles[0])
		requireClose(t, sum(bias, db, 0.5), got[normName+"bias"], roles[1])
	}
	f, content := parse(t, nil, prefixed(conv, map[string]values{"diff": diff, "diff_b": db}))
	got := merged(t, f, content, map[string]values{convName: kernel, convBias: bias}, 1)
	requireClose(t, kernel.with(func(o, i, k int) float64 { return kernel.flat(o, i, k) + diff.flat(o, i, k) }), got[convName], "diff")
	requireClose(t, sum(bias, db, 1), got[convBias], "diff_b")
}

// A difference for the four channels of a latent fits the nine of an inpainting
// checkpoint.
func TestFirstConvolutionOfInpainting(t *testing.T) {
	w := some(outs, 9, 3, 3)
	up, down, diff := some(outs, rank, 1, 1), some(rank, 4, 3, 3), some(outs, 4, 3, 3)
	for name, tc := range map[string]struct {
		parts map[string]values
		want  delta
	}{
		"LoCon": {map[string]values{"lora_up.weight": up, "lora_down.weight": down}, func(o, i, k int) float64 {
			return sumOver(rank, func(r int) float64 { return up.at(o, r) * down.flat(r, i, k) })
		}},
		"full": {map[string]values{"diff": diff}, diff.flat},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, first, firstName, w, tc.parts, func(o, i, k int) float64 {
				if i >= 4 {
					return 0
				}
				return tc.want(o, i, k)
			})
		})
	}
}

// typed is an array as it lies in a file.
type typed struct {
	dtype safetensors.DType
	shape []int64
	raw   []byte
}

func little(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}

func encode(v values, d safetensors.DType) typed {
	raw := make([]byte, int64(len(v.data))*d.Size())
	if d == safetensors.F64 {
		raw = nil
		for _, x := range v.data {
			raw = append(raw, little(float64(x))...)
		}
	} else if _, err := safetensors.Encode(raw, v.data, d); err != nil {
		panic(err)
	}
	return typed{d, v.shape, raw}
}

func parseTyped(t *testing.T, metadata map[string]string, arrays map[string]typed) (*adapter.File, []byte) {
	t.Helper()
	var list []safetensors.Tensor
	for name, a := range arrays {
		list = append(list, safetensors.Tensor{Name: name, DType: a.dtype, Shape: a.shape})
	}
	header, err := safetensors.Layout(metadata, list)
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = header.WriteTo(&b)
	require.NoError(t, err)
	for _, tensor := range header.Tensors {
		b.Write(arrays[tensor.Name].raw)
	}
	f, err := adapter.OpenSafetensors(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	return f, b.Bytes()
}

// Factors, alphas and counters may have any type.
func TestNumberTypes(t *testing.T) {
	w, up, down := some(outs, ins), some(outs, rank), some(rank, ins)
	for _, v := range []values{up, down} {
		for i := range v.data {
			v.data[i] = float32(math.Round(float64(v.data[i])*4)) / 4 // exact in every type
		}
	}
	want := w.with(func(o, i, _ int) float64 {
		return w.at(o, i) + 0.5*sumOver(rank, func(r int) float64 { return up.at(o, r) * down.at(r, i) })
	})
	alphas := map[string]typed{
		"F16": encode(number(2), safetensors.F16), "BF16": encode(number(2), safetensors.BF16), "F32": encode(number(2), safetensors.F32),
		"F64": encode(number(2), safetensors.F64), "I64": {safetensors.I64, nil, little(int64(2))}, "I32": {safetensors.I32, []int64{1}, little(int32(2))},
		"I16": {safetensors.I16, nil, little(int16(2))}, "I8": {safetensors.I8, nil, little(int8(2))}, "U8": {safetensors.U8, nil, []byte{2}},
		"U16": {safetensors.U16, nil, little(uint16(2))}, "U32": {safetensors.U32, nil, little(uint32(2))}, "U64": {safetensors.U64, nil, little(uint64(2))},
	}
	for name, alpha := range alphas {
		for _, d := range []safetensors.DType{safetensors.F16, safetensors.BF16, safetensors.F32, safetensors.F64} {
			f, content := parseTyped(t, nil, map[string]typed{
				linear + ".alpha": alpha, linear + ".lora_up.weight": encode(up, d), linear + ".lora_down.weight": encode(down, d),
				"global_step": {safetensors.I64, nil, little(int64(100))}, "text_model.embeddings.position_ids": {safetensors.I64, []int64{1, 2}, little([]int64{0, 1})},
				"note": {safetensors.F32, []int64{0}, nil}, linear + ".empty": {safetensors.F32, []int64{3, 0}, nil},
			})
			require.Empty(t, f.Summary(), name)
			requireClose(t, want, merged(t, f, content, map[string]values{linearName: w}, 1)[linearName], name+" "+string(d))
		}
	}
	f, content := parseTyped(t, nil, map[string]typed{ // 8-bit floats; a flag as alpha
		linear + ".alpha":            {safetensors.Bool, nil, []byte{1}},
		linear + ".lora_up.weight":   {safetensors.F8E4M3, []int64{outs, 1}, bytes.Repeat([]byte{0x38}, outs)}, // 1
		linear + ".lora_down.weight": {safetensors.F8E5M2, []int64{1, ins}, bytes.Repeat([]byte{0x38}, ins)},   // 0.5
	})
	got := merged(t, f, content, map[string]values{linearName: w}, 1)[linearName]
	requireClose(t, w.with(func(o, i, _ int) float64 { return w.at(o, i) + 0.5 }), got, "8 bits")
}

// What an extraction left over comes as single values.
func TestSparseRemainder(t *testing.T) {
	w, up, down := some(outs, ins), some(outs, rank), some(rank, ins)
	for name, index := range map[string]typed{
		"I64": {safetensors.I64, []int64{2, 3}, little([]int64{0, 3, 3, 1, 11, 11})},
		"I16": {safetensors.I16, []int64{2, 3}, little([]int16{0, 3, 3, 1, 11, 11})},
	} {
		f, content := parseTyped(t, nil, map[string]typed{
			linear + ".alpha": encode(number(2), safetensors.F32), linear + ".lora_up.weight": encode(up, safetensors.F32), linear + ".lora_down.weight": encode(down, safetensors.F32),
			linear + ".bias_indices": index, linear + ".bias_values": encode(values{[]int64{3}, []float32{1, 2, 4}}, safetensors.F32),
			linear + ".bias_size": {safetensors.I64, []int64{2}, little([]int64{outs, ins})},
		})
		require.Empty(t, f.Summary(), name)
		rest := map[[2]int]float64{{0, 1}: 1, {3, 11}: 6}
		want := w.with(func(o, i, _ int) float64 {
			return w.at(o, i) + 0.5*(rest[[2]int{o, i}]+sumOver(rank, func(r int) float64 { return up.at(o, r) * down.at(r, i) }))
		})
		requireClose(t, want, merged(t, f, content, map[string]values{linearName: w}, 1)[linearName], name)
	}
}

// The notes of diffusers tell the strength of files without alphas.
func TestNotesOfDiffusers(t *testing.T) {
	w, up, down := some(outs, ins), some(outs, rank), some(rank, ins)
	const module = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
	for name, tc := range map[string]struct {
		notes string
		want  float64
	}{
		"none":          {`{}`, 1},
		"no JSON":       {`{`, 1},
		"no number":     {`{"unet.lora_alpha": "x"}`, 1},
		"twice":         {`{"unet.r": 4, "unet.lora_alpha": 8}`, 2},
		"of another":    {`{"text_encoder.r": 4, "text_encoder.lora_alpha": 8}`, 1},
		"without name":  {`{"r": 4, "lora_alpha": 8}`, 2},
		"rank-stable":   {`{"unet.lora_alpha": 8, "unet.use_rslora": true}`, 4},
		"pattern":       {`{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 12, "attn2.to_q": 20}}`, 3},
		"expression":    {`{"unet.lora_alpha": 8, "unet.alpha_pattern": {"mid_block.*to_[qk]": 12}}`, 3},
		"not the whole": {`{"unet.lora_alpha": 8, "unet.alpha_pattern": {"o_q": 12}}`, 2},
		"no expression": {`{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_(": 12}}`, 2},
		"null":          {`{"unet.lora_alpha": 8, "unet.alpha_pattern": null, "unet.use_rslora": null}`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f, content := parse(t, map[string]string{"lora_adapter_metadata": tc.notes}, map[string]values{module + ".lora_A.weight": down, module + ".lora_B.weight": up})
			want := w.with(func(o, i, _ int) float64 {
				return w.at(o, i) + tc.want*sumOver(rank, func(r int) float64 { return up.at(o, r) * down.at(r, i) })
			})
			requireClose(t, want, merged(t, f, content, map[string]values{linearName: w}, 1)[linearName], name)
		})
	}
}

// Nothing in a file makes reading it fail otherwise than by saying what does not fit.
func TestShapesThatDoNotFit(t *testing.T) {
	shapes := [][]int64{nil, {1}, {outs}, {ins}, {2, 3}, {outs, ins}, {ins, outs}, {rank, rank}, {1, outs, 1, 1}, {outs, ins, 3, 3}, {rank, rank, 3, 3}, {2, 4, 5, 5}, {2, 3, 5, 5}, {4, 5, 5}, {3, 3, 3, 3, 3}}
	groups := [][]string{
		{"lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "dora_scale", "bias", "bias_indices", "bias_values", "bias_size"},
		{"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "dora_scale"},
		{"lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "alpha"},
		{"lokr_w1_a", "lokr_w1_b", "lokr_w2", "scalar"},
		{"a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"},
		{"oft_blocks", "rescale", "alpha"},
		{"oft_diag", "rescale"},
		{"weight", "on_input"},
		{"diff", "diff_b"},
		{"w_norm", "b_norm"},
		{"lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector"},
	}
	applied := 0
	for range 400 {
		parts := map[string]values{}
		for _, role := range groups[random.IntN(len(groups))] {
			if random.IntN(5) > 0 {
				parts[role] = some(shapes[random.IntN(len(shapes))]...)
			}
		}
		f, content := parse(t, nil, prefixed(linear, parts))
		for _, c := range f.Changes {
			for _, shape := range [][]int64{{outs, ins}, {outs, ins, 3, 3}, {outs}, {outs, 9, 3, 3}} {
				var arena adapter.Arena
				d, err := c.Prepare(adapter.Plain{}, bytes.NewReader(content), shape, &arena)
				if err != nil {
					var unfit *adapter.UnfitError
					require.ErrorAs(t, err, &unfit, "%v", parts)
					continue
				}
				applied++
				w := some(shape...)
				require.NoError(t, d.Apply(w.data, 0, outs, 1, &arena))
			}
		}
	}
	require.NotZero(t, applied)
}

// What cannot be read is left out with the name of its kind.
func TestOtherTuners(t *testing.T) {
	const module = "base_model.model.mid_block.attentions.0.proj_in."
	a, b := values{[]int64{4, 24}, make([]float32, 96)}, values{[]int64{40, 4}, make([]float32, 160)}
	lora := map[string]values{module + "lora_A.weight": a, module + "lora_B.weight": b}
	for name, kind := range map[string]string{
		module + "fourierft_spectrum": "FourierFT", module + "waveft_spectrum": "WaveFT", module + "vblora_logits_A": "VB-LoRA", module + "randlora_lambda": "RandLoRA",
		module + "pvera_lambda_b": "PVeRA", module + "frod_lambda_l": "FRoD", module + "glora_A.Xd": "GLoRA as PEFT writes it", module + "lily_A.weight": "Lily",
		module + "osf_svd_params.U_low": "OSF", module + "peanut_A.weight": "PEANuT", module + "supertuning_values": "SuperTuning", module + "tinylora_P": "TinyLoRA",
		"base_model.unilora_theta_d": "UniLoRA", module + "poly_lora_A": "Poly", module + "poly_router.module_logits": "Poly", module + "deft_P": "DEFT",
		module + "psoft_M": "PSOFT", module + "adamss_A": "AdaMSS", "lora_unet_mid_block_attentions_0_proj_in.lambda_layer": "T-LoRA",
	} {
		require.True(t, adapter.Recognize(name), name)
		f, _ := parse(t, nil, map[string]values{name: a})
		require.Contains(t, f.Summary(), "1 of its 1 modules were left out: 1 are of the kind "+kind+", which is not read here", name)
		require.Empty(t, f.Changes, name)
	}
	require.True(t, adapter.Recognize("base_model.model.mid_block.resnets.0.norm1.ln_tuning_layers.weight"))
	problem := func(config string, arrays map[string]values) error {
		f, content := parse(t, nil, arrays)
		f.Configure([]byte(config))
		require.Len(t, f.Changes, 1)
		_, err := f.Changes[0].Prepare(adapter.Plain{}, bytes.NewReader(content), []int64{40, 24}, new(adapter.Arena))
		return err
	}
	require.NoError(t, problem(`{"r": 4, "lora_alpha": 4, "init_lora_weights": true}`, lora))
	for _, method := range []string{"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"} {
		err := problem(`{"r": 4, "lora_alpha": 4, "init_lora_weights": "`+method+`"}`, lora)
		require.ErrorContains(t, err, "fit only the base that PEFT changed as it began ("+method+")")
	}
	require.ErrorContains(t, problem("{}", map[string]values{
		module + "vera_lambda_b": {[]int64{40}, make([]float32, 40)}, module + "vera_lambda_d": {[]int64{4}, make([]float32, 4)},
	}), "save_projection")
}

// The parts of PEFT's kinds fit each other and the layer, or they are left out.
func TestTunersThatDoNotFit(t *testing.T) {
	const module = "base_model.model.mid_block.attentions.0.proj_in."
	of := func(shape ...int64) values {
		n := int64(1)
		for _, side := range shape {
			n *= side
		}
		return values{shape, make([]float32, n)}
	}
	// places are those of a SHiRA for a layer of some sides.
	places := func(n, outs, ins int) map[string]values {
		at := of(2, int64(n))
		for i := range n {
			at.data[i], at.data[n+i] = float32(i%outs), float32(i*7%ins)
		}
		return map[string]values{"shira_weight": of(int64(n)), "shira_indices": at}
	}
	for name, parts := range map[string]map[string]values{
		"VeRA of a narrow matrix":     {"vera_lambda_b": of(40), "vera_lambda_d": of(4), "vera_A": of(4, 23), "vera_B": of(40, 4)},
		"VeRA of two ranks":           {"vera_lambda_b": of(40), "vera_lambda_d": of(4), "vera_A": of(5, 24), "vera_B": of(40, 4)},
		"DeLoRA of two ranks":         {"delora_A": of(4, 24), "delora_B": of(40, 3), "delora_lambda": of(1), "delora_w_norm": of(24)},
		"GraLoRA of another layer":    {"gralora_A": of(2, 13, 8), "gralora_B": of(2, 8, 20)},
		"GraLoRA of an odd rank":      {"gralora_A": of(2, 12, 7), "gralora_B": of(2, 7, 20)},
		"GraLoRA of half a rest":      {"gralora_A": of(2, 12, 8), "gralora_B": of(2, 8, 20), "gralora_A_general.weight": of(2, 24)},
		"MiSS of another layer":       {"miss_block": of(8, 39)},
		"MiSS in blocks of no square": {"miss_block": of(5, 8, 7)},
		"MiSS in blocks too many":     {"miss_block": of(6, 8, 8)},
		"C3A of another layer":        {"c3a_kernel": of(5, 4, 8)},
		"SHiRA of two lengths":        {"shira_weight": of(3), "shira_indices": of(2, 4)},
		"SHiRA outside":               {"shira_weight": of(1), "shira_indices": {[]int64{2, 1}, []float32{0, 24}}},
		"HiRA of two ranks":           {"hira_A": of(4, 24), "hira_B": of(40, 3)},
		"HRA of another layer":        {"hra_u": of(25, 4)},
		"RoAd of another layer":       {"road_theta": of(21), "road_alpha": of(21)},
		"AdaLoRA of two ranks":        {"lora_A": of(4, 24), "lora_B": of(40, 4), "lora_E": of(3, 1)},
		"MiSS of a narrow layer":      {"miss_block": of(8, 20)},
		"SHiRA of a narrow layer":     places(32, 20, 12),
		"SHiRA of a half":             places(64, 20, 12),
		"rotation of a narrow layer":  {"oft_R.weight": of(1, 28), "../resnets.0.conv1.oft_R.weight": of(3, 28)},
		"difference turned":           {"diff": of(24, 40)},
		"remainder turned":            {"lora_up.weight": of(40, 4), "lora_down.weight": of(4, 24), "bias": of(24, 40)},
	} {
		arrays := map[string]values{}
		for role, v := range parts {
			if role == "vera_A" || role == "vera_B" {
				arrays["base_model."+role] = v
				continue
			}
			if other, ok := strings.CutPrefix(role, "../"); ok {
				arrays["base_model.model.mid_block."+other] = v
				continue
			}
			arrays[module+role] = v
		}
		f, content := parse(t, nil, arrays)
		require.NotEmpty(t, f.Changes, name)
		for _, c := range f.Changes {
			if !strings.Contains(c.Module, "proj_in") {
				continue
			}
			_, err := c.Prepare(adapter.Plain{}, bytes.NewReader(content), []int64{40, 24}, new(adapter.Arena))
			require.ErrorAs(t, err, new(*adapter.UnfitError), name)
		}
	}
}

// Sizes that fit a layer by accident are told by PEFT's settings.
func TestTunersOfAnotherLayer(t *testing.T) {
	const module = "base_model.model.mid_block.attentions.0.proj_in."
	places := some(2, 128)
	for i := range 128 {
		places.data[i], places.data[128+i] = float32(i%40), float32(i%24)
	}
	shira := map[string]values{"shira_weight": some(128), "shira_indices": places}
	for name, tc := range map[string]struct {
		parts        map[string]values
		right, wrong string
	}{
		"SHiRA":      {shira, `{"r": 2}`, `{"r": 4}`},
		"MiSS":       {map[string]values{"miss_block": some(8, 4)}, `{"init_weights": "mini", "mini_r": 4}`, `{"init_weights": true, "mini_r": 1}`},
		"RoAd":       {map[string]values{"road_theta": some(40), "road_alpha": some(40)}, `{"variant": "road_2", "group_size": 8}`, `{"variant": "road_1", "group_size": 8}`},
		"OFT shared": {map[string]values{"oft_R.weight": some(1, 28)}, `{"block_share": true}`, `{"block_share": false}`},
	} {
		arrays := map[string]values{}
		for role, v := range tc.parts {
			arrays[module+role] = v
		}
		for config, fits := range map[string]bool{tc.right: true, tc.wrong: false} {
			f, content := parse(t, nil, arrays)
			f.Configure([]byte(config))
			require.NotEmpty(t, f.Changes, name)
			_, err := f.Changes[len(f.Changes)-1].Prepare(adapter.Plain{}, bytes.NewReader(content), []int64{40, 24}, new(adapter.Arena))
			if fits {
				require.NoError(t, err, name)
				continue
			}
			require.EqualError(t, err, "adapters that have another shape than the layer", name)
		}
	}
}
