package enginetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
)

// Suite describes the engine under test to Run.
type Suite struct {
	// Open makes an engine. Run closes it.
	Open func(t testing.TB) inference.Engine

	// LoRA, VAE, TAESD, ESRGAN and ControlNet are files for the abilities that an engine
	// has beside those of the interface.
	LoRA, VAE, TAESD, ESRGAN, ControlNet string

	// Tolerance bounds how far the rows of a batch may be from the same rows alone,
	// relative to the size of the output. Zero asks for equality.
	Tolerance float64
}

// Run checks that an engine keeps the contract of inference.Engine: shapes,
// determinism, batches equal to singles, odd sizes, errors instead of crashes,
// cancellation, and further abilities that leave no trace.
func Run(t *testing.T, s Suite) {
	engine := s.Open(t)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	r := runner{Suite: s, engine: engine, info: engine.Info()}

	t.Run("info", r.checkInfo)
	t.Run("text", r.text)
	t.Run("text vectors", r.textVectors)
	t.Run("unet", r.unet)
	t.Run("unet batch", r.unetBatch)
	t.Run("unet sizes", r.unetSizes)
	t.Run("tiling", r.tiling)
	t.Run("vae", r.vae)
	t.Run("vae tiles", r.vaeTiles)
	t.Run("invalid", r.invalid)
	t.Run("canceled", r.canceled)
	t.Run("cancel during a call", r.cancelDuring)
	t.Run("lora", r.lora)
	t.Run("other vae", r.otherVAE)
	t.Run("preview", r.preview)
	t.Run("upscale", r.upscale)
	t.Run("controlnet", r.controlNet)
	t.Run("lora, canceled", r.canceledLoRA)
	t.Run("other vae, canceled", r.canceledVAE)
	t.Run("controlnet, canceled", r.canceledControl)
	t.Run("close", r.close)
}

// ability is the engine as one that can do more than the interface asks for.
func ability[T any](t *testing.T, engine inference.Engine) T {
	t.Helper()
	able, ok := engine.(T)
	require.True(t, ok, "the engine is no %T", (*T)(nil))
	return able
}

type runner struct {
	Suite
	engine inference.Engine
	info   inference.EngineInfo
}

func (r runner) checkInfo(t *testing.T) {
	require.NotEmpty(t, r.info.Checkpoint)
	require.NotEmpty(t, r.info.Device)
	require.NotEmpty(t, r.info.Backend)
	require.NotEmpty(t, r.info.EngineVersion)
	require.Contains(t, []int{4, 9}, r.info.UNetChannels)
}

func (r runner) text(t *testing.T) {
	chunks := [][inference.ChunkTokens]int32{Chunk(320, 1125), Chunk(), Chunk(2368, 267, 1929)}
	all := must(r.engine.EncodeText(t.Context(), inference.TextInput{Chunks: chunks, Skip: 1}))(t)
	const row = inference.ChunkTokens * inference.TextWidth
	require.Len(t, all, len(chunks)*row)
	requireFinite(t, all)
	for i, c := range chunks {
		alone := must(r.engine.EncodeText(t.Context(), inference.TextInput{Chunks: chunks[i : i+1], Skip: 1}))(t)
		r.requireClose(t, alone, all[i*row:][:row], "chunk %v alone and in a batch", c[:4])
	}
	again := must(r.engine.EncodeText(t.Context(), inference.TextInput{Chunks: chunks, Skip: 1}))(t)
	require.True(t, slices.Equal(all, again), "the same text twice")

	previous := all
	for _, skip := range []int{2, 12} {
		out := must(r.engine.EncodeText(t.Context(), inference.TextInput{Chunks: chunks, Skip: skip}))(t)
		requireFinite(t, out)
		require.NotEqual(t, previous[:8], out[:8], "clip skip %d", skip)
		previous = out
	}
}

