package inference_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
)

// pictureUnit is a unit of an IP-Adapter.
func pictureUnit(change func(*inference.ControlUnit)) inference.ControlUnit {
	return unitOf("ip-adapter_clip_sd15", func(u *inference.ControlUnit) {
		u.Model, u.Encoder = "/c/ip-adapter.safetensors", "/v/clip_h.pth"
		if change != nil {
			change(u)
		}
	})
}

// imagesOf returns the pictures of each UNet call.
func imagesOf(b *bench) (all [][]inference.ImageInput) {
	for _, call := range b.engine().Calls(enginetest.OpPredictNoise) {
		all = append(all, call.UNet.Images)
	}
	return all
}

// The prompt's rows see the picture, the others none; both are weighted, and only the
// values are.
func TestPicturesBesideTheText(t *testing.T) {
	b := newBench(t, nil)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) { u.Weight, u.Start, u.End = 0.5, 0.25, 0.5 })}
	}))
	require.Len(t, res.Maps, 1)
	require.Equal(t, gradient(64, 48).Pix[:3], res.Maps[0].Pix[:3], "the map is the unit's own picture")
	calls := imagesOf(b)
	require.Len(t, calls, 4)
	var acts []int
	for i, images := range calls {
		if len(images) == 0 {
			continue
		}
		acts = append(acts, i)
		require.Len(t, images[0].Values, 2)
		seen, unseen := images[0].Values[0], images[0].Values[1]
		require.Equal(t, seen[1], seen[0]/2)
		require.Equal(t, unseen[1], unseen[0]/2)
		require.NotEqual(t, seen, unseen)
	}
	require.Equal(t, []int{2, 3}, acts, "a step counts when it is done, as in A1111")
	for _, call := range b.engine().Calls(enginetest.OpPredictNoise) {
		require.Empty(t, call.UNet.Control)
	}
}

// Weights of layers go from the input to the output; files have the middle last.
func TestPictureWeightsOfLayers(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) {
			for i := range inference.ImageLayers {
				u.LayerWeights = append(u.LayerWeights, float64(i))
			}
			u.LayerWeights[3] = -1
		})}
	}))
	row := imagesOf(b)[0][0].Values[0]
	var weights []float32
	for i := range inference.ImageLayers {
		weights = append(weights, row[2*i+1]/row[2*i])
	}
	require.InDeltaSlice(t, []float32{0, 1, 2, 0, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 6}, weights, 1e-6)
}

// A picture is seen in the hires pass too, whatever the unit says of passes, beside
// ControlNets and within a region of each pass's size.
func TestPicturesInHiresWithControlNets(t *testing.T) {
	b := newBench(t, nil)
	region := imageio.NewGray(8, 8)
	b.run(t, txt2img(func(r *inference.Request) {
		r.DenoisingStrength = 0.5
		r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat", CFGScale: 7}
		r.Control = []inference.ControlUnit{
			unitOf("canny", nil), pictureUnit(func(u *inference.ControlUnit) { u.HighRes = false }), pictureUnit(func(u *inference.ControlUnit) { u.Region = &region }),
		}
	}))
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	sizes := map[int]int{}
	for _, call := range calls {
		require.Len(t, call.UNet.Control, 1)
		require.Len(t, call.UNet.Images, 2)
		sizes[call.UNet.W] = len(call.UNet.Images[1].Region)
	}
	require.Equal(t, map[int]int{8: 48 + 12 + 4 + 1, 16: 16*12 + 8*6 + 4*3 + 2*2}, sizes)
}

