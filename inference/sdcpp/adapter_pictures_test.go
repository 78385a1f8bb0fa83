//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// grid is a matrix in float64. A weight of a convolution has a row for each output.
type grid struct {
	rows, cols int
	v          []float64
}

func newGrid(rows, cols int, f func(i, j int) float64) grid {
	g := grid{rows, cols, make([]float64, rows*cols)}
	for i := range rows {
		for j := range cols {
			g.v[i*cols+j] = f(i, j)
		}
	}
	return g
}

func (g grid) at(i, j int) float64 { return g.v[i*g.cols+j] }

func (g grid) mul(h grid) grid {
	return newGrid(g.rows, h.cols, func(i, j int) float64 {
		sum := 0.0
		for k := range g.cols {
			sum += g.at(i, k) * h.at(k, j)
		}
		return sum
	})
}

// with combines two grids value by value.
func (g grid) with(h grid, f func(x, y float64) float64) grid {
	return newGrid(g.rows, g.cols, func(i, j int) float64 { return f(g.at(i, j), h.at(i, j)) })
}

func (g grid) plus(h grid) grid {
	return g.with(h, func(x, y float64) float64 { return x + y })
}

func (g grid) times(s float64) grid {
	return newGrid(g.rows, g.cols, func(i, j int) float64 { return s * g.at(i, j) })
}

func (g grid) transposed() grid {
	return newGrid(g.cols, g.rows, func(i, j int) float64 { return g.at(j, i) })
}

func unit(n int) grid {
	return newGrid(n, n, func(i, j int) float64 {
		if i == j {
			return 1
		}
		return 0
	})
}

// inverse eliminates with pivots.
func (g grid) inverse() grid {
	n := g.rows
	m := newGrid(n, 2*n, func(i, j int) float64 {
		if j < n {
			return g.at(i, j)
		}
		return unit(n).at(i, j-n)
	})
	for k := range n {
		pivot := k
		for i := k; i < n; i++ {
			if math.Abs(m.at(i, k)) > math.Abs(m.at(pivot, k)) {
				pivot = i
			}
		}
		for j := range 2 * n {
			m.v[k*2*n+j], m.v[pivot*2*n+j] = m.v[pivot*2*n+j], m.v[k*2*n+j]
		}
		for i := range n {
			f := m.at(i, k) / m.at(k, k)
			for j := range 2 * n {
				if i != k {
					m.v[i*2*n+j] -= f * m.v[k*2*n+j]
				}
			}
		}
		f := m.at(k, k)
		for j := range 2 * n {
			m.v[k*2*n+j] /= f
		}
	}
	return newGrid(n, n, func(i, j int) float64 { return m.at(i, n+j) })
}

// rotation is (I + Q)(I - Q)^-1 with Q = B - B^T.
func (g grid) rotation() grid {
	q := g.plus(g.transposed().times(-1))
	return unit(g.rows).plus(q).mul(unit(g.rows).plus(q.times(-1)).inverse())
}

// rowsOf returns n rows.
func (g grid) rowsOf(first, n int) grid {
	return grid{n, g.cols, g.v[first*g.cols : (first+n)*g.cols]}
}

// lengths are the norms of rows.
func (g grid) lengths() []float64 {
	out := make([]float64, g.rows)
	for i := range out {
		for _, x := range g.rowsOf(i, 1).v {
			out[i] += x * x
		}
		out[i] = math.Sqrt(out[i])
	}
	return out
}

// array makes a tensor of a grid.
func (g grid) array(shape ...int64) array {
	a := array{shape: shape, values: make([]float32, len(g.v))}
	for i, x := range g.v {
		a.values[i] = float32(x)
	}
	return a
}

