//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet/clipvision"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/internal/vectors"
	"sdworker/models/synth"
)

// waves are the numbers that testdata/record_ipadapter.py feeds the networks with.
func waves(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		x := float64(i)
		out[i] = float32(math.Sin(x*0.37) + math.Cos(x*x*1e-5))
	}
	return out
}

// TestIPAdapterVectors compares pictures that cross attention sees with transformers and
// diffusers; see testdata/record_ipadapter.py.
func TestIPAdapterVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/ipadapter.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Name         string
			H, W         int
			Latent, Want vectors.Float32s
			Timestep     []float32
			Units        [][2]any
			Shown        []bool
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	pixels := waves(3 * clipvision.Side * clipvision.Side)
	for _, tc := range file.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			in := inference.UNetInput{Latent: tc.Latent, H: tc.H, W: tc.W, Timestep: tc.Timestep, Context: waves(3 * inference.ChunkTokens * inference.TextWidth)}
			for _, u := range tc.Units {
				prompt, err := e.ImagePrompt(t.Context(), inference.ImagePromptInput{
					Adapter: model(t, synth.Kind(u[0].(string))), Encoder: model(t, synth.ImageEncoder), Pixels: pixels,
				})
				require.NoError(t, err)
				input := inference.ImageInput{Tokens: prompt.Tokens}
				for _, shown := range tc.Shown {
					values := prompt.Unseen
					if shown {
						values = prompt.Seen
					}
					input.Values = append(input.Values, prompt.Weighted(values, func(int) float64 { return u[1].(float64) }))
				}
				in.Images = append(in.Images, input)
			}
			got, err := e.PredictNoise(t.Context(), in)
			require.NoError(t, err)
			worst := enginetest.RelativeError(tc.Want, got)
			t.Logf("relative error %.1e", worst)
			require.Less(t, worst, within(2e-3))
			in.Images = nil
			without, err := e.PredictNoise(t.Context(), in)
			require.NoError(t, err)
			require.Greater(t, enginetest.RelativeError(tc.Want, without), 2e-2)
		})
	}
}

// A picture is seen where its region is.
func TestIPAdapterRegion(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	prompt, err := e.ImagePrompt(t.Context(), inference.ImagePromptInput{
		Adapter: model(t, synth.IPAdapter), Encoder: model(t, synth.ImageEncoder), Pixels: waves(3 * clipvision.Side * clipvision.Side),
	})
	require.NoError(t, err)
	in := inference.UNetInput{Latent: waves(4 * 16 * 24), H: 16, W: 24, Timestep: []float32{500}, Context: waves(inference.ChunkTokens * inference.TextWidth)}
	predict := func(images ...inference.ImageInput) []float32 {
		in.Images = images
		out, err := e.PredictNoise(t.Context(), in)
		require.NoError(t, err)
		return out
	}
	shown := func(region func(y, x int) float32) inference.ImageInput {
		m := inference.ImageInput{Tokens: prompt.Tokens, Values: [][]float32{prompt.Seen}}
		if region == nil {
			return m
		}
		for _, size := range inference.RegionSizes(16, 24) {
			for y := range size[0] {
				for x := range size[1] {
					m.Region = append(m.Region, region(y*16/size[0], x*24/size[1]))
				}
			}
		}
		return m
	}
	one, zero := func(int, int) float32 { return 1 }, func(int, int) float32 { return 0 }
	without, everywhere := predict(), predict(shown(nil))
	require.Less(t, enginetest.RelativeError(everywhere, predict(shown(one))), 1e-5)
	require.Less(t, enginetest.RelativeError(without, predict(shown(zero))), 1e-5)
	half := predict(shown(func(_, x int) float32 { return float32(x / 12) }))
	require.Greater(t, enginetest.RelativeError(everywhere, half), 1e-2)
	require.Greater(t, enginetest.RelativeError(without, half), 1e-2)
	require.Less(t, enginetest.RelativeError(predict(shown(nil), shown(nil)), predict(shown(nil), shown(one))), 1e-5, "one of two without a region")
}

