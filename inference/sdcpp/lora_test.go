//go:build cgo && sdcpp

package sdcpp_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/sdcpp"
	"sdworker/models"
	"sdworker/models/adapter"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

type array struct {
	shape  []int64
	values []float32
}

// matrix fills an array with multiples of 1/64, so that sums and products are exact.
func matrix(seed int, shape ...int64) array {
	n := int64(1)
	for _, s := range shape {
		n *= s
	}
	a := array{shape: shape, values: make([]float32, n)}
	for i := range a.values {
		a.values[i] = float32((i*37+seed*11)%9-4) / 64
	}
	return a
}

func filled(v float32, shape ...int64) array {
	a := matrix(0, shape...)
	for i := range a.values {
		a.values[i] = v
	}
	return a
}

func scalar(v float32) array { return array{values: []float32{v}} }

// times returns a[n][r] * b[r][m].
func times(a, b array) array {
	r := b.shape[0]
	n, m := int64(len(a.values))/r, int64(len(b.values))/r
	out := array{shape: []int64{n, m}, values: make([]float32, n*m)}
	for i := range n {
		for k := range r {
			for j := range m {
				out.values[i*m+j] += a.values[i*r+k] * b.values[k*m+j]
			}
		}
	}
	return out
}

func (a array) shaped(shape ...int64) array { return array{shape, a.values} }

// writeLoRA writes float32 arrays as a safetensors file.
func writeLoRA(t *testing.T, arrays map[string]array) string {
	t.Helper()
	var list []safetensors.Tensor
	data := map[string][]byte{}
	for name, a := range arrays {
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: a.shape})
		data[name] = modelstest.Data(t, safetensors.F32, a.values...)
	}
	slices.SortFunc(list, func(a, b safetensors.Tensor) int { return len(a.Name) - len(b.Name) })
	return modelstest.WriteData(t, filepath.Join(t.TempDir(), "lora.safetensors"), nil, data, list...)
}

// setLoRAs demands that nothing of the LoRAs is left out.
func setLoRAs(t *testing.T, e *sdcpp.Engine, loras ...inference.LoRA) {
	t.Helper()
	reports, err := e.SetLoRAs(t.Context(), loras)
	require.NoError(t, err)
	require.Len(t, reports, len(loras))
	for _, r := range reports {
		require.Empty(t, r)
	}
}

