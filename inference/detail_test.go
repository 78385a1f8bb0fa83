package inference_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
)

// object is one at pixels x1..x2, y1..y2, both ends included.
func object(x1, y1, x2, y2, confidence float32) detect.Found {
	return detect.Found{Box: detect.Box{X1: x1, Y1: y1, X2: x2, Y2: y2}, Confidence: confidence}
}

// newDetailBench has a detector that finds two objects.
func newDetailBench(t *testing.T) *bench {
	return newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Objects: []detect.Found{object(8, 8, 23, 23, 0.9), object(40, 24, 55, 39, 0.5)}}
	})
}

// unit is an ADetailer unit with the extension's defaults.
func unit(change func(*inference.DetailUnit)) inference.DetailUnit {
	u := inference.DetailUnit{
		Model: "face.pt", Confidence: 0.3, Selection: detect.Selection{MaxRatio: 1}, Prompts: []string{"a face"}, NegativePrompts: []string{"a dog"},
		Checkpoint: "a.safetensors", Sampler: "Euler a", Steps: 4, CFGScale: 7, Width: 64, Height: 48, Settings: inference.DefaultSettings(),
		DenoisingStrength: 0.5, NoiseMultiplier: 1, Mask: inference.Mask{Fill: 1, OnlyMasked: true, Padding: 4},
	}
	if change != nil {
		change(&u)
	}
	return u
}

// changed returns the columns and rows between which two pictures differ.
func changed(a, b imageio.RGB) (x1, y1, x2, y2 int) {
	x1, y1 = a.W, a.H
	for i := range a.W * a.H {
		if [3]uint8(a.Pix[3*i:]) != [3]uint8(b.Pix[3*i:]) {
			x1, y1, x2, y2 = min(x1, i%a.W), min(y1, i/a.W), max(x2, i%a.W), max(y2, i/a.W)
		}
	}
	return x1, y1, x2, y2
}

// The refiner is the picture's, not that of its details.
func TestDetailsAreNotRefined(t *testing.T) {
	b := newDetailBench(t)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Details, r.Refiner = []inference.DetailUnit{unit(nil)}, &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: 1}
	}))
	b.run(t, txt2img(func(r *inference.Request) {
		r.Details, r.DetailsOnly = []inference.DetailUnit{unit(nil)}, true
		r.Init = &inference.Init{Images: []imageio.RGB{imageio.NewRGB(64, 48)}, Width: 64, Height: 48, NoiseMultiplier: 1}
		r.Refiner = &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: 0.5}
	}))
	require.Equal(t, []string{"a.safetensors"}, b.opened)
}

// Each object becomes a job of its own, whose result the next one goes on with.
func TestDetailsAreJobsOfTheirOwn(t *testing.T) {
	b := newDetailBench(t)
	plain := b.run(t, txt2img(nil)).Images[0]
	b.engine().Reset()
	res := b.run(t, txt2img(func(r *inference.Request) { r.Details = []inference.DetailUnit{unit(nil)} }))
	require.Len(t, b.engine().Calls(enginetest.OpDetect), 1)
	require.Len(t, b.engine().Calls(enginetest.OpEncode), 2)
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 4+2*3, "half the strength of four steps is three calls")
	require.Equal(t, int64(10), res.Images[0].Seed)

	// The same by hand: two only-masked img2img jobs, the seed one higher for the second.
	m := plain.Pixels
	for i, o := range []detect.Found{object(8, 8, 23, 23, 0.9), object(40, 24, 55, 39, 0.5)} {
		m = b.run(t, img2img(func(r *inference.Request) {
			r.Prompt, r.Seed, r.Subseed = "a face", r.Seed+int64(i), r.Subseed+int64(i)
			r.Init.Images = []imageio.RGB{m}
			r.Init.Mask = &inference.Mask{Image: o.Mask(64, 48), Fill: 1, OnlyMasked: true, Padding: 4}
		})).Images[0].Pixels
	}
	require.Equal(t, m, res.Images[0].Pixels)
	x1, y1, x2, y2 := changed(plain.Pixels, m)
	require.Equal(t, [4]int{8, 8, 55, 39}, [4]int{x1, y1, x2, y2}, "nothing beside the objects changes")
}

func TestDetailsHaveTheirOwnPrompts(t *testing.T) {
	b := newDetailBench(t)
	plain := b.run(t, txt2img(nil)).Images[0].Pixels
	run := func(change func(*inference.DetailUnit)) imageio.RGB {
		return b.run(t, txt2img(func(r *inference.Request) { r.Details = []inference.DetailUnit{unit(change)} })).Images[0].Pixels
	}
	first := run(func(u *inference.DetailUnit) { u.Prompts = []string{"a face", " [SKIP] "} })
	x1, y1, x2, y2 := changed(plain, first)
	require.Equal(t, [4]int{8, 8, 23, 23}, [4]int{x1, y1, x2, y2}, "the second object is left alone")
	second := run(func(u *inference.DetailUnit) { u.Prompts = []string{"[SKIP]", "a face"} })
	x1, y1, x2, y2 = changed(plain, second)
	require.Equal(t, [4]int{40, 24, 55, 39}, [4]int{x1, y1, x2, y2})
	require.Equal(t, plain, run(func(u *inference.DetailUnit) { u.Prompts = []string{"[SKIP]"} }), "the last prompt is that of all others")
	require.NotEqual(t, run(nil), run(func(u *inference.DetailUnit) { u.Prompts = []string{"a face", "another"} }))
	confident := run(func(u *inference.DetailUnit) { u.Confidence = 0.6 })
	require.Equal(t, first, confident, "what is less confident is not found")
}

