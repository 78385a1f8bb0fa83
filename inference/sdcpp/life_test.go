//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

// privateBytes returns the memory of this process that is not backed by a file.
func privateBytes(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			require.NoError(t, err)
			return kib << 10
		}
	}
	require.Fail(t, "no RssAnon in /proc/self/status")
	return 0
}

func TestOpenAndCloseManyTimes(t *testing.T) {
	path, lora := model(t, synth.Checkpoint), model(t, synth.LoRA)
	cycle := func(i int) {
		e := open(t, sdcpp.Options{Checkpoint: path})
		_, err := e.PredictNoise(t.Context(), unetInput(4, 4))
		require.NoError(t, err)
		if i%5 == 0 {
			setLoRAs(t, e, inference.LoRA{Path: lora, UNet: 1, TextEncoder: 1})
		}
		require.NoError(t, e.Close())
	}
	cycle(0) // first uses of allocators and thread pools
	debug.FreeOSMemory()
	heap, private := sdcpp.NativeHeap(), privateBytes(t)
	for i := range 50 {
		cycle(i)
	}
	debug.FreeOSMemory()
	// The thread of the last engine frees what it has of its own a moment after Close.
	require.Eventually(t, func() bool { return sdcpp.NativeHeap()-heap < 1<<20 }, time.Minute, time.Millisecond, "native allocations left by 50 engines")
	require.Less(t, privateBytes(t)-private, 128<<20, "growth over 50 engines, with what malloc keeps for later")
	require.Zero(t, sdcpp.Live())
}

func TestCloseDuringACall(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				_, err := e.PredictNoise(t.Context(), unetInput(8, 8))
				if err != nil {
					assert.Equal(t, fault.Broken, fault.CodeOf(err))
				}
			}
		})
		wg.Go(func() { assert.NoError(t, e.Close()) })
	}
	wg.Wait()
	require.Zero(t, sdcpp.Live())
}

func TestLoRAsLeaveNoTraceInTheWeights(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	want := e.WeightsHash()
	kohya, diffusers := model(t, synth.LoRA), model(t, synth.LoRADiffusers)
	for _, set := range [][]inference.LoRA{
		{{Path: kohya, UNet: 1, TextEncoder: 1}},
		{{Path: diffusers, UNet: 0.7, TextEncoder: 0.3}},
		{{Path: kohya, UNet: -1}, {Path: diffusers, UNet: 2, TextEncoder: 2}},
	} {
		setLoRAs(t, e, set...)
		require.NotEqual(t, want, e.WeightsHash())
	}
	setLoRAs(t, e)
	require.Equal(t, want, e.WeightsHash())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.SetLoRAs(ctx, []inference.LoRA{{Path: kohya, UNet: 1}})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.Equal(t, want, e.WeightsHash())
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("in a log writer") }

func TestALogWriterThatPanicsHarmsNobody(t *testing.T) {
	e, err := sdcpp.Open(t.Context(), sdcpp.Options{
		Checkpoint: model(t, synth.Checkpoint), Device: os.Getenv("SDWORKER_TEST_DEVICE"), Log: zerolog.New(panicking{}),
	})
	require.NoError(t, err)
	require.NoError(t, e.Close())
}

// An exception on a thread of the engine's loader is an error like any other.
func TestWeightsOfATypeThatCannotBeConverted(t *testing.T) {
	header, err := safetensors.ReadHeaderFile(model(t, synth.VAE))
	require.NoError(t, err)
	const name = "decoder.conv_in.weight"
	list := slices.Clone(header.Tensors)
	at := slices.IndexFunc(list, func(x safetensors.Tensor) bool { return x.Name == name })
	require.GreaterOrEqual(t, at, 0)
	list[at].DType = safetensors.I32
	path := modelstest.Write(t, filepath.Join(t.TempDir(), "ints.safetensors"), nil, list...)
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	err = e.SetVAE(t.Context(), path)
	require.Equal(t, fault.Invalid, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, path)
	_, err = e.Decode(t.Context(), inference.LatentInput{Latent: make([]float32, 4), H: 1, W: 1})
	require.NoError(t, err, "the engine still works")
}

func unetInput(h, w int) inference.UNetInput {
	return inference.UNetInput{
		Latent: enginetest.Noise(1, inference.LatentChannels*h*w), H: h, W: w, Timestep: []float32{500},
		Context: enginetest.Noise(2, inference.ChunkTokens*inference.TextWidth),
	}
}