// Each kind of adapter paints the picture of a checkpoint into which the formula of
// the paper was merged, in float64. Layers are of the tiny UNet's first block, where
// a change is seen best.
func TestPicturesOfAdapters(t *testing.T) {
	const (
		block      = "model.diffusion_model.input_blocks.1."
		linearName = block + "1.transformer_blocks.0.attn1.to_v.weight"
		convName   = block + "0.in_layers.2.weight"
		normName   = block + "0.in_layers.0.weight"
		linear     = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_v"
		conv       = "lora_unet_down_blocks_0_resnets_0_conv1"
		norm       = "lora_unet_down_blocks_0_resnets_0_norm1"
		biasName   = block + "1.transformer_blocks.0.attn1.to_out.0.bias"
		lnName     = block + "1.transformer_blocks.0.norm1.weight"
		wideName   = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_v.weight"
		peftBlock  = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0."
		peft       = peftBlock + "attn1."
		value      = peft + "to_v."
		wideLayer  = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v."
		side       = 32 // inputs and outputs of the layers
		rank       = 4
	)
	r := rand.New(rand.NewPCG(5, 6))
	random := func(rows, cols int, size float64) grid {
		return newGrid(rows, cols, func(int, int) float64 { return float64(float32(r.NormFloat64() * size)) })
	}
	up, down := random(side, rank, 0.4), random(rank, side, 0.4)
	up2, down2 := random(side, rank, 1), random(rank, side, 1)
	downConv := random(rank, side*9, 0.4)
	core := random(rank, rank*9, 0.4) // [rank][rank][3][3]
	scale := newGrid(side, 1, func(int, int) float64 { return 1 + 2*r.Float64() })
	k1, k2, k2Conv := random(4, 4, 1), random(8, 8, 0.5), random(8, 8*9, 0.3)
	vector, blocks, stages := random(side, 1, 1), random(side, 8, 0.5), random(2*side, 8, 0.5)
	dense := random(side, side, 0.4)
	normDiff := random(side, 1, 2)
	spread, wide, circles, single := random(rank, 1, 2), random(rank, side+8, 0.4), random(16, 8, 8), random(2*side, 1, 3)
	places := newGrid(2, 2*side, func(i, k int) float64 { return float64((k + i*(k/side*5+k*6)) % side) })
	angles := random(side, 1, 1)
	lengths := newGrid(side, 1, func(int, int) float64 { return float64(float32(2 + r.Float64())) })

	// stretched multiplies each row.
	stretched := func(g, factors grid) grid {
		return newGrid(g.rows, g.cols, func(i, j int) float64 { return g.at(i, j) * factors.at(i, 0) })
	}
	// tucker is up (core x down) of a convolution: [out][in][kernel].
	tucker := func(core, up, down grid) grid {
		return newGrid(up.rows, down.cols*9, func(o, j int) float64 {
			sum := 0.0
			for m := range up.cols {
				for n := range down.rows {
					sum += up.at(o, m) * core.at(m, n*9+j%9) * down.at(n, j/9)
				}
			}
			return sum
		})
	}
	// kronecker is a (x) b, where b has kernels.
	kronecker := func(a, b grid, kernel int) grid {
		in := b.cols / kernel
		return newGrid(a.rows*b.rows, a.cols*b.cols, func(o, j int) float64 {
			i, k := j/kernel, j%kernel
			return a.at(o/b.rows, i/in) * b.at(o%b.rows, i%in*kernel+k)
		})
	}
	dora := func(v grid) grid {
		lengths := v.lengths()
		return newGrid(v.rows, v.cols, func(i, j int) float64 { return v.at(i, j) * scale.at(i, 0) / lengths[i] })
	}
	// turned applies R^T to blocks of rows.
	turned := func(w, blocks grid) grid {
		n := blocks.cols
		out := grid{w.rows, w.cols, nil}
		for i := 0; i < w.rows; i += n {
			out.v = append(out.v, blocks.rowsOf(i, n).rotation().transposed().mul(w.rowsOf(i, n)).v...)
		}
		return out
	}
	// butterfly applies stages of rotations R: in stage s the rows (c, g, k) with g of 2
	// and k of 2^s half blocks are turned in the order (c, k, g).
	butterfly := func(w, stages grid) grid {
		n := stages.cols
		for s := range stages.rows / w.rows {
			run := n / 2 << s
			order := make([]int, w.rows)
			for p := range order {
				c, g, k := p/(2*run), p/run%2, p%run
				order[(c*run+k)*2+g] = p
			}
			sorted := newGrid(w.rows, w.cols, func(i, j int) float64 { return w.at(order[i], j) })
			out := newGrid(w.rows, w.cols, func(int, int) float64 { return 0 })
			for i := 0; i < w.rows; i += n {
				b := stages.rowsOf(s*w.rows+i, n).rotation().mul(sorted.rowsOf(i, n))
				for j := range n {
					copy(out.v[order[i+j]*w.cols:(order[i+j]+1)*w.cols], b.v[j*w.cols:(j+1)*w.cols])
				}
			}
			w = out
		}
		return w
	}
	pair := map[string]array{linear + ".lora_up.weight": up.array(side, rank), linear + ".lora_down.weight": down.array(rank, side), linear + ".alpha": scalar(2 * rank)}
	pairConv := map[string]array{conv + ".lora_up.weight": up.array(side, rank, 1, 1), conv + ".lora_down.weight": downConv.array(rank, side, 3, 3)}
	type parts = map[string]array
	with := func(a parts, name string, value array) parts {
		out := parts{name: value}
		maps.Copy(out, a)
		return out
	}

	plain := model(t, synth.Checkpoint)
	changed := filepath.Join(t.TempDir(), "merged.safetensors")
	copyFile(t, plain, changed)
	paint := painter(t, plain)
	without := paint("", nil)
	for name, c := range map[string]struct {
		parts  parts
		tensor string
		merged func(w grid) grid
	}{
		"LoRA":          {pair, linearName, func(w grid) grid { return w.plus(up.mul(down).times(2)) }},
		"LoCon":         {pairConv, convName, func(w grid) grid { return w.plus(up.mul(downConv)) }},
		"LoCon, Tucker": {parts{conv + ".lora_up.weight": up.array(side, rank, 1, 1), conv + ".lora_down.weight": down.array(rank, side, 1, 1), conv + ".lora_mid.weight": core.array(rank, rank, 3, 3)}, convName, func(w grid) grid { return w.plus(tucker(core, up, down)) }},
		"DoRA of rows":  {with(pair, linear+".dora_scale", scale.array(side, 1)), linearName, func(w grid) grid { return dora(w.plus(up.mul(down).times(2))) }},
		"DoRA of inputs": {with(pair, linear+".dora_scale", scale.array(1, side)), linearName, func(w grid) grid {
			return dora(w.plus(up.mul(down).times(2)).transposed()).transposed()
		}},
		"DoRA of a convolution": {with(pairConv, conv+".dora_scale", scale.array(side, 1, 1, 1)), convName, func(w grid) grid { return dora(w.plus(up.mul(downConv))) }},
		"LoHa": {parts{linear + ".hada_w1_a": up.array(side, rank), linear + ".hada_w1_b": down.array(rank, side), linear + ".hada_w2_a": up2.array(side, rank), linear + ".hada_w2_b": down2.array(rank, side)}, linearName, func(w grid) grid {
			return w.plus(up.mul(down).with(up2.mul(down2), func(x, y float64) float64 { return x * y }))
		}},
		"LoKr":                  {parts{linear + ".lokr_w1": k1.array(4, 4), linear + ".lokr_w2": k2.array(8, 8)}, linearName, func(w grid) grid { return w.plus(kronecker(k1, k2, 1)) }},
		"LoKr of a convolution": {parts{conv + ".lokr_w1": k1.array(4, 4), conv + ".lokr_w2": k2Conv.array(8, 8, 3, 3)}, convName, func(w grid) grid { return w.plus(kronecker(k1, k2Conv, 9)) }},
		"GLoRA": {parts{linear + ".a1.weight": up.array(side, rank), linear + ".a2.weight": down.array(rank, side), linear + ".b1.weight": up2.array(side, rank), linear + ".b2.weight": down2.array(rank, side)}, linearName, func(w grid) grid {
			return w.plus(w.mul(up).mul(down)).plus(up2.mul(down2))
		}},
		"IA3": {parts{linear + ".weight": vector.array(side, 1), linear + ".on_input": scalar(0)}, linearName, func(w grid) grid {
			return newGrid(side, side, func(i, j int) float64 { return w.at(i, j) * (1 + vector.at(i, 0)) })
		}},
		"IA3 of inputs": {parts{linear + ".weight": vector.array(1, side), linear + ".on_input": scalar(1)}, linearName, func(w grid) grid {
			return newGrid(side, side, func(i, j int) float64 { return w.at(i, j) * (1 + vector.at(j, 0)) })
		}},
		"OFT":                  {parts{linear + ".oft_blocks": blocks.array(4, 8, 8), linear + ".alpha": scalar(0)}, linearName, func(w grid) grid { return turned(w, blocks) }},
		"OFT of a convolution": {parts{conv + ".oft_blocks": blocks.array(4, 8, 8), conv + ".alpha": scalar(0)}, convName, func(w grid) grid { return turned(w, blocks) }},
		"BOFT":                 {parts{linear + ".oft_blocks": stages.array(2, 4, 8, 8), linear + ".alpha": scalar(0)}, linearName, func(w grid) grid { return butterfly(w, stages) }},
		"full difference":      {parts{linear + ".diff": dense.array(side, side)}, linearName, func(w grid) grid { return w.plus(dense) }},
		"whole weight of PEFT": {parts{
			peft + "to_v.weight": dense.array(side, side), peft + "to_k.lora_A.weight": down.array(rank, side), peft + "to_k.lora_B.weight": filled(0, side, rank),
		}, linearName, func(grid) grid { return dense }},
		"norm": {parts{norm + ".w_norm": normDiff.array(side)}, normName, func(w grid) grid { return w.plus(normDiff) }},
		"AdaLoRA": {parts{value + "lora_A": down.array(rank, side), value + "lora_B": up.array(side, rank), value + "lora_E": spread.array(rank, 1)}, linearName, func(w grid) grid {
			return w.plus(up.mul(stretched(down, spread)))
		}},
		"VeRA": {parts{
			"base_model.vera_A": wide.array(rank, side+8), "base_model.vera_B": up.array(side, rank), value + "vera_lambda_b": scale.array(side), value + "vera_lambda_d": spread.array(rank),
		}, linearName, func(w grid) grid {
			return w.plus(stretched(up.mul(stretched(newGrid(rank, side, wide.at), spread)), scale))
		}},
		"DeLoRA": {parts{value + "delora_A": down.array(rank, side), value + "delora_B": up.array(side, rank), value + "delora_lambda": scalar(40).shaped(1), value + "delora_w_norm": scale.array(side)}, linearName, func(w grid) grid {
			rows, columns := down.lengths(), up.transposed().lengths()
			d := newGrid(rank, side, func(k, j int) float64 { return down.at(k, j) * 40 / rank / rows[k] / columns[k] * scale.at(j, 0) })
			return w.plus(up.mul(d))
		}},
		// alpha is 64 unless PEFT's settings say otherwise; all is one block.
		"GraLoRA": {parts{value + "gralora_A": down.transposed().array(1, side, rank), value + "gralora_B": up.transposed().array(1, rank, side)}, linearName, func(w grid) grid {
			return w.plus(up.mul(down).times(64 / rank))
		}},
		"MiSS": {parts{value + "miss_block": down.array(rank, side)}, linearName, func(w grid) grid {
			return newGrid(side, side, func(o, i int) float64 { return w.at(o, i) + down.at(i%rank, o) })
		}},
		"C3A": {parts{value + "c3a_kernel": circles.array(4, 4, 8)}, linearName, func(w grid) grid {
			return newGrid(side, side, func(o, i int) float64 {
				return w.at(o, i) + circles.at(o/8*4+i/8, ((i-o)%8+8)%8)/side
			})
		}},
		"SHiRA": {parts{value + "shira_weight": single.array(2 * side), value + "shira_indices": places.array(2, 2*side)}, linearName, func(w grid) grid {
			out := w.times(1)
			for k := range 2 * side {
				out.v[int(places.at(0, k))*side+int(places.at(1, k))] += single.at(k, 0)
			}
			return out
		}},
		"HiRA": {parts{value + "hira_A": down.array(rank, side), value + "hira_B": up.array(side, rank)}, linearName, func(w grid) grid {
			return w.with(up.mul(down), func(x, f float64) float64 { return x + x*f })
		}},
		"HRA": {parts{value + "hra_u": down.transposed().array(side, rank)}, linearName, func(w grid) grid {
			for k, length := range down.lengths() {
				u := down.rowsOf(k, 1).times(1 / length)
				w = w.plus(w.mul(u.transposed()).mul(u).times(-2))
			}
			return w
		}},
		// Groups of 64 outputs unless the settings say otherwise: those of the next block.
		"RoAd": {parts{wideLayer + "road_theta": angles.array(side), wideLayer + "road_alpha": lengths.array(side)}, wideName, func(w grid) grid {
			return newGrid(w.rows, w.cols, func(o, j int) float64 {
				pair := o/64*32 + o%32
				x, y := w.at(o/64*64+o%32, j), w.at(o/64*64+o%32+32, j)
				c, s := lengths.at(pair, 0)*math.Cos(angles.at(pair, 0)), lengths.at(pair, 0)*math.Sin(angles.at(pair, 0))
				if o%64 < 32 {
					return c*x - s*y
				}
				return c*y + s*x
			})
		}},
		"BEFT":      {parts{peftBlock + "attn1.to_out.0.beft_bias": normDiff.array(1, side)}, biasName, func(w grid) grid { return w.plus(normDiff) }},
		"LN tuning": {parts{peftBlock + "norm1.ln_tuning_layers.weight": normDiff.array(side)}, lnName, func(grid) grid { return normDiff }},
	} {
		t.Run(name, func(t *testing.T) {
			got := paint("<lora:x:1>", map[string]string{"x": writeLoRA(t, c.parts)})
			undo := changeTensor(t, changed, c.tensor, c.merged)
			want := painter(t, changed)("", nil)
			undo()
			likeness := psnr(got.Pix, want.Pix)
			t.Logf("%.1f dB to the right picture, %.1f dB to the one without", likeness, psnr(got.Pix, without.Pix))
			require.Greater(t, likeness, float64(minPSNR))
			require.Less(t, psnr(got.Pix, without.Pix), float64(40), "a change that is not seen")
		})
	}
}