// Files that do not fit together are refused before anything runs.
func TestIPAdapterRefusals(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	pixels := make([]float32, 3*clipvision.Side*clipvision.Side)
	for name, c := range map[string]struct {
		in   inference.ImagePromptInput
		want string
	}{
		"no adapter": {inference.ImagePromptInput{Adapter: model(t, synth.VAE), Encoder: model(t, synth.ImageEncoder), Pixels: pixels}, "not an IP-Adapter"},
		"no encoder": {inference.ImagePromptInput{Adapter: model(t, synth.IPAdapter), Encoder: model(t, synth.VAE), Pixels: pixels}, "not an image encoder"},
		"no pixels":  {inference.ImagePromptInput{Adapter: model(t, synth.IPAdapter), Encoder: model(t, synth.ImageEncoder)}, "has 0 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ImagePrompt(t.Context(), c.in)
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := e.PredictNoise(t.Context(), inference.UNetInput{
		Latent: make([]float32, 4*64), H: 8, W: 8, Timestep: []float32{1}, Context: make([]float32, inference.ChunkTokens*inference.TextWidth),
		Images: []inference.ImageInput{{Tokens: 4, Values: [][]float32{make([]float32, 8)}}},
	})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "picture 0 has 8 values in each row")
}

// An adapter that is replaced under its name counts at once; one that is broken is told of,
// and a call that is canceled leaves nothing behind.
func TestIPAdapterFiles(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	path := filepath.Join(t.TempDir(), "ip-adapter.safetensors")
	in := inference.ImagePromptInput{Adapter: path, Encoder: model(t, synth.ImageEncoder), Pixels: waves(3 * clipvision.Side * clipvision.Side)}
	write := func(kind synth.Kind, seed uint64) {
		require.NoError(t, synth.Write(t.Context(), path, synth.Options{Kind: kind, Seed: seed}))
	}
	write(synth.IPAdapter, 1)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.ImagePrompt(canceled, in)
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	first, err := e.ImagePrompt(t.Context(), in)
	require.NoError(t, err)
	again, err := e.ImagePrompt(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, first, again)
	write(synth.IPAdapter, 2)
	other, err := e.ImagePrompt(t.Context(), in)
	require.NoError(t, err)
	require.Greater(t, enginetest.RelativeError(first.Seen, other.Seen), 0.1)
	write(synth.IPAdapterPlus, 1)
	plus, err := e.ImagePrompt(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, 16, plus.Tokens)
	require.NoError(t, os.Truncate(path, 5000))
	_, err = e.ImagePrompt(t.Context(), in)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, path)
	write(synth.IPAdapter, 1)
	again, err = e.ImagePrompt(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, first, again)

	e.SetMemory(e.Info().WeightBytes) // there is room for nothing else
	write(synth.IPAdapter, 3)
	_, err = e.ImagePrompt(t.Context(), in)
	require.Equal(t, fault.Exhausted, fault.CodeOf(err))
	require.ErrorContains(t, err, "MiB beside the checkpoint")
}

// The image encoder sees what transformers' does.
func TestImageEncoderVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/ipadapter.json")
	require.NoError(t, err)
	var file struct {
		Rows              []int
		Hidden, Embedding vectors.Float32s
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer func() { require.NoError(t, e.Close()) }()
	hidden, embedding, err := sdcpp.Look(t.Context(), e, model(t, synth.ImageEncoder), waves(3*clipvision.Side*clipvision.Side))
	require.NoError(t, err)
	width := len(file.Hidden) / len(file.Rows)
	for i, row := range file.Rows {
		require.Less(t, enginetest.RelativeError(file.Hidden[i*width:(i+1)*width], hidden[row*width:(row+1)*width]), within(2e-3))
	}
	require.Less(t, enginetest.RelativeError(file.Embedding, embedding), within(2e-3))
}
