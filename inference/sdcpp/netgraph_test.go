//go:build sdcpp

package sdcpp_test

import (
	"context"
	"encoding/json"
	"image"
	_ "image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/convnet"
	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/sdcpp"
	"sdworker/internal/vectors"
	"sdworker/models/synth"
)

// every builds a network that has every kind of layer, in sizes that no vector divides.
func every(t *testing.T) (*convnet.Net, [][]float32) {
	t.Helper()
	shapes := convnet.Shapes{
		"a.weight": {7, 3, 3, 3}, "a.bias": {7}, "slope.weight": {7},
		"n.weight": {10, 7, 1, 1}, "norm.weight": {10}, "norm.bias": {10}, "norm.running_mean": {10}, "norm.running_var": {10},
		"one.weight": {1, 5, 3, 3}, "up.weight": {5, 3, 2, 2}, "up.bias": {3},
		"last.weight": {12, 19, 3, 3},
	}
	b := convnet.New(shapes, 3)
	x := b.PReLU(b.Conv(0, "a", 1), "slope")
	y := b.SiLU(b.ConvNorm(x, "n", "norm", 2, 1e-3))
	z := b.Slice(y, 5, 5)
	double := b.LeakyReLU(b.Double(z, "up"), 0.2)
	one := b.Sigmoid(b.Conv(z, "one", 1))
	pool := b.MaxPool(b.Enlarge(z, 2), 5)
	joined := b.Concat(double, b.Mul(pool, pool), b.Enlarge(one, 2), b.Unshuffle(b.Enlarge(b.Slice(x, 1, 2), 2), 2), b.Slice(pool, 1, 2))
	sum := b.Add(joined, b.Affine(joined, 0.5, -0.25))
	net, problem := b.Build(b.Shuffle(b.Conv(sum, "last", 1), 2), y)
	require.Empty(t, problem)
	return net, randomWeights(t, net, shapes)
}

func randomWeights(t *testing.T, net *convnet.Net, shapes convnet.Shapes) [][]float32 {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	weights, err := net.Load(func(name string) ([]float32, error) {
		n := int64(1)
		for _, side := range shapes[name] {
			n *= side
		}
		out := make([]float32, n)
		for i := range out {
			out[i] = random.Float32() - 0.5
			if name == "norm.running_var" {
				out[i] += 1
			}
		}
		return out, nil
	})
	require.NoError(t, err)
	return weights
}

// everyOfTokens builds a network that has every kind of layer that acts on tokens.
func everyOfTokens(t *testing.T, half bool) (*convnet.Net, [][]float32) {
	t.Helper()
	shapes := convnet.Shapes{
		"patch.weight": {24, 3, 2, 2}, "patch.bias": {24}, "first": {24}, "norm.weight": {24}, "norm.bias": {24},
		"q.weight": {40, 24}, "kv.weight": {80, 24}, "out.weight": {48, 40}, "out.bias": {48}, "eight.weight": {7, 8},
	}
	b := convnet.New(shapes, 3)
	if half {
		b.Half()
	}
	x := b.Append(b.Array("first", 1, 24, 24), b.Patches(0, "patch", 2))
	y := b.GELU(b.LayerNorm(x, "norm", 1e-5))
	attended := b.Attention(b.Linear(b.Take(y, 1, 9), "q"), b.LinearPart(y, "kv", 0, 40, 80), b.LinearPart(y, "kv", 40, 40, 80), 5)
	lines := b.Linear(b.Lines(b.Slice(0, 1, 1), 8), "eight")
	net, problem := b.Build(b.Fold(b.Linear(attended, "out"), 3), x, lines)
	require.Empty(t, problem)
	return net, randomWeights(t, net, shapes)
}

// Every layer gives on the engine what plain arithmetic gives.
func TestEngineRunsNetworks(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	for _, half := range []bool{false, true} {
		tokens, values := everyOfTokens(t, half)
		picture := make([]float32, 3*12*8)
		for i := range picture {
			picture[i] = float32(i*7919%1009)/1009 - 0.5
		}
		got, err := sdcpp.RunNet(t.Context(), e, tokens, values, picture, 12, 8)
		require.NoError(t, err)
		for i, want := range tokens.Evaluate(values, picture, 12, 8) {
			require.InDeltaSlice(t, want, got[i], within(2e-3), "output %d of tokens", i)
		}
	}
	net, weights := every(t)
	for _, size := range [][2]int{{8, 8}, {14, 22}, {8, 8}} {
		h, w := size[0], size[1]
		picture := make([]float32, 3*h*w)
		for i := range picture {
			picture[i] = float32(i*7919%1009) / 1009
		}
		got, err := sdcpp.RunNet(t.Context(), e, net, weights, picture, h, w)
		require.NoError(t, err)
		for i, want := range net.Evaluate(weights, picture, h, w) {
			require.InDeltaSlice(t, want, got[i], within(2e-4), "output %d at %dx%d", i, w, h)
		}
	}
}