func (r runner) textVectors(t *testing.T) {
	vector := make([]float32, inference.TextWidth)
	for i := range vector {
		vector[i] = float32(math.Sin(float64(i))) / 20
	}
	plain := inference.TextInput{Chunks: [][inference.ChunkTokens]int32{Chunk(320, 1125)}, Skip: 1}
	custom := inference.TextInput{
		Chunks:  [][inference.ChunkTokens]int32{Chunk(320, inference.VocabSize), Chunk(320, inference.VocabSize+1)},
		Vectors: [][]float32{vector, make([]float32, inference.TextWidth)},
		Skip:    1,
	}
	a := must(r.engine.EncodeText(t.Context(), plain))(t)
	b := must(r.engine.EncodeText(t.Context(), custom))(t)
	requireFinite(t, b)
	require.Greater(t, RelativeError(a, b[:len(a)]), 1e-3, "a vector in place of a token")
	require.Greater(t, RelativeError(b[:len(a)], b[len(a):]), 1e-3, "two different vectors")
	require.InDeltaSlice(t, a[:inference.TextWidth], b[:inference.TextWidth], 1e-3, "the state before the vector")
}

func (r runner) unet(t *testing.T) {
	in := r.input(2, 8, 8, 1, 1)
	out := must(r.engine.PredictNoise(t.Context(), in))(t)
	require.Len(t, out, 2*inference.LatentChannels*8*8)
	requireFinite(t, out)
	again := must(r.engine.PredictNoise(t.Context(), in))(t)
	require.True(t, slices.Equal(out, again), "the same input twice")

	for name, change := range map[string]func(*inference.UNetInput){
		"latent":   func(in *inference.UNetInput) { in.Latent[0] += 1 },
		"timestep": func(in *inference.UNetInput) { in.Timestep[0] += 0.5 },
		"context":  func(in *inference.UNetInput) { scale(in.Context, 0.5) },
	} {
		changed := r.input(2, 8, 8, 1, 1)
		change(&changed)
		other := must(r.engine.PredictNoise(t.Context(), changed))(t)
		require.Greater(t, RelativeError(out, other), 0.0, "another %s", name)
	}
	long := must(r.engine.PredictNoise(t.Context(), r.input(2, 8, 8, 3, 1)))(t)
	requireFinite(t, long)
}

func (r runner) unetBatch(t *testing.T) {
	for n := 1; n <= 4; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in := r.input(n, 8, 8, 1, 2)
			all := must(r.engine.PredictNoise(t.Context(), in))(t)
			rows := len(all) / n
			for i := range n {
				alone := must(r.engine.PredictNoise(t.Context(), row(in, i)))(t)
				r.requireClose(t, alone, all[i*rows:][:rows], "row %d of %d", i, n)
			}
		})
	}
}

func (r runner) unetSizes(t *testing.T) {
	for _, size := range [][2]int{{9, 13}, {13, 9}, {12, 20}, {1, 1}, {3, 17}} {
		t.Run(fmt.Sprintf("%dx%d", size[1]*8, size[0]*8), func(t *testing.T) {
			in := r.input(2, size[0], size[1], 1, 3)
			all := must(r.engine.PredictNoise(t.Context(), in))(t)
			requireFinite(t, all)
			half := len(all) / 2
			alone := must(r.engine.PredictNoise(t.Context(), row(in, 1)))(t)
			r.requireClose(t, alone, all[half:], "second row")

			pixels := must(r.engine.Decode(t.Context(), inference.LatentInput{Latent: Noise(4, inference.LatentChannels*size[0]*size[1]), H: size[0], W: size[1]}))(t)
			require.Len(t, pixels, 3*64*size[0]*size[1])
			requireFinite(t, pixels)
		})
	}
}

func (r runner) tiling(t *testing.T) {
	in := r.input(1, 16, 16, 1, 5)
	plain := must(r.engine.PredictNoise(t.Context(), in))(t)
	for _, side := range [][2]int{{9, 15}, {71, 83}, {100, 66}} {
		h, w := side[0], side[1]
		odd := must(r.engine.Encode(t.Context(), inference.PixelInput{Pixels: Noise(7, 3*h*w), H: h, W: w}))(t)
		require.Len(t, odd, 8*(h/8)*(w/8), "%dx%d pixels", w, h)
		requireFinite(t, odd)
	}
	in.Tiling = true
	round := must(r.engine.PredictNoise(t.Context(), in))(t)
	require.Greater(t, RelativeError(plain, round), 0.0, "circular padding")

	// A picture without borders may be rotated by whole steps of the deepest level:
	// the result rotates with it.
	moved := in
	moved.Latent = shift(in.Latent, r.info.UNetChannels, 16, 16)
	got := must(r.engine.PredictNoise(t.Context(), moved))(t)
	r.requireClose(t, shift(round, inference.LatentChannels, 16, 16), got, "rotated picture")

	in.Tiling = false
	again := must(r.engine.PredictNoise(t.Context(), in))(t)
	require.True(t, slices.Equal(plain, again), "without circular padding again")
}

