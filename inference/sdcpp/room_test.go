//go:build cgo && sdcpp

package sdcpp_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/convnet/clipvision"
	"sdworker/convnet/depth"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/footprint"
	"sdworker/inference/imageio"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// A call frees what others left behind where there is no room for both, and has the
// result that it has anyway.
func TestRoomIsMade(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	info := e.Info()
	latent := inference.LatentInput{Latent: enginetest.Noise(1, inference.LatentChannels*16*16), H: 16, W: 16}
	decoded, err := e.Decode(t.Context(), latent)
	require.NoError(t, err)
	bytes, err := os.ReadFile(model(t, synth.ControlNet))
	require.NoError(t, err)
	var nets []string
	for i := range 3 {
		nets = append(nets, filepath.Join(t.TempDir(), fmt.Sprint(i, ".safetensors")))
		require.NoError(t, os.WriteFile(nets[i], bytes, 0o600))
	}
	in := unetInput(8, 8)
	guided := func(path string) []float32 {
		in.Control = []inference.ControlInput{{Model: path, Hint: make([]float32, 3*64*64), Rows: []float32{1}, Layers: slices.Repeat([]float32{1}, inference.ControlLayers)}}
		out, err := e.PredictNoise(t.Context(), in)
		require.NoError(t, err)
		return out
	}
	want := guided(nets[0])
	one := e.Beside()
	require.GreaterOrEqual(t, one, int64(2*4_840_240))
	guided(nets[1])
	require.Equal(t, 2*one, e.Beside())
	_, unet, vae := e.Reserved()
	require.NotZero(t, unet)
	require.NotZero(t, vae)

	setRoom := func(bytes int64) { e.SetMemory((info.WeightBytes+footprint.Scratch+bytes)*10/9 + 10) }
	setRoom(info.Networks.UNet(1, 8, 8, inference.ChunkTokens, 1, 0) + 2*one + 1<<20)
	require.Equal(t, want, guided(nets[2]))
	require.Equal(t, 2*one, e.Beside(), "the one that was not used for longest is gone")
	_, _, vae = e.Reserved()
	require.Zero(t, vae)

	setRoom(info.Networks.Decode(16, 16) + 2*one)
	got, err := e.Decode(t.Context(), latent)
	require.NoError(t, err)
	require.Equal(t, decoded, got)
	require.Equal(t, 2*one, e.Beside())
	_, unet, _ = e.Reserved()
	require.Zero(t, unet)
	require.Equal(t, want, guided(nets[0]), "it is loaded again")
}

// TestMemoryPromise: the process grows by no more than what is foretold for a call, and
// by two thirds of it at least. SDWORKER_TEST_CHECKPOINT is another checkpoint.
func TestMemoryPromise(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: cmp.Or(os.Getenv("SDWORKER_TEST_CHECKPOINT"), model(t, synth.Checkpoint)), Tiles: inference.TileNever})
	defer e.Close()
	n := e.Info().Networks
	unet := func(rows, h, w, tokens int, change func(*inference.UNetInput)) func() error {
		in := inference.UNetInput{
			Latent: enginetest.Noise(1, rows*inference.LatentChannels*h*w), H: h, W: w, Timestep: slices.Repeat([]float32{500}, rows),
			Context: enginetest.Noise(2, rows*tokens*inference.TextWidth),
		}
		if change != nil {
			change(&in)
		}
		return func() error { _, err := e.PredictNoise(t.Context(), in); return err }
	}
	freeU := func(in *inference.UNetInput) {
		in.FreeU = inference.SimpleFreeU(2, 1.3, 1.4, 0.9, 0.2)
	}
	perturbed := func(in *inference.UNetInput) {
		in.Perturbed = make([]float32, len(in.Timestep))
		in.Perturbed[0] = 1
	}
	require.NoError(t, unet(1, 8, 8, 77, nil)(), "weights are read, threads begin")
	for _, tc := range []struct {
		name     string
		foretold int64
		call     func() error
	}{
		{"4 rows of 512x768", n.UNet(4, 64, 96, 77, 0, 0), unet(4, 64, 96, 77, nil)},
		{"2 rows of 1024x768", n.UNet(2, 96, 128, 154, 0, 0), unet(2, 96, 128, 154, nil)},
		{"8 rows of 512x512 with FreeU", n.UNet(8, 64, 64, 77, 0, 0), unet(8, 64, 64, 77, freeU)},
		{"8 rows of 512x512, perturbed", n.UNet(8, 64, 64, 77, 0, 0), unet(8, 64, 64, 77, perturbed)},
		{"decode 512x512", n.Decode(64, 64), func() error {
			_, err := e.Decode(t.Context(), inference.LatentInput{Latent: enginetest.Noise(1, 4*64*64), H: 64, W: 64})
			return err
		}},
		{"encode 512x384", n.Encode(48, 64), func() error {
			_, err := e.Encode(t.Context(), inference.PixelInput{Pixels: make([]float32, 3*384*512), H: 384, W: 512})
			return err
		}},
	} {
		e.Rest()
		debug.FreeOSMemory()
		before := privateBytes(t)
		require.NoError(t, tc.call(), tc.name)
		debug.FreeOSMemory()
		grown := int64(privateBytes(t) - before)
		_, reserved, _ := e.Reserved()
		t.Logf("%s: grown by %d, foretold %d (UNet's graph %d)", tc.name, grown, tc.foretold, reserved)
		require.LessOrEqual(t, grown, tc.foretold+footprint.Scratch, tc.name)
		require.LessOrEqual(t, tc.foretold, grown*3/2+footprint.Scratch, tc.name)
	}
}

