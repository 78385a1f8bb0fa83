package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
)

// newInpaintingBench has a checkpoint of nine channels.
func newInpaintingBench(t *testing.T) *bench {
	return newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Description: inference.EngineInfo{UNetChannels: 9}}
	})
}

// A1111 fails where a picture of another size is inpainted with latents resized.
func TestInpaintingWithResizedLatents(t *testing.T) {
	b := newBench(t, nil)
	for _, size := range [][2]int{{100, 83}, {40, 30}, {64, 48}} {
		res := b.run(t, img2img(func(r *inference.Request) {
			r.Init.ResizeMode, r.Init.Images = 3, []imageio.RGB{imageio.Fill(size[0], size[1], [3]uint8{10, 200, 30})}
			r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Round: true}
		}))
		got := res.Images[0].Pixels
		require.Equal(t, [2]int{64, 48}, [2]int{got.W, got.H})
		require.Equal(t, []uint8{10, 200, 30}, got.Pix[:3], "the part that is kept")
		require.NotEqual(t, []uint8{10, 200, 30}, got.Pix[3*63:3*64])
	}
}

func TestPicturesOfSeveralSizesCannotBeResizedAsLatents(t *testing.T) {
	b := newBench(t, nil)
	_, err := b.Generate(t.Context(), img2img(func(r *inference.Request) {
		r.BatchSize, r.Init.ResizeMode = 2, 3
		r.Init.Images = []imageio.RGB{gradient(64, 48), gradient(48, 64)}
	}), inference.Hooks{})
	require.ErrorContains(t, err, "different sizes")
}

// What does not fill a latent cell is encoded all the same, as A1111 does, so
// that the rest lies where it lay.
func TestPicturesAreEncodedWhole(t *testing.T) {
	b := newBench(t, nil)
	for name, c := range map[string]struct {
		change func(*inference.Request)
		w, h   int
	}{
		"latents resized": {func(r *inference.Request) {
			r.Init.ResizeMode, r.Init.Images = 3, []imageio.RGB{gradient(101, 55)}
		}, 101, 55},
		"width of no multiple of 8": {func(r *inference.Request) { r.Init.Width, r.Init.Height = 67, 50 }, 67, 50},
		"only masked": {func(r *inference.Request) {
			r.Init.Width, r.Init.Height = 67, 50
			r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Round: true, OnlyMasked: true}
		}, 67, 50},
		"unmasked part laid over": {func(r *inference.Request) {
			r.Init.Width, r.Init.Height = 67, 50
			r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Round: true}
		}, 64, 48},
		"hires by picture": {func(r *inference.Request) {
			r.Init = nil
			r.Hires = &inference.Hires{Width: 83, Height: 62, Upscaler: "Lanczos", Sampler: "Euler", Prompt: "a cat", CFGScale: 7}
		}, 83, 62},
	} {
		t.Run(name, func(t *testing.T) {
			res := b.run(t, img2img(c.change))
			calls := b.engine().Calls(enginetest.OpEncode)
			last := calls[len(calls)-1].Pixels
			require.Equal(t, [2]int{c.w, c.h}, [2]int{last.W, last.H})
			require.Zero(t, res.Images[0].Pixels.W%8)
		})
	}
	_, err := b.Generate(t.Context(), img2img(func(r *inference.Request) { r.Init.Width = 72 }), inference.Hooks{})
	require.ErrorContains(t, err, "width 72")
}

func TestNineChannelsHaveTheSizeOfTheLatent(t *testing.T) {
	b := newInpaintingBench(t)
	b.run(t, img2img(func(r *inference.Request) {
		r.Init.ResizeMode, r.Init.Images = 3, []imageio.RGB{gradient(101, 87)}
		r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Round: true, Fill: 1}
	}))
	const plane = 8 * 6
	latent := b.engine().Calls(enginetest.OpPredictNoise)[0].UNet.Latent
	require.Len(t, latent, 2*9*plane)
	for i, v := range latent[4*plane : 5*plane] {
		require.InDelta(t, float32(i%8/4), v, 0, "mask, cell %d", i)
	}
}

// inpainting_mask_weight lets the picture through also where everything is
// repainted.
func TestConditionWeight(t *testing.T) {
	b := newInpaintingBench(t)
	middle := func(weight float64, change func(*inference.Request)) float32 {
		b.run(t, img2img(func(r *inference.Request) {
			r.Settings.ConditionWeight = weight
			r.Init.Images[0] = imageio.Fill(64, 48, [3]uint8{255, 255, 255})
			change(r)
		}))
		calls := b.engine().Calls(enginetest.OpEncode)
		return calls[len(calls)-1].Pixels.Pixels[0]
	}
	plain := func(*inference.Request) {}
	require.InDelta(t, 0.5, middle(1, plain), 1e-6)
	require.InDelta(t, 0.8, middle(0.4, plain), 1e-6)
	require.InDelta(t, 1.0, middle(0, plain), 1e-6)
	for _, upscaler := range []string{"Latent", "Lanczos"} {
		hires := func(r *inference.Request) {
			r.Init = nil
			r.Hires = &inference.Hires{Width: 96, Height: 64, Upscaler: upscaler, Sampler: "Euler", Prompt: "a cat", CFGScale: 7}
		}
		require.InDelta(t, 0.5, middle(1, hires), 1e-6, upscaler)
		require.Greater(t, max(middle(0.4, hires)-0.5, 0.5-middle(0.4, hires)), float32(1e-3), upscaler)
	}
}

func TestPastingUsesTheUpscalerOfTheSettings(t *testing.T) {
	b := newBench(t, nil)
	pasted := func(upscaler string) []uint8 {
		return b.run(t, img2img(func(r *inference.Request) {
			r.Settings.UpscalerForImg2Img = upscaler
			r.Init.Images = []imageio.RGB{gradient(256, 192)}
			r.Init.Mask = &inference.Mask{Image: halfMask(256, 192), Round: true, Fill: 1, OnlyMasked: true}
		})).Images[0].Pixels.Pix
	}
	require.Equal(t, pasted(""), pasted("Lanczos"))
	require.NotEqual(t, pasted(""), pasted("Nearest"))
}