// Of several pictures a unit sees the mean, each with its own mask, whole where the job
// paints only what is masked.
func TestSeveralPicturesOfAUnit(t *testing.T) {
	mask := imageio.NewGray(32, 32)
	for i := range mask.Pix {
		mask.Pix[i] = 255
	}
	first := inference.ControlPicture{Image: gradient(64, 48)}
	second := inference.ControlPicture{Image: imageio.Fill(32, 32, [3]uint8{250, 20, 90}), Mask: &mask}
	values := func(more []inference.ControlPicture, pictures ...inference.ControlPicture) ([]float32, *inference.Result) {
		b := newBench(t, nil)
		res := b.run(t, img2img(func(r *inference.Request) {
			painted := imageio.NewGray(64, 48)
			painted.Pix[0] = 255
			r.Init.Mask = &inference.Mask{Image: painted, OnlyMasked: true, Fill: 1}
			r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) {
				u.Image, u.Mask, u.More, u.Weight = pictures[0].Image, pictures[0].Mask, more, 0.5
			})}
		}))
		row := slices.Concat(imagesOf(b)[0][0].Values...)
		require.NotEmpty(t, row)
		return row, res
	}
	one, res := values(nil, first)
	require.Len(t, res.Maps, 1)
	two, _ := values(nil, second)
	both, res := values([]inference.ControlPicture{second}, first)
	require.Len(t, res.Maps, 2, "each picture is shown")
	require.NotEqual(t, one, two)
	mean := make([]float32, len(one))
	for i := range mean {
		mean[i] = (one[i] + two[i]) / 2
	}
	require.InDeltaSlice(t, mean, both, 1e-5)
	three, _ := values([]inference.ControlPicture{second, second}, first)
	require.InDelta(t, (one[0]+2*two[0])/3, three[0], 1e-5)

	for want, change := range map[string]func(*inference.ControlUnit){
		"takes one image, 2 were sent":          func(u *inference.ControlUnit) { u.Encoder = "" },
		"takes at most 16 images, 17 were sent": func(u *inference.ControlUnit) { u.More = slices.Repeat(u.More, 16) },
		"a ControlNet unit has no image":        func(u *inference.ControlUnit) { u.More[0].Image = imageio.RGB{} },
		"has 32x32 pixels, its image 64x48":     func(u *inference.ControlUnit) { u.More[0].Image = first.Image },
	} {
		_, err := newBench(t, nil).Generate(t.Context(), txt2img(func(r *inference.Request) {
			r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) {
				u.More = []inference.ControlPicture{second}
				change(u)
			})}
		}), inference.Hooks{})
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
		require.ErrorContains(t, err, want)
	}
}

// An init image is what a unit without a picture sees.
func TestPictureOfInitImage(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(func(r *inference.Request) {
		r.DenoisingStrength = 0.5
		r.Init = &inference.Init{Images: []imageio.RGB{gradient(64, 48)}, NoiseMultiplier: 1}
		r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) { u.OfInit = true; u.Image = imageio.RGB{} }), pictureUnit(nil)}
	}))
	looks := b.engine().Calls(enginetest.OpImagePrompt)
	require.Len(t, looks, 2)
	require.True(t, slices.Equal(looks[0].Pixels.Pixels, looks[1].Pixels.Pixels), "both see the same picture")
}

// Jobs with other pictures and weights share calls: what is seen belongs to a row.
func TestJobsShareCallsWithPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, jobs(3))
		var outs []*outcome
		var reqs []*inference.Request
		for i := range 3 {
			reqs = append(reqs, txt2img(func(r *inference.Request) {
				r.Seed = int64(i)
				r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) { u.Image, u.Weight = gradient(64+8*i, 48), 0.5+0.25*float64(i) })}
			}))
			outs = append(outs, c.start(t.Context(), reqs[i], inference.Hooks{}))
		}
		plain := txt2img(func(r *inference.Request) { r.Seed = 9 })
		other := c.start(t.Context(), plain, inference.Hooks{})
		c.wg.Wait()
		for i, out := range append(outs, other) {
			require.NoError(t, out.err)
			requireSame(t, alone(t, append(reqs, plain)[i]), out.res.Images)
		}
		require.Equal(t, 6, slices.Max(c.rows()), "three with pictures, and never the one without")
	})
}

func TestUnitsOfWrongLayers(t *testing.T) {
	b := newBench(t, nil)
	_, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{pictureUnit(func(u *inference.ControlUnit) { u.LayerWeights = make([]float64, inference.ControlLayers) })}
	}), inference.Hooks{})
	require.ErrorContains(t, err, "has 13 layer weights, want 16")
}