func (r runner) vae(t *testing.T) {
	latent := Noise(6, inference.LatentChannels*8*8)
	in := inference.LatentInput{Latent: latent, H: 8, W: 8}
	pixels := must(r.engine.Decode(t.Context(), in))(t)
	require.Len(t, pixels, 3*64*64)
	for _, p := range pixels {
		require.True(t, p >= 0 && p <= 1, "pixel %g", p)
	}
	require.Greater(t, slices.Max(pixels)-slices.Min(pixels), float32(0.01), "a picture has contrast")
	again := must(r.engine.Decode(t.Context(), in))(t)
	require.True(t, slices.Equal(pixels, again), "the same latent twice")

	moments := must(r.engine.Encode(t.Context(), inference.PixelInput{Pixels: pixels, H: 64, W: 64}))(t)
	require.Len(t, moments, 8*8*8)
	requireFinite(t, moments)
	wide := must(r.engine.Encode(t.Context(), inference.PixelInput{Pixels: Noise(7, 3*72*104), H: 72, W: 104}))(t)
	require.Len(t, wide, 8*9*13)
	in.Tiling = true
	round := must(r.engine.Decode(t.Context(), in))(t)
	require.NotNil(t, round)
}

func (r runner) vaeTiles(t *testing.T) {
	const h, w = 8, 72 // wider than a tile
	latent := smooth(inference.LatentChannels, h, w)
	whole := must(r.engine.Decode(t.Context(), inference.LatentInput{Latent: latent, H: h, W: w, Tiles: inference.TileNever}))(t)
	tiled := must(r.engine.Decode(t.Context(), inference.LatentInput{Latent: latent, H: h, W: w, Tiles: inference.TileAlways}))(t)
	require.Less(t, meanDifference(whole, tiled), 0.02, "decoded in tiles")

	pixels := smooth(3, 8*h, 8*w)
	for i := range pixels {
		pixels[i] = 0.5 + pixels[i]/4
	}
	moments := must(r.engine.Encode(t.Context(), inference.PixelInput{Pixels: pixels, H: 8 * h, W: 8 * w, Tiles: inference.TileNever}))(t)
	parts := must(r.engine.Encode(t.Context(), inference.PixelInput{Pixels: pixels, H: 8 * h, W: 8 * w, Tiles: inference.TileAlways}))(t)
	require.Less(t, RelativeError(moments, parts), 0.2, "encoded in tiles")
}