func TestMergedDetailsAreOneJob(t *testing.T) {
	b := newDetailBench(t)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Details = []inference.DetailUnit{unit(func(u *inference.DetailUnit) { u.Selection.Merge = detect.MergeAll })}
	}))
	require.Len(t, b.engine().Calls(enginetest.OpEncode), 1)
}

// Every picture of every batch is looked at, and so is what an earlier unit left.
func TestDetailsOfBatches(t *testing.T) {
	b := newDetailBench(t)
	request := func(r *inference.Request) {
		r.Details = []inference.DetailUnit{unit(nil), unit(func(u *inference.DetailUnit) { u.Model = "hand.pt" })}
	}
	res := b.run(t, txt2img(func(r *inference.Request) { request(r); r.BatchSize, r.BatchNum = 2, 2 }))
	require.Len(t, res.Images, 4)
	var files []string
	for _, c := range b.engine().Calls(enginetest.OpDetect) {
		files = append(files, c.Path)
	}
	require.Equal(t, []string{"face.pt", "hand.pt", "face.pt", "hand.pt", "face.pt", "hand.pt", "face.pt", "hand.pt"}, files)
	for _, m := range res.Images {
		alone := b.run(t, txt2img(func(r *inference.Request) { request(r); r.Seed, r.Subseed = m.Seed, m.Subseed }))
		require.Equal(t, alone.Images[0].Pixels, m.Pixels)
	}
}

// A unit may have its own checkpoint; the job goes on with its own after it.
func TestDetailsWithAnotherCheckpoint(t *testing.T) {
	b := newDetailBench(t)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.BatchNum = 2
		r.Details = []inference.DetailUnit{unit(func(u *inference.DetailUnit) { u.Checkpoint = "b.safetensors" })}
	}))
	require.Len(t, res.Images, 2)
	require.Equal(t, []string{"a.safetensors", "b.safetensors", "a.safetensors", "b.safetensors", "a.safetensors"}, b.opened)
}

// An inpainting job of a whole picture repaints only what its mask touches.
func TestDetailsOfInpainting(t *testing.T) {
	b := newDetailBench(t)
	count := func(change func(*inference.Request)) int {
		if len(b.fakes) > 0 {
			b.engine().Reset()
		}
		b.run(t, img2img(func(r *inference.Request) {
			r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Fill: 1}
			r.Details = []inference.DetailUnit{unit(nil)}
			if change != nil {
				change(r)
			}
		}))
		return len(b.engine().Calls(enginetest.OpEncode)) - 1
	}
	require.Equal(t, 1, count(nil), "the object in the left half is left alone")
	require.Equal(t, 1, count(func(r *inference.Request) { r.Init.Mask.Invert = true }))
	require.Equal(t, 2, count(func(r *inference.Request) { r.Init.Mask.OnlyMasked = true }), "there the picture is the part")
}

func TestDetailsOnly(t *testing.T) {
	b := newDetailBench(t)
	res := b.run(t, img2img(func(r *inference.Request) {
		r.DetailsOnly = true
		r.Details = []inference.DetailUnit{unit(nil)}
	}))
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 2*3)
	x1, y1, x2, y2 := changed(gradient(64, 48), res.Images[0].Pixels)
	require.Equal(t, [4]int{8, 8, 55, 39}, [4]int{x1, y1, x2, y2})
}

// What cannot be detected leaves the picture as it is, with a note.
func TestDetailsThatFail(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Before: enginetest.FailAt(enginetest.OpDetect, 0, fault.Errorf(fault.Invalid, "detect", "face.pt is empty"))}
	})
	request := txt2img(func(r *inference.Request) {
		r.Details = []inference.DetailUnit{unit(nil), unit(func(u *inference.DetailUnit) { u.Model = "models/hand.pt" })}
	})
	res := b.run(t, request)
	require.Equal(t, []string{"ADetailer: face.pt is empty", "ADetailer: hand.pt found nothing in picture 1"}, res.Comments)
	require.Equal(t, b.run(t, txt2img(nil)).Images, res.Images)

	for want, change := range map[string]func(*inference.DetailUnit){
		"ad_confidence is 2, want 0 to 1":        func(u *inference.DetailUnit) { u.Confidence = 2 },
		"ADetailer: steps is 0, want 1 to 1000":  func(u *inference.DetailUnit) { u.Steps = 0 },
		"ADetailer: width is 0, want a multiple": func(u *inference.DetailUnit) { u.Width = 7 },
		"ADetailer: denoising_strength is 2":     func(u *inference.DetailUnit) { u.DenoisingStrength = 2 },
		"ADetailer: mask blur is":                func(u *inference.DetailUnit) { u.Mask.BlurX = 5000 },
	} {
		_, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) { r.Details = []inference.DetailUnit{unit(change)} }), inference.Hooks{})
		require.ErrorContains(t, err, want)
	}
}

