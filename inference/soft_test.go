package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
)

// softly makes an img2img request inpaint softly.
func softly(mask imageio.Gray, change func(*inference.Request)) *inference.Request {
	return img2img(func(r *inference.Request) {
		s := latent.DefaultSoft()
		r.Init.Mask = &inference.Mask{Image: mask, Fill: 1, Soft: &s}
		if change != nil {
			change(r)
		}
	})
}

// What has not moved is the picture itself, and what has is not; overlay_inpaint does
// not matter, as in A1111.
func TestSoftInpaintingKeepsWhatHasNotChanged(t *testing.T) {
	b := newBench(t, nil)
	for _, overlay := range []bool{true, false} {
		wide := func(r *inference.Request) {
			r.Width, r.Init.Images, r.Settings.OverlayInpaint = 192, []imageio.RGB{gradient(192, 48)}, overlay
		}
		whole := b.run(t, softly(imageio.NewGray(192, 48), wide))
		require.Equal(t, gradient(192, 48), whole.Images[0].Pixels, "a black mask")
		half := b.run(t, softly(halfMask(192, 48), wide))
		x1, _, x2, _ := changed(gradient(192, 48), half.Images[0].Pixels)
		require.Greater(t, x1, 24, "four cells of filters and their blur before the middle")
		require.Less(t, x1, 112)
		require.Equal(t, 191, x2)
	}
}

// Each picture of a batch has an overlay of its own, made of its own result.
func TestSoftInpaintingInBatches(t *testing.T) {
	b := newBench(t, nil)
	for name, change := range map[string]func(*inference.Request){
		"whole picture": func(*inference.Request) {},
		"only masked":   func(r *inference.Request) { r.Init.Mask.OnlyMasked, r.Init.Mask.Padding = true, 4 },
		"latents resized": func(r *inference.Request) {
			r.Init.ResizeMode, r.Init.Images = 3, []imageio.RGB{gradient(83, 60)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			both := b.run(t, softly(halfMask(64, 48), func(r *inference.Request) {
				change(r)
				r.Init.Mask.BlurX, r.BatchSize, r.BatchNum = 4, 2, 2
			}))
			require.Len(t, both.Images, 4)
			for i, m := range both.Images {
				alone := b.run(t, softly(halfMask(64, 48), func(r *inference.Request) {
					change(r)
					r.Init.Mask.BlurX, r.Seed, r.Subseed = 4, m.Seed, m.Subseed
				}))
				require.Equal(t, alone.Images[0].Pixels, m.Pixels, "picture %d", i)
			}
			require.NotEqual(t, both.Images[0].Pixels, both.Images[3].Pixels)
			hard := b.run(t, softly(halfMask(64, 48), func(r *inference.Request) {
				change(r)
				r.Init.Mask.BlurX, r.Init.Mask.Soft, r.Init.Mask.Round = 4, nil, true
			}))
			require.NotEqual(t, hard.Images[0].Pixels, both.Images[0].Pixels)
		})
	}
	_, err := b.Generate(t.Context(), softly(halfMask(64, 48), func(r *inference.Request) { r.Init.Mask.Soft.Contrast = 0 }), inference.Hooks{})
	require.ErrorContains(t, err, "transition contrast boost")
}