// One change of one weight, written in every form that adapter files have: the
// merged weights must agree bit by bit.
func TestAdapterForms(t *testing.T) {
	const rank = 4
	const ch = 4 * 32 // the tiny UNet's width in the middle
	const kohya = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
	const diffusers = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
	up, down := matrix(1, ch, rank), matrix(2, rank, ch)
	product := times(up, down)

	const conv = "lora_unet_mid_block_resnets_0_conv1"
	core := filled(0, rank, rank, 3, 3) // a unit matrix in the middle of the kernel
	for i := range rank {
		core.values[(i*rank+i)*9+4] = 1
	}
	center := filled(0, rank, ch, 3, 3)
	for i, v := range down.values {
		center.values[i*9+4] = v
	}

	const text = "lora_te_text_model_encoder_layers_3_self_attn_k_proj"
	const textDiffusers = "text_encoder.text_model.encoder.layers.3.self_attn.k_proj"
	textUp, textDown := matrix(3, 768, rank), matrix(4, rank, 768)

	const wide = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_2" // [ch, 4*ch]
	left, right := matrix(5, 2, 4), matrix(6, ch/2, ch)

	for name, forms := range map[string]map[string]map[string]array{
		"linear": {
			"kohya":             {kohya + ".lora_up.weight": up, kohya + ".lora_down.weight": down, kohya + ".alpha": scalar(rank)},
			"kohya, no alpha":   {kohya + ".lora_up.weight": up, kohya + ".lora_down.weight": down},
			"kohya, half alpha": {kohya + ".lora_up.weight": scaled(up, 2), kohya + ".lora_down.weight": down, kohya + ".alpha": scalar(rank / 2)},
			"PEFT":              {diffusers + ".lora_B.weight": up, diffusers + ".lora_A.weight": down},
			"whole":             {kohya + ".diff": product},
			"LoHa": {
				kohya + ".hada_w1_a": up, kohya + ".hada_w1_b": down,
				kohya + ".hada_w2_a": filled(1, ch, 1), kohya + ".hada_w2_b": filled(1, 1, ch), kohya + ".alpha": scalar(rank),
			},
			"LoKr, whole": {kohya + ".lokr_w1": filled(1, 1, 1), kohya + ".lokr_w2": product},
			"LoKr, parts": {kohya + ".lokr_w1": filled(1, 1, 1), kohya + ".lokr_w2_a": up, kohya + ".lokr_w2_b": down, kohya + ".alpha": scalar(rank)},
		},
		"convolution": {
			"kohya": {conv + ".lora_up.weight": up.shaped(ch, rank, 1, 1), conv + ".lora_down.weight": center},
			"Tucker": {
				conv + ".lora_up.weight": up.shaped(ch, rank, 1, 1), conv + ".lora_down.weight": down.shaped(rank, ch, 1, 1),
				conv + ".lora_mid.weight": core,
			},
		},
		"text encoder": {
			"kohya": {text + ".lora_up.weight": textUp, text + ".lora_down.weight": textDown},
			"PEFT":  {textDiffusers + ".lora_B.weight": textUp, textDiffusers + ".lora_A.weight": textDown},
			"whole": {text + ".diff": times(textUp, textDown)},
		},
		"first convolution": {
			"diffusers":  {"lora_unet_conv_in.diff": matrix(7, 32, 4, 3, 3)},
			"checkpoint": {"lora_unet_input_blocks_0_0.diff": matrix(7, 32, 4, 3, 3)},
		},
		"last convolution": {
			"diffusers":  {"lora_unet_conv_out.diff": matrix(8, 4, 32, 3, 3)},
			"checkpoint": {"lora_unet_out_2.diff": matrix(8, 4, 32, 3, 3)},
		},
		"time": {
			"kohya":      {"lora_unet_time_embedding_linear_1.diff": matrix(9, 128, 32), "lora_unet_time_embedding_linear_2.diff": matrix(9, 128, 128)},
			"diffusers":  {"unet.time_embedding.linear_1.diff": matrix(9, 128, 32), "unet.time_embedding.linear_2.diff": matrix(9, 128, 128)},
			"checkpoint": {"lora_unet_time_embed_0.diff": matrix(9, 128, 32), "lora_unet_time_embed_2.diff": matrix(9, 128, 128)},
		},
		"residual block": {
			"kohya": {
				"lora_unet_up_blocks_2_resnets_1_conv_shortcut.diff": matrix(10, 64, 128, 1, 1),
				"lora_unet_up_blocks_2_resnets_1_time_emb_proj.diff": matrix(11, 64, 128),
				"lora_unet_up_blocks_1_upsamplers_0_conv.diff":       matrix(12, 128, 128, 3, 3),
			},
			"checkpoint": {
				"lora_unet_output_blocks_7_0_skip_connection.diff": matrix(10, 64, 128, 1, 1),
				"lora_unet_output_blocks_7_0_emb_layers_1.diff":    matrix(11, 64, 128),
				"lora_unet_output_blocks_5_2_conv.diff":            matrix(12, 128, 128, 3, 3),
			},
		},
		"Kronecker": {
			"LoKr":  {wide + ".lokr_w1": left, wide + ".lokr_w2": right},
			"whole": {wide + ".diff": kronecker(left, right)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
			defer e.Close()
			plain := e.WeightsHash()
			var want uint64
			for form, arrays := range forms {
				setLoRAs(t, e, inference.LoRA{Path: writeLoRA(t, arrays), UNet: 0.5, TextEncoder: 0.5})
				got := e.WeightsHash()
				require.NotEqual(t, plain, got, form)
				if want == 0 {
					want = got
				}
				require.Equal(t, want, got, form)
			}
			setLoRAs(t, e)
			require.Equal(t, plain, e.WeightsHash())
		})
	}
}