func (r runner) invalid(t *testing.T) {
	ctx := t.Context()
	unet := func(change func(*inference.UNetInput)) error {
		in := r.input(2, 8, 8, 1, 1)
		change(&in)
		_, err := r.engine.PredictNoise(ctx, in)
		return err
	}
	text := func(in inference.TextInput) error {
		_, err := r.engine.EncodeText(ctx, in)
		return err
	}
	decode := func(in inference.LatentInput) error {
		_, err := r.engine.Decode(ctx, in)
		return err
	}
	encode := func(in inference.PixelInput) error {
		_, err := r.engine.Encode(ctx, in)
		return err
	}
	chunk := [][inference.ChunkTokens]int32{Chunk()}
	for name, err := range map[string]error{
		"no chunk":              text(inference.TextInput{Skip: 1}),
		"clip skip 0":           text(inference.TextInput{Chunks: chunk}),
		"clip skip 13":          text(inference.TextInput{Chunks: chunk, Skip: 13}),
		"unknown token":         text(inference.TextInput{Chunks: [][inference.ChunkTokens]int32{Chunk(inference.VocabSize)}, Skip: 1}),
		"negative token":        text(inference.TextInput{Chunks: [][inference.ChunkTokens]int32{Chunk(-1)}, Skip: 1}),
		"short vector":          text(inference.TextInput{Chunks: chunk, Vectors: [][]float32{{1}}, Skip: 1}),
		"no rows":               unet(func(in *inference.UNetInput) { in.Timestep = nil }),
		"short latent":          unet(func(in *inference.UNetInput) { in.Latent = in.Latent[1:] }),
		"no latent":             unet(func(in *inference.UNetInput) { in.Latent = nil }),
		"size 0":                unet(func(in *inference.UNetInput) { in.H = 0 }),
		"negative size":         unet(func(in *inference.UNetInput) { in.W = -8 }),
		"huge size":             unet(func(in *inference.UNetInput) { in.H, in.W = math.MaxInt32, math.MaxInt32 }),
		"short context":         unet(func(in *inference.UNetInput) { in.Context = in.Context[1:] }),
		"no context":            unet(func(in *inference.UNetInput) { in.Context = nil }),
		"timestep 1000":         unet(func(in *inference.UNetInput) { in.Timestep[0] = 1000 }),
		"timestep NaN":          unet(func(in *inference.UNetInput) { in.Timestep[0] = float32(math.NaN()) }),
		"control without model": unet(func(in *inference.UNetInput) { in.Control = []inference.ControlInput{{}} }),
		"short latent, decode":  decode(inference.LatentInput{Latent: make([]float32, 5), H: 8, W: 8}),
		"size 0, decode":        decode(inference.LatentInput{}),
		"tile mode":             decode(inference.LatentInput{Latent: make([]float32, 4), H: 1, W: 1, Tiles: 7}),
		"less than a cell":      encode(inference.PixelInput{Pixels: make([]float32, 3*7*10), H: 7, W: 10}),
		"short picture":         encode(inference.PixelInput{Pixels: make([]float32, 5), H: 8, W: 8}),
	} {
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "%s: %v", name, err)
	}
	// None of them harmed the engine.
	r.unet(t)
}

func (r runner) canceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.engine.EncodeText(ctx, inference.TextInput{Chunks: [][inference.ChunkTokens]int32{Chunk()}, Skip: 1})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.engine.PredictNoise(ctx, r.input(1, 8, 8, 1, 1))
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	_, err = r.engine.Decode(ctx, inference.LatentInput{Latent: make([]float32, 4*64), H: 8, W: 8})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	_, err = r.engine.Encode(ctx, inference.PixelInput{Pixels: make([]float32, 3*64), H: 8, W: 8})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
}

// cancelDuring ends the context at many moments of a call: the call comes back
// with a whole result or with Canceled, and the next call works.
func (r runner) cancelDuring(t *testing.T) {
	in := r.input(2, 16, 16, 1, 1)
	want := must(r.engine.PredictNoise(t.Context(), in))(t)
	begin := time.Now()
	must(r.engine.PredictNoise(t.Context(), in))(t)
	took := time.Since(begin)
	for i := range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), took*time.Duration(i)/8+1)
		out, err := r.engine.PredictNoise(ctx, in)
		cancel()
		if err != nil {
			require.Equal(t, fault.Canceled, fault.CodeOf(err), "%v", err)
			continue
		}
		require.True(t, slices.Equal(want, out))
	}
	require.True(t, slices.Equal(want, must(r.engine.PredictNoise(t.Context(), in))(t)), "after canceled calls")
}

func (r runner) lora(t *testing.T) {
	applier := ability[inference.LoRAApplier](t, r.engine)
	in := r.input(1, 8, 8, 1, 1)
	text := inference.TextInput{Chunks: [][inference.ChunkTokens]int32{Chunk(320)}, Skip: 1}
	predict := func() []float32 { return must(r.engine.PredictNoise(t.Context(), in))(t) }
	encode := func() []float32 { return must(r.engine.EncodeText(t.Context(), text))(t) }
	set := func(l ...inference.LoRA) {
		reports, err := applier.SetLoRAs(t.Context(), l)
		require.NoError(t, err)
		require.Len(t, reports, len(l))
		for _, r := range reports {
			require.Empty(t, r)
		}
	}
	noise, states := predict(), encode()

	set(inference.LoRA{Path: r.LoRA, UNet: 1, TextEncoder: 1})
	both := predict()
	require.Greater(t, RelativeError(noise, both), 1e-4, "the LoRA changes the UNet")
	require.Greater(t, RelativeError(states, encode()), 1e-4, "the LoRA changes the text encoder")

	set(inference.LoRA{Path: r.LoRA, UNet: 1})
	require.True(t, slices.Equal(states, encode()), "text encoder strength 0")
	require.Greater(t, RelativeError(noise, predict()), 1e-4)
	set(inference.LoRA{Path: r.LoRA, TextEncoder: 1})
	require.True(t, slices.Equal(noise, predict()), "UNet strength 0")
	require.Greater(t, RelativeError(states, encode()), 1e-4)

	set(inference.LoRA{Path: r.LoRA, UNet: 0.25, TextEncoder: 1}, inference.LoRA{Path: r.LoRA, UNet: 0.75})
	r.requireClose(t, both, predict(), "two quarters and three quarters")

	set()
	require.True(t, slices.Equal(noise, predict()), "UNet without LoRA again")
	require.True(t, slices.Equal(states, encode()), "text encoder without LoRA again")

	reports, err := applier.SetLoRAs(t.Context(), []inference.LoRA{{Path: r.LoRA + ".absent", UNet: 1}, {Path: r.LoRA, UNet: 1, TextEncoder: 1}})
	require.NoError(t, err)
	require.Len(t, reports, 2)
	if reports[0].Note != "" { // a fake knows no files
		require.Empty(t, reports[1].Note)
		require.True(t, slices.Equal(both, predict()), "beside a LoRA that does not exist")
	}
	set()
}

