//go:build cgo && sdcpp

package sdcpp_test

import (
	"fmt"
	"os"
	"testing"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// benchModel is the checkpoint of the benchmarks: the file that SDWORKER_BENCH_MODEL
// names, or the tiny synthetic one.
func benchModel(b *testing.B) string {
	if path := os.Getenv("SDWORKER_BENCH_MODEL"); path != "" {
		return path
	}
	return model(b, synth.Checkpoint)
}

func BenchmarkOpen(b *testing.B) {
	path := benchModel(b)
	for b.Loop() {
		open(b, sdcpp.Options{Checkpoint: path}).Close()
	}
}

// BenchmarkStep measures a sampling step with guidance: two rows in one call.
func BenchmarkStep(b *testing.B) {
	e := open(b, sdcpp.Options{Checkpoint: benchModel(b)})
	b.Cleanup(func() { e.Close() })
	for _, pixels := range []int{64, 256, 512} {
		b.Run(fmt.Sprint(pixels), func(b *testing.B) {
			side := pixels / inference.LatentScale
			in := inference.UNetInput{
				Latent: enginetest.Noise(1, 2*inference.LatentChannels*side*side), H: side, W: side,
				Timestep: []float32{500, 500},
				Context:  enginetest.Noise(2, 2*inference.ChunkTokens*inference.TextWidth),
			}
			for b.Loop() {
				if _, err := e.PredictNoise(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	e := open(b, sdcpp.Options{Checkpoint: benchModel(b)})
	b.Cleanup(func() { e.Close() })
	for _, pixels := range []int{64, 256, 512} {
		b.Run(fmt.Sprint(pixels), func(b *testing.B) {
			side := pixels / inference.LatentScale
			in := inference.LatentInput{Latent: enginetest.Noise(1, inference.LatentChannels*side*side), H: side, W: side}
			for b.Loop() {
				if _, err := e.Decode(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