// What does not fit is left out and told; the rest of the file acts, and so do the
// other files.
func TestAdaptersThatDoNotFit(t *testing.T) {
	const name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
	const other = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	plain := e.WeightsHash()
	good := map[string]array{other + ".lora_up.weight": matrix(1, 128, 4), other + ".lora_down.weight": matrix(2, 4, 128)}
	fits := inference.LoRA{Path: writeLoRA(t, good), UNet: 1}
	setLoRAs(t, e, fits)
	want := e.WeightsHash()
	for form, arrays := range map[string]map[string]array{
		"of a wider model":  {name + ".lora_up.weight": matrix(1, 1280, 4), name + ".lora_down.weight": matrix(2, 4, 1280)},
		"of two ranks":      {name + ".lora_up.weight": matrix(1, 128, 3), name + ".lora_down.weight": matrix(2, 4, 128)},
		"without up":        {name + ".lora_down.weight": matrix(2, 4, 128)},
		"without down":      {name + ".lora_up.weight": matrix(1, 128, 4)},
		"Kronecker vectors": {name + ".lokr_w1": filled(1, 4), name + ".lokr_w2": filled(1, 32)},
		"core of no kernel": {name + ".lora_up.weight": matrix(1, 128, 4), name + ".lora_down.weight": matrix(2, 4, 128), name + ".lora_mid.weight": filled(1, 4, 4)},
		"of no kind":        {name + ".lambda_layer": matrix(1, 1, 4)},
		"of no layer":       {"lora_unet_what.lora_up.weight": matrix(1, 128, 4), "lora_unet_what.lora_down.weight": matrix(2, 4, 128)},
	} {
		reports, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: writeLoRA(t, arrays), UNet: 1, TextEncoder: 1}})
		require.NoError(t, err, form)
		require.Contains(t, reports[0].Note, "left out", form)
		require.Equal(t, plain, e.WeightsHash(), form)

		reports, err = e.SetLoRAs(t.Context(), []inference.LoRA{{Path: writeLoRA(t, arrays), UNet: 1, TextEncoder: 1}, fits})
		require.NoError(t, err, form)
		require.Contains(t, reports[0].Note, "left out", form)
		require.Empty(t, reports[1].Note, form)
		require.Equal(t, want, e.WeightsHash(), form)

		maps.Copy(arrays, good)
		reports, err = e.SetLoRAs(t.Context(), []inference.LoRA{{Path: writeLoRA(t, arrays), UNet: 1, TextEncoder: 1}})
		require.NoError(t, err, form)
		require.Contains(t, reports[0].Note, "1 of its 2 modules were left out", form)
		require.Equal(t, want, e.WeightsHash(), form)
	}
}

// A file that makes weights which are no numbers, or which half precision does not hold,
// is left out with a note; the others act.
func TestAdaptersOfNoNumbers(t *testing.T) {
	const name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
	const other = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	factors := func(module string) map[string]array {
		return map[string]array{module + ".lora_up.weight": matrix(1, 128, 4), module + ".lora_down.weight": matrix(2, 4, 128)}
	}
	good := map[string]array{}
	for _, module := range []string{name, other} {
		maps.Copy(good, factors(module))
	}
	fits := inference.LoRA{Path: writeLoRA(t, good), UNet: 1}
	setLoRAs(t, e, fits)
	want := e.WeightsHash()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for form, change := range map[string]func(map[string]array){
		"NaN":            func(a map[string]array) { a[name+".lora_up.weight"].values[500] = nan },
		"infinity":       func(a map[string]array) { a[name+".lora_down.weight"].values[0] = inf },
		"alpha of NaN":   func(a map[string]array) { a[name+".alpha"] = scalar(nan) },
		"too large":      func(a map[string]array) { a[name+".alpha"] = scalar(1e9) },
		"scale of a row": func(a map[string]array) { a[name+".dora_scale"] = filled(inf, 128, 1) },
		"whole":          func(a map[string]array) { clear(a); a[name+".diff"] = filled(nan, 128, 128) },
	} {
		t.Run(form, func(t *testing.T) {
			arrays := factors(name)
			change(arrays)
			bad := inference.LoRA{Path: writeLoRA(t, arrays), UNet: 1}
			for _, list := range [][]inference.LoRA{{bad, fits}, {fits, bad}} {
				reports, err := e.SetLoRAs(t.Context(), list)
				require.NoError(t, err)
				at := slices.Index(list, bad)
				require.Equal(t, "left out: the file makes weights that are no numbers or too large (the first are those of "+name+")", reports[at].Note)
				require.Empty(t, reports[1-at].Note)
				require.Equal(t, want, e.WeightsHash())
			}
		})
	}
}