func (r runner) otherVAE(t *testing.T) {
	switcher := ability[inference.VAESwitcher](t, r.engine)
	in := inference.LatentInput{Latent: Noise(6, inference.LatentChannels*8*8), H: 8, W: 8}
	own := must(r.engine.Decode(t.Context(), in))(t)
	require.NoError(t, switcher.SetVAE(t.Context(), r.VAE))
	other := must(r.engine.Decode(t.Context(), in))(t)
	require.Greater(t, RelativeError(own, other), 1e-3)
	require.NoError(t, switcher.SetVAE(t.Context(), ""))
	require.True(t, slices.Equal(own, must(r.engine.Decode(t.Context(), in))(t)), "the checkpoint's own VAE again")
}

func (r runner) preview(t *testing.T) {
	previewer := ability[inference.PreviewDecoder](t, r.engine)
	pixels := must(previewer.DecodePreview(t.Context(), r.TAESD, Noise(8, 4*6*10), 6, 10))(t)
	require.Len(t, pixels, 3*64*6*10)
	for _, p := range pixels {
		require.True(t, p >= 0 && p <= 1, "pixel %g", p)
	}
	_, err := previewer.DecodePreview(t.Context(), r.TAESD, nil, 6, 10)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

func (r runner) upscale(t *testing.T) {
	upscaler := ability[inference.PixelUpscaler](t, r.engine)
	pixels, factor, err := upscaler.UpscalePixels(t.Context(), inference.UpscalerModel{Path: r.ESRGAN}, Noise(9, 3*10*14), 10, 14)
	require.NoError(t, err)
	require.Positive(t, factor)
	require.Len(t, pixels, 3*10*14*factor*factor)
	requireFinite(t, pixels)
	_, _, err = upscaler.UpscalePixels(t.Context(), inference.UpscalerModel{Path: r.ESRGAN}, nil, 10, 14)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

func (r runner) controlNet(t *testing.T) {
	in := r.input(2, 8, 8, 1, 1)
	plain := must(r.engine.PredictNoise(t.Context(), in))(t)
	half := len(plain) / 2
	unit := inference.ControlInput{
		Model: r.ControlNet, Hint: smooth(3, 64, 64), Rows: []float32{1, 0},
		Layers: slices.Repeat([]float32{1}, inference.ControlLayers),
	}
	in.Control = []inference.ControlInput{unit}
	first := must(r.engine.PredictNoise(t.Context(), in))(t)
	require.Greater(t, RelativeError(plain[:half], first[:half]), 1e-4, "the row with strength 1")
	r.requireClose(t, plain[half:], first[half:], "the row with strength 0")

	zero := unit
	zero.Layers = make([]float32, inference.ControlLayers)
	in.Control = []inference.ControlInput{zero}
	r.requireClose(t, plain, must(r.engine.PredictNoise(t.Context(), in))(t), "layer strengths 0")

	weak, strong := unit, unit
	weak.Rows, strong.Rows = []float32{0.25, 0}, []float32{0.75, 0}
	in.Control = []inference.ControlInput{weak, strong}
	r.requireClose(t, first, must(r.engine.PredictNoise(t.Context(), in))(t), "two units add up")

	other := unit
	other.Hint = make([]float32, len(unit.Hint))
	in.Control = []inference.ControlInput{other}
	require.Greater(t, RelativeError(first[:half], must(r.engine.PredictNoise(t.Context(), in))(t)[:half]), 0.0, "another hint")

	in.Control = nil
	require.True(t, slices.Equal(plain, must(r.engine.PredictNoise(t.Context(), in))(t)), "without ControlNet again")
}

// requireUntouched checks that a change of the engine's state that is canceled,
// before or in the middle, leaves no trace: after it, a makes the engine what a
// makes it, and b what b makes it. observe shows the state.
func (r runner) requireUntouched(t *testing.T, a, b func(context.Context) error, observe func() []float32) {
	require.NoError(t, a(t.Context()))
	wantA := observe()
	begin := time.Now()
	require.NoError(t, b(t.Context()))
	took := time.Since(begin)
	wantB := observe()
	require.NotEqual(t, wantA, wantB, "the change shows")
	const moments = 6
	for i := range moments {
		require.NoError(t, a(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), took*time.Duration(i)/moments)
		err := b(ctx) // with i 0 the context has ended before
		cancel()
		if err != nil {
			require.Equal(t, fault.Canceled, fault.CodeOf(err), "%v", err)
		}
		want, next := wantA, a
		if i%2 == 1 {
			want, next = wantB, b
		}
		require.NoError(t, next(t.Context()))
		require.True(t, slices.Equal(want, observe()), "after a change that was canceled at %d of %d, with error %v", i, moments, err)
	}
}

func (r runner) canceledLoRA(t *testing.T) {
	applier := ability[inference.LoRAApplier](t, r.engine)
	set := func(loras ...inference.LoRA) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := applier.SetLoRAs(ctx, loras)
			return err
		}
	}
	none, one := set(), set(inference.LoRA{Path: r.LoRA, UNet: 1, TextEncoder: 1})
	two := set(inference.LoRA{Path: r.LoRA, UNet: -0.5, TextEncoder: 0.25})
	in := r.input(1, 4, 4, 1, 1)
	observe := func() []float32 { return must(r.engine.PredictNoise(t.Context(), in))(t) }
	r.requireUntouched(t, none, one, observe)
	r.requireUntouched(t, one, two, observe)
	require.NoError(t, none(t.Context()))
}

