//go:build cgo && sdcpp

package sdcpp

import (
	"context"

	"sdworker/convnet"
	"sdworker/convnet/clipvision"
	"sdworker/models"
)

// WeightsHash digests every weight as it lies on the device.
func (e *Engine) WeightsHash() uint64 { return e.weightsHash() }

// Weight returns a weight as it lies on the device.
func (e *Engine) Weight(name string) ([]float32, error) { return e.weightValues(name) }

// Native is the arithmetic of merging adapters.
var Native = native{}

// Copies returns how many copies between host and device calls have made.
func (e *Engine) Copies() (in, out int) { return e.copies() }

// NativeHeap returns how many bytes C++ has allocated and not freed.
var NativeHeap = nativeHeap

// RunNet opens a network, runs it once and closes it.
func RunNet(ctx context.Context, e *Engine, net *convnet.Net, weights [][]float32, picture []float32, h, w int) ([][]float32, error) {
	g, err := e.openNet(ctx, "test", net)
	if err != nil {
		return nil, err
	}
	defer g.close(e)
	for i, values := range weights {
		if err := g.set(ctx, e, "test", i, values); err != nil {
			return nil, err
		}
	}
	return g.run(ctx, e, "test", picture, h, w)
}

// Reserved is what the graphs of text encoder, UNet and VAE hold, in bytes.
func (e *Engine) Reserved() (text, unet, vae int64) {
	return e.held(textGraph), e.held(unetGraph), e.held(vaeGraph)
}

// SetMemory gives the engine another size of its device's memory, in bytes.
func (e *Engine) SetMemory(bytes int64) { e.memory, e.info.MemoryBytes = uint64(bytes), bytes }

// Look is what an image encoder sees in a picture.
func Look(ctx context.Context, e *Engine, encoder string, pixels []float32) (hidden, embedding []float32, err error) {
	src, err := e.files.open(encoder, models.ImageEncoder)
	if err != nil {
		return nil, nil, err
	}
	defer src.close()
	v, _ := clipvision.Build(src.model.info.Shapes())
	looks, err := e.look(ctx, "test", src, v, [][]float32{pixels})
	if err != nil {
		return nil, nil, err
	}
	return looks[0].hidden, looks[0].embedding, nil
}

// Beside are the bytes of the networks beside the checkpoint.
func (e *Engine) Beside() int64 { return e.beside() }

// Rest frees all graphs.
func (e *Engine) Rest() { e.rest(allGraphs) }