// Merging changes how many goroutines may run at once only while it lasts.
func TestMergingRestoresTheScheduler(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Threads: before})
	defer e.Close()
	_, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: model(t, synth.LoRA), UNet: 1, TextEncoder: 1}})
	require.NoError(t, err)
	require.Equal(t, before, runtime.GOMAXPROCS(0))
}

// The engine's arithmetic is that of the plain one.
func TestArithmetic(t *testing.T) {
	fast, plain := sdcpp.Native, adapter.Plain{}
	for _, s := range [][3]int{{1, 1, 1}, {12, 128, 64}, {13, 7, 33}, {5, 300, 9}, {96, 256, 31}, {3, 1, 500}} {
		m, k, n := s[0], s[1], s[2]
		a, b := matrix(1, int64(m), int64(k)).values, matrix(2, int64(k), int64(n)).values
		got, want := matrix(3, int64(m), int64(n)).values, matrix(3, int64(m), int64(n)).values
		fast.MulAdd(got, a, b, m, k, n, 0.5)
		plain.MulAdd(want, a, b, m, k, n, 0.5)
		require.InDeltaSlice(t, want, got, 1e-5, s)
		got = matrix(3, int64(m), int64(n)).values
		var arena adapter.Arena
		fast.MulAddPacked(got, a, fast.Pack(&arena, b, k, n), m, 0.5)
		require.InDeltaSlice(t, want, got, 1e-5, s)
	}
	x, y := matrix(4, 5003).values, matrix(5, 5003).values
	for _, f := range []func(adapter.Math, []float32){
		func(m adapter.Math, d []float32) { m.AddScaled(d, x, 3) },
		func(m adapter.Math, d []float32) { m.AddProduct(d, x, y, 3) },
		func(m adapter.Math, d []float32) { m.AddProduct(d, d, y, 3) },
		func(m adapter.Math, d []float32) { m.Blend(d, x, 3, 2) },
		func(m adapter.Math, d []float32) { m.Blend(d, d, 3, 2) },
		func(m adapter.Math, d []float32) { m.BlendRows(d, 100, x, 70, 33, 3, x[7:20]) },
		func(m adapter.Math, d []float32) { m.BlendRows(d, 50, d, 50, 50, 3, x[7:20]) },
		func(m adapter.Math, d []float32) { m.BlendColumns(d[:4995], x[:4995], 3, y[7:52]) },
		func(m adapter.Math, d []float32) { m.BlendColumns(d[:4995], d[:4995], 0, x[7:52]) },
	} {
		got, want := slices.Clone(y), slices.Clone(y)
		f(fast, got)
		f(plain, want)
		require.InDeltaSlice(t, want, got, 1e-5)
	}
	for name, turns := range map[string]adapter.Turns{
		"a few rows":      {Span: 6, Sides: []int32{6}, Rows: []int32{0, 1, 2, 3, 4, 5}, Matrices: x[:36]},
		"two stages":      {Span: 8, Sides: []int32{5, 3, 8}, Rows: []int32{1, 6, 2, 7, 3, 0, 4, 5, 7, 6, 5, 4, 3, 2, 1, 0}, Matrices: x[:25+9+64]},
		"many rows":       {Span: 50, Sides: []int32{50}, Rows: count(50), Matrices: x[:2500]},
		"many, then many": {Span: 64, Sides: []int32{48, 16}, Rows: count(64), Matrices: x[:48*48+256]},
	} {
		for _, cols := range []int{1, 33, 70} {
			got, want := slices.Clone(y[:turns.Span*cols]), slices.Clone(y[:turns.Span*cols])
			var arena adapter.Arena
			fast.Turn(&arena, got, cols, turns, 0.75, x[:turns.Span])
			plain.Turn(&arena, want, cols, turns, 0.75, x[:turns.Span])
			require.InDeltaSlice(t, want, got, 1e-5, "%s, %d columns", name, cols)
		}
	}
	got, want := make([]float32, 3), make([]float32, 3)
	fast.RowSquares(got, x, 1667)
	plain.RowSquares(want, x, 1667)
	require.InEpsilonSlice(t, want, got, 1e-5)
}