func (r runner) canceledVAE(t *testing.T) {
	switcher := ability[inference.VAESwitcher](t, r.engine)
	set := func(path string) func(context.Context) error {
		return func(ctx context.Context) error { return switcher.SetVAE(ctx, path) }
	}
	observe := func() []float32 {
		return must(r.engine.Decode(t.Context(), inference.LatentInput{Latent: Noise(6, inference.LatentChannels*64), H: 8, W: 8}))(t)
	}
	r.requireUntouched(t, set(""), set(r.VAE), observe)
	r.requireUntouched(t, set(r.VAE), set(""), observe)
	require.NoError(t, switcher.SetVAE(t.Context(), ""))
}

// canceledControl has no state to change: the call with the unit says it all.
func (r runner) canceledControl(t *testing.T) {
	plain := r.input(1, 8, 8, 1, 1)
	guided := plain
	guided.Control = []inference.ControlInput{{
		Model: r.ControlNet, Hint: smooth(3, 64, 64), Rows: []float32{1}, Layers: slices.Repeat([]float32{1}, inference.ControlLayers),
	}}
	var last []float32
	predict := func(in inference.UNetInput) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			last, err = r.engine.PredictNoise(ctx, in)
			return err
		}
	}
	observe := func() []float32 { return last }
	r.requireUntouched(t, predict(plain), predict(guided), observe)
	r.requireUntouched(t, predict(guided), predict(plain), observe)
}

// close checks an engine of its own.
func (r runner) close(t *testing.T) {
	engine := r.Open(t)
	require.NoError(t, engine.Close())
	require.NoError(t, engine.Close(), "the second time")
	_, err := engine.Decode(t.Context(), inference.LatentInput{Latent: make([]float32, 4*64), H: 8, W: 8})
	require.Equal(t, fault.Broken, fault.CodeOf(err))
}