// An interrupt during the details keeps the picture as far as it is.
func TestInterruptedDetails(t *testing.T) {
	control := &inference.Control{}
	b := newDetailBench(t)
	steps := 0
	res, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) { r.Details = []inference.DetailUnit{unit(nil)} }), inference.Hooks{
		Control: control,
		Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling && p.Step > 0 {
				if steps++; steps == 5 {
					control.Interrupt()
				}
			}
		},
	})
	require.NoError(t, err)
	require.True(t, res.Interrupted)
	require.Len(t, res.Images, 1)
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 5, "the second object is not begun")
}

// What the extension's options say of each object's job: its strength by the power of what
// the box leaves free, its size by the box, its seed.
func TestDetailsByTheirBoxes(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Objects: []detect.Found{object(0, 0, 31, 11, 0.9), object(40, 8, 55, 39, 0.5)}}
	})
	calls := func(change func(*inference.DetailUnit)) (sizes [][2]int, steps int) {
		t.Helper()
		b.run(t, txt2img(func(r *inference.Request) { r.Steps, r.Details = 1, []inference.DetailUnit{unit(change)} }))
		encoded, all := b.engine().Calls(enginetest.OpEncode), b.engine().Calls(enginetest.OpPredictNoise)
		for _, c := range encoded {
			sizes = append(sizes, [2]int{c.Pixels.W, c.Pixels.H})
		}
		b.engine().Reset()
		return sizes, len(all) - 1
	}
	// Boxes of 31x11 and 15x31 pixels: 64x22.7 and 31x64, in steps of 8.
	sizes, _ := calls(func(u *inference.DetailUnit) { u.MatchBoxes = true })
	require.Equal(t, [][2]int{{64, 24}, {32, 64}}, sizes)
	sizes, _ = calls(func(u *inference.DetailUnit) { u.MatchBoxes, u.OwnSize = true, true })
	require.Equal(t, [][2]int{{64, 48}, {64, 48}}, sizes)
	sizes, _ = calls(func(u *inference.DetailUnit) { u.MatchBoxes, u.Width, u.Height = true, 64, 24 })
	require.Equal(t, [2]int{64, 24}, sizes[0], "near enough")

	// 341 and 465 of 3072 pixels. 0.5 of 20 steps are 11 calls each, with a power of 2 0.395 and 0.360 are 7+1 and 7+1.
	_, steps := calls(func(u *inference.DetailUnit) { u.Steps = 20 })
	require.Equal(t, 2*(10+1), steps)
	_, steps = calls(func(u *inference.DetailUnit) { u.Steps, u.DenoisePower = 20, 2 })
	require.Equal(t, 7+1+7+1, steps)
	_, steps = calls(func(u *inference.DetailUnit) { u.Steps, u.DenoisePower = 20, 4 }) // 0.312, 0.259
	require.Equal(t, 6+1+5+1, steps)

	run := func(same bool) imageio.RGB {
		return b.run(t, txt2img(func(r *inference.Request) {
			r.Details = []inference.DetailUnit{unit(func(u *inference.DetailUnit) { u.SameSeed = same })}
		})).Images[0].Pixels
	}
	x1, _, x2, _ := changed(run(false), run(true))
	require.True(t, x1 >= 40 && x2 <= 55, "only the second object's seed is another one: %d to %d", x1, x2)
}

// A unit's ControlNet gets the part of the picture that its job paints, at that size, and
// does nothing in the picture itself.
func TestDetailsWithControlNet(t *testing.T) {
	b := newDetailBench(t)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Details = []inference.DetailUnit{unit(func(u *inference.DetailUnit) {
			u.Width, u.Height = 96, 80
			u.Control = []inference.ControlUnit{{
				Model: "tile.safetensors", Module: "none", OfInit: true, CropToMask: true, LowRes: true, HighRes: true, Weight: 0.5, End: 0.2, ResizeMode: 1, Resolution: -1, ThresholdA: -1, ThresholdB: -1,
			}}
		})}
	}))
	controlled := 0
	for i, c := range b.engine().Calls(enginetest.OpPredictNoise) {
		if i < 4 {
			require.Empty(t, c.UNet.Control, "of the picture")
			continue
		}
		require.Equal(t, [2]int{12, 10}, [2]int{c.UNet.W, c.UNet.H})
		for _, in := range c.UNet.Control {
			controlled++
			require.Equal(t, "tile.safetensors", in.Model)
			require.Len(t, in.Hint, 3*96*80)
			require.Equal(t, []float32{0.5, 0.5}, in.Rows)
		}
	}
	require.Equal(t, 4, controlled, "the extension counts the steps that are done: 0, 0 and a third")
}