// count returns the numbers from 0 on.
func count(n int32) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// A matrix made ready for many products may be rounded, but not more than its
// documentation says, whatever the sizes of its values; what is no number stays none.
func TestRoundedProducts(t *testing.T) {
	fast, plain := sdcpp.Native, adapter.Plain{}
	r := rand.New(rand.NewPCG(1, 2))
	for name, value := range map[string]func() float64{
		"normal":        r.NormFloat64,
		"alike":         func() float64 { return 0.9999 },
		"few are large": func() float64 { return r.NormFloat64() * math.Pow(10, float64(r.IntN(5))) },
		"tiny":          func() float64 { return r.NormFloat64() * 1e-20 },
		"mostly zero":   func() float64 { return math.Max(0, r.NormFloat64()-2) },
	} {
		for _, s := range [][3]int{{13, 128, 70}, {61, 129, 33}, {5, 1, 3}, {24, 300, 65}} {
			m, k, n := s[0], s[1], s[2]
			a, b := make([]float32, m*k), make([]float32, k*n)
			for _, list := range [][]float32{a, b} {
				for i := range list {
					list[i] = float32(value())
				}
			}
			got, want := make([]float32, m*n), make([]float32, m*n)
			var arena adapter.Arena
			fast.MulAddPacked(got, a, fast.Pack(&arena, b, k, n), m, 1)
			plain.MulAdd(want, a, b, m, k, n, 1)
			for i := range m {
				for j := range n {
					var row, column, inRow, inColumn float64 // the largest values and their sums
					for p := range k {
						x, y := math.Abs(float64(a[i*k+p])), math.Abs(float64(b[p*n+j]))
						row, column, inRow, inColumn = max(row, x), max(column, y), inRow+x, inColumn+y
					}
					bound := (row*inColumn+column*inRow)/4096 + 1e-6*inRow*inColumn
					require.InDelta(t, want[i*n+j], got[i*n+j], bound+1e-30, "%s %v", name, s)
				}
			}
		}
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		a, b, c := matrix(1, 12, 8).values, matrix(2, 8, 40).values, make([]float32, 12*40)
		b[3] = bad // of column 3
		var arena adapter.Arena
		fast.MulAddPacked(c, a, fast.Pack(&arena, b, 8, 40), 12, 1)
		require.True(t, math.IsNaN(float64(c[3])) || math.IsInf(float64(c[3]), 0), c[3])
		require.False(t, math.IsNaN(float64(c[4])))
	}
}

func scaled(a array, by float32) array {
	out := array{a.shape, slices.Clone(a.values)}
	for i := range out.values {
		out.values[i] *= by
	}
	return out
}

// kronecker returns the Kronecker product of two matrices.
func kronecker(a, b array) array {
	ra, ca, rb, cb := a.shape[0], a.shape[1], b.shape[0], b.shape[1]
	out := array{shape: []int64{ra * rb, ca * cb}, values: make([]float32, ra*ca*rb*cb)}
	for i := range ra * rb {
		for j := range ca * cb {
			out.values[i*ca*cb+j] = a.values[i/rb*ca+j/cb] * b.values[i%rb*cb+j%cb]
		}
	}
	return out
}