// TestMemoryOfOtherNetworks: a network beside the checkpoint takes no more, at the height of
// its call, than what it would be refused for. With SDWORKER_TEST_CHECKPOINT they have their
// real sizes.
func TestMemoryOfOtherNetworks(t *testing.T) {
	checkpoint, size := model(t, synth.Checkpoint), synth.Tiny
	if real := os.Getenv("SDWORKER_TEST_CHECKPOINT"); real != "" {
		checkpoint, size = real, synth.Full
	}
	file := func(kind synth.Kind) string {
		path := filepath.Join(t.TempDir(), string(kind)+".safetensors")
		require.NoError(t, synth.Write(t.Context(), path, synth.Options{Kind: kind, Size: size}))
		return path
	}
	e := open(t, sdcpp.Options{Checkpoint: checkpoint})
	defer e.Close()
	_, err := e.PredictNoise(t.Context(), unetInput(8, 8))
	require.NoError(t, err, "weights are read, threads begin")
	before := e.Info().MemoryBytes
	depthNet, encoder, adapter, upscaler := file(synth.Depth), file(synth.ImageEncoder), file(synth.IPAdapter), file(synth.ESRGAN)
	const side = 518 // as the preprocessor makes of a square picture
	pixels := func(side int) []float32 { return waves(3 * side * side) }
	for _, tc := range []struct {
		name     string
		foretold int64 // 0: as it is refused
		call     func() error
	}{
		{"depth", 0, func() error {
			_, err := e.Depth(t.Context(), inference.DepthInput{Model: depthNet, Version: depth.V1, Positions: depth.Offset, Pixels: pixels(side), H: side, W: side})
			return err
		}},
		{"image encoder", 0, func() error {
			_, err := e.ImagePrompt(t.Context(), inference.ImagePromptInput{Adapter: adapter, Encoder: encoder, Pixels: pixels(clipvision.Side)})
			return err
		}},
		{"upscaler", footprint.Upscaler + 4*17_000_000, func() error {
			_, _, err := e.UpscalePixels(t.Context(), inference.UpscalerModel{Path: upscaler}, pixels(192), 192, 192)
			return err
		}},
		{"detector", footprint.Upscaler, func() error {
			_, err := e.Detect(t.Context(), "../detect/testdata/detect.pt", imageio.NewRGB(640, 640), 0.3)
			return err
		}},
	} {
		foretold := tc.foretold
		if foretold == 0 {
			e.SetMemory(1)
			err := tc.call()
			require.Equal(t, fault.Exhausted, fault.CodeOf(err), "%s: %v", tc.name, err)
			var path string
			var mib int64
			_, scanned := fmt.Sscanf(fault.Message(err), "%s takes about %d MiB", &path, &mib)
			require.NoError(t, scanned, "%v", err)
			foretold = (mib + 1) << 20
			e.SetMemory(before)
		}
		e.Rest()
		debug.FreeOSMemory()
		began := privateBytes(t)
		ended := make(chan error, 1)
		go func() { ended <- tc.call() }()
		var err error
		peak := began
		for running := true; running; {
			select {
			case err = <-ended:
				running = false
			case <-time.After(time.Millisecond):
				peak = max(peak, privateBytes(t))
			}
		}
		grown := int64(peak - began)
		require.NoError(t, err, tc.name)
		t.Logf("%s: grown by %d at its height, foretold %d", tc.name, grown, foretold)
		require.LessOrEqual(t, grown, foretold+footprint.Scratch, tc.name)
	}
}