// The engine finds what ultralytics finds, and takes files as they come.
func TestEngineDetects(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	const folder = "../detect/testdata"
	raw, err := os.ReadFile(filepath.Join(folder, "found.json"))
	require.NoError(t, err)
	var recorded struct {
		Cases []struct {
			File          string
			Width, Height int
			Confidence    float64
			Boxes         [][4]float32
			Confidences   []float32
		}
	}
	require.NoError(t, json.Unmarshal(raw, &recorded))
	f, err := os.Open(filepath.Join(folder, "picture.png"))
	require.NoError(t, err)
	defer f.Close()
	decoded, _, err := image.Decode(f)
	require.NoError(t, err)
	m := imageio.NewRGB(decoded.Bounds().Dx(), decoded.Bounds().Dy())
	for i := range m.W * m.H {
		r, g, b, _ := decoded.At(i%m.W, i/m.W).RGBA()
		m.Pix[3*i], m.Pix[3*i+1], m.Pix[3*i+2] = uint8(r>>8), uint8(g>>8), uint8(b>>8)
	}
	for _, c := range recorded.Cases {
		found, err := e.Detect(t.Context(), filepath.Join(folder, c.File), m.Resize(c.Width, c.Height, imageio.Nearest), c.Confidence)
		require.NoError(t, err)
		require.Len(t, found, len(c.Boxes))
		for i, f := range found {
			require.InDeltaSlice(t, []float32{f.Box.X1, f.Box.Y1, f.Box.X2, f.Box.Y2}, c.Boxes[i][:], 0.3)
			require.InDelta(t, c.Confidences[i], f.Confidence, 2e-3)
		}
	}

	path := filepath.Join(t.TempDir(), "face.pt")
	whole, err := os.ReadFile(filepath.Join(folder, "detect.pt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, whole[:len(whole)/2], 0o600))
	_, err = e.Detect(t.Context(), path, m, 0.3)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "face.pt is not a readable PyTorch file")

	require.NoError(t, os.WriteFile(path, whole, 0o600))
	plain, err := e.Detect(t.Context(), path, m, 0.3)
	require.NoError(t, err)
	require.NotEmpty(t, plain)
	require.NoError(t, os.Remove(path))
	other, err := os.ReadFile(filepath.Join(folder, "segment.pt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, other, 0o600))
	e.Renew()
	replaced, err := e.Detect(t.Context(), path, m, 0.3)
	require.NoError(t, err)
	require.NotEqual(t, len(plain), len(replaced), "the file that has the name now counts")
}

// The engine enlarges as the original networks do, in tiles too, and pictures of odd
// sides where a network takes pixels in groups.
func TestEngineUpscales(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), AllowPickle: true})
	defer e.Close()
	const folder = "../../convnet/superres/testdata"
	raw, err := os.ReadFile(filepath.Join(folder, "enlarged.json"))
	require.NoError(t, err)
	var recorded struct {
		Height, Width int
		Picture       vectors.Float32s
		Cases         []struct {
			File   string
			Factor int
			Want   vectors.Float32s
		}
	}
	require.NoError(t, json.Unmarshal(raw, &recorded))
	require.NotEmpty(t, recorded.Cases)
	for _, c := range recorded.Cases {
		path := filepath.Join(folder, c.File)
		got, factor, err := e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: path}, recorded.Picture, recorded.Height, recorded.Width)
		require.NoError(t, err)
		require.Equal(t, c.Factor, factor)
		want := c.Want
		require.Len(t, got, len(want))
		for i, v := range want {
			want[i] = min(max(v, 0), 1)
		}
		tolerance := 2e-3
		if strings.HasPrefix(c.File, "span-x2") {
			tolerance = 2e-2 // of random weights its values reach 100 before they are cut off
		}
		require.InDeltaSlice(t, want, got, tolerance, c.File)

		requireJoinedTiles(t, e, path, c.Factor)
	}
}

// Two files are mixed weight by weight, as Real-ESRGAN's program does it.
func TestUpscalersAreMixed(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), AllowPickle: true})
	defer e.Close()
	a, b := seeded(t, synth.ESRGAN, 7), seeded(t, synth.ESRGAN, 8)
	const h, w = 5, 6
	enlarge := func(m inference.UpscalerModel) []float32 {
		out, _, err := e.UpscalePixels(t.Context(), m, enginetest.Noise(3, 3*h*w), h, w)
		require.NoError(t, err)
		return out
	}
	mixture := func(share float64) inference.UpscalerModel {
		return inference.UpscalerModel{Path: a, Other: b, Share: share}
	}
	of := func(path string) []float32 { return enlarge(inference.UpscalerModel{Path: path}) }

	got := enlarge(mixture(0.25))
	require.NotEqual(t, of(a), got)
	require.InDeltaSlice(t, of(mixedFile(t, a, b, 0.25)), got, 1e-6)
	require.NotEqual(t, got, enlarge(mixture(0.75)), "a mixture that is loaded is not another one")
	require.Equal(t, of(a), enlarge(mixture(1)))
	require.Equal(t, of(b), enlarge(mixture(0)))

	const other = "../../convnet/superres/testdata/rrdb-x4.pth"
	_, _, err := e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: a, Other: other, Share: 0.5}, enginetest.Noise(3, 3*h*w), h, w)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "are upscalers of different shapes, which cannot be mixed")
	require.Equal(t, of(b), enlarge(mixture(0)), "what failed left nothing behind")
}