// The engine merges every kind as package adapter does, and a picture shows each.
func TestEveryKindActs(t *testing.T) {
	const layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"
	const name = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_v.weight"
	const norm = "lora_unet_mid_block_resnets_0_norm1"
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	setLoRAs(t, e)
	before, err := e.Weight(name)
	require.NoError(t, err)
	plain := e.WeightsHash()
	noise := func() []float32 {
		out, err := e.PredictNoise(t.Context(), unetInput(8, 8))
		require.NoError(t, err)
		return out
	}
	without := noise()
	pair := map[string]array{layer + ".lora_up.weight": matrix(1, 128, 4), layer + ".lora_down.weight": matrix(2, 4, 128)}
	with := func(more map[string]array) map[string]array {
		all := maps.Clone(pair)
		maps.Copy(all, more)
		return all
	}
	for kind, arrays := range map[string]map[string]array{
		"DoRA of rows":   with(map[string]array{layer + ".dora_scale": filled(3, 128, 1)}),
		"DoRA of inputs": with(map[string]array{layer + ".dora_scale": filled(3, 1, 128)}),
		"GLoRA": {
			layer + ".a1.weight": matrix(1, 128, 4), layer + ".a2.weight": matrix(2, 4, 128),
			layer + ".b1.weight": matrix(3, 128, 4), layer + ".b2.weight": matrix(4, 4, 128),
		},
		"IA3":       {layer + ".weight": matrix(1, 128), layer + ".on_input": scalar(0)},
		"OFT":       {layer + ".oft_blocks": matrix(1, 4, 32, 32), layer + ".alpha": scalar(0)},
		"BOFT":      {layer + ".oft_blocks": matrix(1, 3, 16, 8, 8), layer + ".rescale": filled(2, 128, 1)},
		"full":      {layer + ".diff": matrix(1, 128, 128)},
		"remainder": with(map[string]array{layer + ".bias": matrix(3, 128, 128)}),
		"norm":      {norm + ".w_norm": filled(2, 128), norm + ".b_norm": filled(1, 128)},
	} {
		path := writeLoRA(t, arrays)
		setLoRAs(t, e, inference.LoRA{Path: path, UNet: 0.5})
		require.NotEqual(t, without, noise(), kind)
		if kind != "norm" {
			want := slices.Clone(before)
			f, err := models.OpenLoRA(path, models.CheckOptions{})
			require.NoError(t, err)
			var arena adapter.Arena
			d, err := f.Changes[0].Prepare(adapter.Plain{}, f, []int64{128, 128}, &arena)
			require.NoError(t, err)
			require.NoError(t, d.Apply(want, 0, 128, 0.5, &arena))
			require.NoError(t, f.Close())
			got, err := e.Weight(name)
			require.NoError(t, err)
			require.InDeltaSlice(t, want, got, 2e-3*float64(slices.Max(want)), kind)
		}
		setLoRAs(t, e)
		require.Equal(t, plain, e.WeightsHash(), kind)
		require.Equal(t, without, noise(), kind)
	}
}

func TestEmbeddingsInsideAdapters(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	path := writeLoRA(t, map[string]array{
		"bundle_emb.mychar.string_to_param.*": matrix(1, 2, 768), "bundle_emb.other.clip_l": matrix(2, 768), "bundle_emb.wide.clip_g": matrix(3, 1, 1280),
	})
	reports, err := e.SetLoRAs(t.Context(), []inference.LoRA{{Path: path, UNet: 1}})
	require.NoError(t, err)
	require.Contains(t, reports[0].Note, "for another text encoder (the first is wide)")
	list := reports[0].Embeddings
	require.Len(t, list, 2)
	require.Equal(t, "mychar", list[0].Name)
	require.Equal(t, matrix(1, 2, 768).values, list[0].Values)
	require.Equal(t, 1, list[1].Vectors)
}
