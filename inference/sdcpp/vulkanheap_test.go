//go:build cgo && sdcpp && vulkan && vulkanheap

package sdcpp_test

import (
	"math"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/footprint"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

func init() {
	heapUsed = func() int64 { return int64(sdcpp.HeapUsed()) }
}

// limitHeap leaves the device some bytes beside those taken now, until the test ends.
func limitHeap(t *testing.T, more uint64) {
	t.Helper()
	sdcpp.LimitHeap(sdcpp.HeapUsed() + more)
	t.Cleanup(func() { sdcpp.LimitHeap(math.MaxUint64) })
}

// What the device reports decides about rows, sizes and tiles, before any of its memory
// is asked for.
func TestReportedMemoryIsBelieved(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	info := e.Info()
	require.NoError(t, e.Close())
	require.True(t, info.Networks.Pairs, "graphs are those of a GPU")
	n := info.Networks
	const rows, side = 3, 8
	room := n.Decode(side, side) + n.UNet(rows, side, side, inference.ChunkTokens, 0, 0) + 1000
	heap := (info.WeightBytes+footprint.Scratch+room)*10/9 + 10
	sdcpp.LimitHeap(uint64(heap))
	t.Cleanup(func() { sdcpp.LimitHeap(math.MaxUint64) })

	e = open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	info = e.Info()
	require.Equal(t, heap, info.MemoryBytes)
	require.InDelta(t, room, info.Room(), 20)
	require.Equal(t, rows, info.UNetRows(side, side, inference.ChunkTokens, 0, 0))
	require.NoError(t, info.Admit(64, 64, 0))
	require.Equal(t, fault.Exhausted, fault.CodeOf(info.Admit(512, 512, 0)))

	used := sdcpp.HeapUsed()
	const large = 64
	_, err := e.Decode(t.Context(), inference.LatentInput{Latent: make([]float32, inference.LatentChannels*large*large), H: large, W: large, Tiles: inference.TileNever})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err))
	require.ErrorContains(t, err, "let it work in tiles")
	require.Equal(t, used, sdcpp.HeapUsed(), "nothing was tried")
}

// Whatever a call finds too little memory for, it says so, and the engine goes on as
// before: while the graph gets its memory and while it runs.
func TestACallThatFindsNoMemory(t *testing.T) {
	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	small := unetInput(4, 4)
	want, err := e.PredictNoise(t.Context(), small)
	require.NoError(t, err)
	const side = 32
	large := unetInput(side, side)
	step := uint64(e.Info().Networks.UNet(1, side, side, inference.ChunkTokens, 0, 0)+footprint.Scratch) / 16
	failed := 0
	for more := uint64(0); ; more += step {
		sdcpp.LimitHeap(sdcpp.HeapUsed() + more)
		_, err := e.PredictNoise(t.Context(), large)
		sdcpp.LimitHeap(math.MaxUint64)
		if err == nil {
			break
		}
		failed++
		require.Equal(t, fault.Exhausted, fault.CodeOf(err), "with %d MiB: %v", more>>20, err)
		got, err := e.PredictNoise(t.Context(), small)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Greater(t, failed, 3)
	t.Logf("%d sizes of memory were too small", failed)
}

func TestAFileThatFindsNoMemory(t *testing.T) {
	limitHeap(t, 1<<20)
	_, err := sdcpp.Open(t.Context(), sdcpp.Options{Checkpoint: model(t, synth.Checkpoint), Device: testDevice(t), Log: zerolog.Nop()})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err), "%v", err)
	sdcpp.LimitHeap(math.MaxUint64)

	e := open(t, sdcpp.Options{Checkpoint: model(t, synth.Checkpoint)})
	defer e.Close()
	in := inference.LatentInput{Latent: make([]float32, 4*8*8), H: 8, W: 8}
	want, err := e.Decode(t.Context(), in)
	require.NoError(t, err)
	limitHeap(t, 1<<20)
	require.Equal(t, fault.Exhausted, fault.CodeOf(e.SetVAE(t.Context(), model(t, synth.VAE))))
	got, err := e.Decode(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, want, got, "the VAE before is active")
}

// A batch for which there is no room is painted in parts, and large pictures go through
// the VAE in tiles, small ones when it must be.
func TestSmallerBatchesAndTilesFirst(t *testing.T) {
	p := pipelineOn(t, testDevice(t), sdcpp.AttentionAuto)
	batch := deviceRequest(t)
	batch.BatchSize = 4
	want := pixels(t, p, batch)
	one := deviceRequest(t)
	pixels(t, p, one) // its buffers are smaller than the batch's
	limitHeap(t, 24<<20)
	got := pixels(t, p, batch)
	for i := range want {
		requireAlike(t, "picture of a batch", want[i], got[i])
	}
}

// TestHeapIsGivenBack closes engines that have done some of everything, often. What is left
// is the buffer in which the device's driver in ggml copies, as long as the process lives:
// it has the size of the largest copy and does not grow when the same jobs come again.
func TestHeapIsGivenBack(t *testing.T) {
	const copies = 1 << 20
	before := sdcpp.HeapUsed()
	jobs := 50
	if testing.Short() {
		jobs = 5 // one of each kind
	}
	var left [2]uint64
	for round := range left {
		p := newPipeline(testDevice(t), sdcpp.AttentionAuto, inference.PipelineOptions{})
		for i := range jobs {
			mixedJob(t, p, i)
		}
		require.Greater(t, sdcpp.HeapUsed(), before+copies)
		require.NoError(t, p.Close())
		left[round] = sdcpp.HeapUsed()
	}
	require.LessOrEqual(t, left[0], before+copies)
	require.Equal(t, left[0], left[1])
}