// mixedFile writes the mixture of two files of the same tensors, as float32.
func mixedFile(t *testing.T, a, b string, share float32) string {
	t.Helper()
	first, err := safetensors.Open(a)
	require.NoError(t, err)
	defer first.Close()
	second, err := safetensors.Open(b)
	require.NoError(t, err)
	defer second.Close()
	var tensors []safetensors.Tensor
	values := map[string][]float32{}
	for _, tensor := range first.Tensors {
		x, _, err := first.Float32s(tensor.Name)
		require.NoError(t, err)
		y, _, err := second.Float32s(tensor.Name)
		require.NoError(t, err)
		for i := range x {
			x[i] = share*x[i] + (1-share)*y[i]
		}
		values[tensor.Name] = x
		tensors = append(tensors, safetensors.Tensor{Name: tensor.Name, DType: safetensors.F32, Shape: tensor.Shape})
	}
	header, err := safetensors.Layout(nil, tensors)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "mixed.safetensors")
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	_, err = header.WriteTo(file)
	require.NoError(t, err)
	for _, tensor := range header.Tensors {
		raw := make([]byte, tensor.Size)
		_, err := safetensors.Encode(raw, values[tensor.Name], safetensors.F32)
		require.NoError(t, err)
		_, err = file.WriteAt(raw, header.DataStart+tensor.Offset)
		require.NoError(t, err)
	}
	return path
}

// requireJoinedTiles enlarges a picture that is two tiles high, of odd sides, and compares
// it with the two tiles enlarged alone, each of which fades over the 8 pixels at its
// borders.
func requireJoinedTiles(t *testing.T, e *sdcpp.Engine, path string, factor int) {
	t.Helper()
	const tile, h, w, fade = 192, 205, 13, 8.0
	random := rand.New(rand.NewPCG(1, 2))
	whole := make([]float32, 3*h*w)
	for i := range whole {
		whole[i] = random.Float32()
	}
	enlarge := func(from, rows int) []float32 {
		var in []float32
		for p := range 3 {
			in = append(in, whole[(p*h+from)*w:][:rows*w]...)
		}
		out, _, err := e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: path}, in, rows, w)
		require.NoError(t, err)
		require.Len(t, out, 3*rows*w*factor*factor)
		return out
	}
	starts := []int{0, h - tile}
	got, parts := enlarge(0, h), [][]float32{enlarge(starts[0], tile), enlarge(starts[1], tile)}
	outW, outH, side := w*factor, h*factor, tile*factor
	want := make([]float32, len(got))
	for i := range want {
		p, y := i/(outH*outW), i/outW%outH
		var sum, weights float64
		for k, start := range starts {
			at := y - start*factor
			if at < 0 || at >= side {
				continue
			}
			weight := min(1, (float64(min(at, side-1-at))+0.5)/(fade*float64(factor)))
			sum += weight * float64(parts[k][(p*side+at)*outW+i%outW])
			weights += weight
		}
		want[i] = float32(sum / weights)
	}
	require.InDeltaSlice(t, want, got, 1e-5, path)
	require.NotEqual(t, parts[0], parts[1])
}

// canceledAt is a context that ends when it is looked at for the n-th time, which the
// engine does once in each of its calls, before the network begins.
type canceledAt struct {
	context.Context //nolint:containedctx // it is one itself
	end             context.CancelFunc
	left            int
}

func (c *canceledAt) Done() <-chan struct{} {
	if c.left--; c.left == 0 {
		c.end()
	}
	return c.Context.Done()
}

// A cancel ends the network that runs, not only the one after it, and leaves the engine as
// it was: it comes while the last tile is computed, or the only picture of a detector.
func TestNetworksEndWithinACall(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), AllowPickle: true})
	defer e.Close()
	const h, w = 200, 192 // two tiles
	pixels := make([]float32, 3*h*w)
	upscaler, detector := "../../convnet/superres/testdata/compact-x4.pth", "../detect/testdata/detect.pt"
	for name, tc := range map[string]struct {
		calls int
		run   func(ctx context.Context) error
	}{
		"upscaler": {2, func(ctx context.Context) error {
			_, _, err := e.UpscalePixels(ctx, inference.UpscalerModel{Path: upscaler}, pixels, h, w)
			return err
		}},
		"detector": {1, func(ctx context.Context) error {
			_, err := e.Detect(ctx, detector, imageio.NewRGB(192, 192), 0.3)
			return err
		}},
	} {
		require.NoError(t, tc.run(t.Context()), "which loads the model")
		canceled := false
		for range 200 { // the word to stop may come when the network has ended
			ctx, end := context.WithCancel(t.Context())
			at := &canceledAt{ctx, end, tc.calls}
			err := tc.run(at)
			end()
			if err != nil {
				require.Equal(t, fault.Canceled, fault.CodeOf(err), name)
				require.Zero(t, at.left, "%s: a call began after the cancel", name)
				canceled = true
				break
			}
		}
		require.True(t, canceled, name)
		require.NoError(t, tc.run(t.Context()), name)
	}
}