// painter returns a function that makes a small picture with a checkpoint.
func painter(t *testing.T, checkpoint string) func(tags string, loras map[string]string) imageio.RGB {
	t.Helper()
	p := inference.NewPipeline(func(ctx context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		return sdcpp.Open(ctx, sdcpp.Options{Checkpoint: checkpoint, Log: zerolog.Nop(), Device: os.Getenv("SDWORKER_TEST_DEVICE")})
	}, inference.PipelineOptions{})
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return func(tags string, loras map[string]string) imageio.RGB {
		res, err := p.Generate(t.Context(), &inference.Request{
			Prompt: strings.TrimSpace("a lovely cat " + tags), Seed: 3, SeedResizeW: -1, SeedResizeH: -1, Sampler: "Euler", Steps: 2, CFGScale: 7,
			Width: 64, Height: 64, BatchSize: 1, BatchNum: 1, Files: inference.Files{Checkpoint: checkpoint, LoRAs: loras}, Settings: inference.DefaultSettings(),
		}, inference.Hooks{})
		require.NoError(t, err)
		require.Empty(t, res.Comments)
		return res.Images[0].Pixels
	}
}

// changeTensor computes a tensor of a file anew and returns a function that brings
// the old one back.
func changeTensor(t *testing.T, path, name string, f func(grid) grid) (undo func()) {
	t.Helper()
	h, err := safetensors.ReadHeaderFile(path)
	require.NoError(t, err)
	at := slices.IndexFunc(h.Tensors, func(t safetensors.Tensor) bool { return t.Name == name })
	require.NotEqual(t, -1, at, name)
	tensor := h.Tensors[at]
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer file.Close()
	before, start := make([]byte, tensor.Size), h.DataStart+tensor.Offset
	_, err = file.ReadAt(before, start)
	require.NoError(t, err)
	values := make([]float32, tensor.Elements())
	require.NoError(t, safetensors.Decode(values, before, tensor.DType))
	rows := int(tensor.Shape[0])
	w := newGrid(rows, len(values)/rows, func(i, j int) float64 { return float64(values[i*len(values)/rows+j]) })
	raw := make([]byte, tensor.Size)
	_, err = safetensors.Encode(raw, f(w).array().values, tensor.DType)
	require.NoError(t, err)
	_, err = file.WriteAt(raw, start)
	require.NoError(t, err)
	return func() {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		defer file.Close()
		_, err = file.WriteAt(before, start)
		require.NoError(t, err)
	}
}
