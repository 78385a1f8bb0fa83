package inference_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/footprint"
	"sdworker/inference/imageio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a pipeline over fake engines.
type bench struct {
	*inference.Pipeline
	opened []string
	fakes  []*enginetest.Fake
}

// newBench returns a pipeline whose engines are made by fake, or are plain ones
// when fake is nil.
func newBench(t *testing.T, fake func() *enginetest.Fake) *bench {
	b := &bench{}
	if fake == nil {
		fake = func() *enginetest.Fake { return &enginetest.Fake{} }
	}
	b.Pipeline = inference.NewPipeline(func(_ context.Context, checkpoint string, progress func(done, total int)) (inference.Engine, error) {
		progress(1, 1)
		b.opened = append(b.opened, checkpoint)
		b.fakes = append(b.fakes, fake())
		return b.fakes[len(b.fakes)-1], nil
	}, inference.PipelineOptions{})
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// engine is the fake opened last.
func (b *bench) engine() *enginetest.Fake { return b.fakes[len(b.fakes)-1] }

func (b *bench) run(t *testing.T, req *inference.Request) *inference.Result {
	t.Helper()
	res, err := b.Generate(t.Context(), req, inference.Hooks{})
	require.NoError(t, err)
	return res
}

// txt2img is a small valid request.
func txt2img(change func(*inference.Request)) *inference.Request {
	r := &inference.Request{
		Prompt: "a cat", NegativePrompt: "a dog", Seed: 10, Subseed: 20, SeedResizeW: -1, SeedResizeH: -1,
		Sampler: "Euler a", Steps: 4, CFGScale: 7, Width: 64, Height: 48, BatchSize: 1, BatchNum: 1,
		Files: inference.Files{Checkpoint: "a.safetensors"}, Settings: inference.DefaultSettings(),
	}
	if change != nil {
		change(r)
	}
	return r
}

// gradient is an init image of many colours.
func gradient(w, h int) imageio.RGB {
	m := imageio.NewRGB(w, h)
	for i := range w * h {
		m.Pix[3*i], m.Pix[3*i+1], m.Pix[3*i+2] = uint8(i%w*255/w), uint8(i/w*255/h), uint8(i%251)
	}
	return m
}

func img2img(change func(*inference.Request)) *inference.Request {
	return txt2img(func(r *inference.Request) {
		r.DenoisingStrength = 0.5
		r.Init = &inference.Init{Images: []imageio.RGB{gradient(64, 48)}, NoiseMultiplier: 1}
		if change != nil {
			change(r)
		}
	})
}

// halfMask repaints the right half.
func halfMask(w, h int) imageio.Gray {
	m := imageio.NewGray(w, h)
	for i := range m.Pix {
		if i%w >= w/2 {
			m.Pix[i] = 255
		}
	}
	return m
}

func TestSameSeedSamePicture(t *testing.T) {
	b := newBench(t, nil)
	first := b.run(t, txt2img(nil))
	require.Len(t, first.Images, 1)
	require.Equal(t, 64, first.Images[0].Pixels.W)
	require.Equal(t, 48, first.Images[0].Pixels.H)
	other := b.run(t, txt2img(func(r *inference.Request) { r.Seed = 11 }))
	require.NotEqual(t, first.Images[0].Pixels, other.Images[0].Pixels)
	require.Equal(t, first.Images, b.run(t, txt2img(nil)).Images)
	require.Len(t, b.opened, 1, "the checkpoint is loaded once")
}

func TestBatchIsItsImagesAlone(t *testing.T) {
	b := newBench(t, nil)
	for _, name := range []string{"Euler a", "DPM++ 2M SDE", "DPM++ SDE", "Restart", "DDIM", "UniPC", "LCM", "Heun"} {
		t.Run(name, func(t *testing.T) {
			batch := b.run(t, txt2img(func(r *inference.Request) { r.Sampler, r.BatchSize, r.BatchNum, r.Steps = name, 3, 2, 6 }))
			require.Len(t, batch.Images, 6)
			for i, m := range batch.Images {
				require.Equal(t, int64(10+i), m.Seed)
				require.Equal(t, int64(20+i), m.Subseed)
				alone := b.run(t, txt2img(func(r *inference.Request) { r.Sampler, r.Seed, r.Steps = name, m.Seed, 6 }))
				require.Equal(t, alone.Images[0].Pixels, m.Pixels, "image %d", i)
			}
		})
	}
}

func TestOneUNetCallPerStepForTheWholeBatch(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(func(r *inference.Request) { r.BatchSize = 3 }))
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls, 4)
	for _, c := range calls {
		require.Len(t, c.UNet.Timestep, 6)
	}
}

func TestPromptsAreEncodedOnce(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(nil))
	require.Len(t, b.engine().Calls(enginetest.OpEncodeText), 2)
	b.run(t, txt2img(func(r *inference.Request) { r.Seed = 99 }))
	require.Len(t, b.engine().Calls(enginetest.OpEncodeText), 2, "a second job with the same prompts encodes nothing")
	b.run(t, txt2img(func(r *inference.Request) { r.Settings.ClipSkip = 2 }))
	require.Len(t, b.engine().Calls(enginetest.OpEncodeText), 4)
}

func TestNegativePromptOfAnotherLengthIsACallOfItsOwn(t *testing.T) {
	long := "a BREAK b"
	b := newBench(t, nil)
	b.run(t, txt2img(func(r *inference.Request) { r.Prompt = long }))
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls, 8)
	require.Len(t, calls[0].UNet.Context, 2*77*768)
	require.Len(t, calls[1].UNet.Context, 77*768)

	b.engine().Reset()
	padded := b.run(t, txt2img(func(r *inference.Request) { r.Prompt, r.Settings.PadCondUncond = long, true }))
	require.True(t, padded.PaddedConds)
	calls = b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls, 4)
	require.Len(t, calls[0].UNet.Context, 2*2*77*768)
}

// Parts of AND of different length are padded with the last vector of the shorter
// one; a negative prompt as long as the longest shares their call.
func TestPartsOfDifferentLengthShareACall(t *testing.T) {
	b := newBench(t, nil)
	b.run(t, txt2img(func(r *inference.Request) {
		r.Prompt, r.NegativePrompt, r.BatchSize = "a cat AND a dog BREAK a bird", "x BREAK y", 2
	}))
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls, 4, "one call a step")
	const row = 2 * inference.ChunkTokens * inference.TextWidth
	require.Len(t, calls[0].UNet.Context, 6*row, "two parts and a negative prompt for each image")
	short := calls[0].UNet.Context[:row]
	last := short[row/2-inference.TextWidth : row/2]
	for i := row / 2; i < row; i += inference.TextWidth {
		require.Equal(t, last, short[i:i+inference.TextWidth])
	}
}

func TestLoRAsActForTheirJobOnly(t *testing.T) {
	b := newBench(t, nil)
	plain := b.run(t, txt2img(nil))
	with := func(r *inference.Request) {
		r.Prompt = "a cat<lora:foo:0.5:0.8><lora:gone:1>"
		r.Files.LoRAs = map[string]string{"foo": "/loras/foo.safetensors"}
	}
	res := b.run(t, txt2img(with))
	require.Equal(t, []string{"foo"}, res.UsedLoRAs)
	require.Contains(t, res.Comments, "Networks not found: gone")
	require.NotEqual(t, plain.Images, res.Images)
	sets := b.engine().Calls(enginetest.OpSetLoRAs)
	require.Len(t, sets, 1)
	require.Equal(t, []inference.LoRA{{Path: "/loras/foo.safetensors", TextEncoder: 0.5, UNet: 0.8}}, sets[0].LoRAs)
	b.run(t, txt2img(with))
	require.Len(t, b.engine().Calls(enginetest.OpSetLoRAs), 1, "the same LoRAs again are not set again")
	require.Equal(t, plain.Images, b.run(t, txt2img(nil)).Images, "no trace is left")
	off := b.run(t, txt2img(func(r *inference.Request) { with(r); r.Settings.DisableExtraNetworks = true }))
	require.Equal(t, plain.Images, off.Images)
}

func TestHiresSizes(t *testing.T) {
	b := newBench(t, nil)
	for _, upscaler := range []string{"Latent", "Latent (nearest-exact)", "Lanczos", "Nearest", "None"} {
		t.Run(upscaler, func(t *testing.T) {
			res := b.run(t, txt2img(func(r *inference.Request) {
				r.DenoisingStrength = 0.5
				r.Hires = &inference.Hires{Width: 128, Height: 96, TruncateY: 3, Upscaler: upscaler, Sampler: "Euler", Prompt: "a cat", NegativePrompt: "a dog", CFGScale: 7}
			}))
			require.Equal(t, 128, res.Images[0].Pixels.W)
			require.Equal(t, 72, res.Images[0].Pixels.H)
		})
	}
}

func TestHiresRunsItsOwnStepsAndPrompt(t *testing.T) {
	b := newBench(t, nil)
	var seen []inference.Progress
	_, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) {
		r.DenoisingStrength = 0.7
		r.Hires = &inference.Hires{Width: 128, Height: 96, Steps: 3, Upscaler: "Latent", Sampler: "Euler", Prompt: "a bird", NegativePrompt: "a dog", CFGScale: 7}
	}), inference.Hooks{Progress: func(p inference.Progress) { seen = append(seen, p) }})
	require.NoError(t, err)
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 4+3)
	require.Len(t, b.engine().Calls(enginetest.OpEncodeText), 3, "cat, dog and bird")
	last := seen[len(seen)-1]
	require.Equal(t, 2, last.Jobs)
	require.Equal(t, 2, last.Job)
}

func TestImg2ImgRunsTheShareOfItsStrength(t *testing.T) {
	b := newBench(t, nil)
	for strength, calls := range map[float64]int{0: 1, 0.25: 2, 0.5: 3, 0.75: 4, 1: 4} {
		t.Run(fmt.Sprint(strength), func(t *testing.T) {
			b.run(t, img2img(func(r *inference.Request) { r.DenoisingStrength = strength }))
			require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), calls)
			b.engine().Reset()
		})
	}
}

func TestResizeModesGiveTheSizeAskedFor(t *testing.T) {
	b := newBench(t, nil)
	for mode := range 4 {
		res := b.run(t, img2img(func(r *inference.Request) { r.Init.ResizeMode, r.Width, r.Height = mode, 72, 40 }))
		require.Equal(t, 72, res.Images[0].Pixels.W)
		require.Equal(t, 40, res.Images[0].Pixels.H)
	}
}

func TestInpaintingKeepsWhatIsNotMasked(t *testing.T) {
	b := newBench(t, nil)
	for fill := range 4 {
		for _, onlyMasked := range []bool{false, true} {
			t.Run(fmt.Sprintf("fill %d only masked %v", fill, onlyMasked), func(t *testing.T) {
				res := b.run(t, img2img(func(r *inference.Request) {
					r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Round: true, Fill: fill, OnlyMasked: onlyMasked}
				}))
				want, got := gradient(64, 48), res.Images[0].Pixels
				require.Equal(t, want.W, got.W)
				changed := 0
				for i := range want.Pix {
					if i/3%64 < 32 {
						require.Equal(t, want.Pix[i], got.Pix[i], "x %d y %d", i/3%64, i/3/64)
					} else if want.Pix[i] != got.Pix[i] {
						changed++
					}
				}
				require.Greater(t, changed, 1000)
			})
		}
	}
}

func TestOnlyMaskedKeepsTheSizeOfTheInitImage(t *testing.T) {
	b := newBench(t, nil)
	mask := imageio.NewGray(200, 120)
	for y := 50; y < 70; y++ {
		for x := 90; x < 120; x++ {
			mask.Pix[y*200+x] = 255
		}
	}
	res := b.run(t, img2img(func(r *inference.Request) {
		r.Init.Images = []imageio.RGB{gradient(200, 120)}
		r.Init.Mask = &inference.Mask{Image: mask, Round: true, Fill: 1, OnlyMasked: true, Padding: 8, BlurX: 2, BlurY: 2}
	}))
	require.Equal(t, 200, res.Images[0].Pixels.W)
	require.Equal(t, 120, res.Images[0].Pixels.H)
}

func TestBlankMaskBecomesImg2Img(t *testing.T) {
	b := newBench(t, nil)
	plain := b.run(t, img2img(nil))
	blank := b.run(t, img2img(func(r *inference.Request) {
		r.Init.Mask = &inference.Mask{Image: imageio.NewGray(64, 48), Round: true, Fill: 1, OnlyMasked: true}
	}))
	require.Equal(t, plain.Images, blank.Images)
	require.Contains(t, blank.Comments[0], "mask is blank")
}

func TestSeveralInitImagesMakeTheBatch(t *testing.T) {
	b := newBench(t, nil)
	images := []imageio.RGB{gradient(64, 48), imageio.Fill(64, 48, [3]uint8{200, 100, 0})}
	res := b.run(t, img2img(func(r *inference.Request) { r.Init.Images, r.BatchSize = images, 3 }))
	require.Len(t, res.Images, 2)
	for i, m := range images {
		alone := b.run(t, img2img(func(r *inference.Request) { r.Init.Images, r.Seed = []imageio.RGB{m}, 10+int64(i) }))
		require.Equal(t, alone.Images[0].Pixels, res.Images[i].Pixels)
	}
}

func TestOneInitImageServesTheBatch(t *testing.T) {
	b := newBench(t, nil)
	batch := b.run(t, img2img(func(r *inference.Request) { r.BatchSize = 3 }))
	require.Len(t, batch.Images, 3)
	for i, m := range batch.Images {
		alone := b.run(t, img2img(func(r *inference.Request) { r.Seed = m.Seed }))
		require.Equal(t, alone.Images[0].Pixels, m.Pixels, "image %d", i)
	}
}

func TestInpaintingCheckpointGetsNineChannels(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Description: inference.EngineInfo{UNetChannels: 9}}
	})
	b.run(t, txt2img(nil))
	c := b.engine().Calls(enginetest.OpPredictNoise)[0]
	plane := 8 * 6
	require.Len(t, c.UNet.Latent, 2*9*plane)
	require.Equal(t, float32(1), c.UNet.Latent[4*plane], "txt2img repaints everything")
	b.engine().Reset()
	b.run(t, img2img(func(r *inference.Request) {
		r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), Round: true, Fill: 1}
	}))
	c = b.engine().Calls(enginetest.OpPredictNoise)[0]
	require.Equal(t, float32(0), c.UNet.Latent[4*plane])
	require.Equal(t, float32(1), c.UNet.Latent[4*plane+7])
	encodes := b.engine().Calls(enginetest.OpEncode)
	require.Len(t, encodes, 2, "the picture and the masked picture")
	require.InDelta(t, 0.5, encodes[1].Pixels.Pixels[63], 1e-6, "masked pixels are grey")
}

func TestSmallMemorySplitsTheBatch(t *testing.T) {
	whole := newBench(t, nil).run(t, txt2img(func(r *inference.Request) { r.BatchSize = 3 }))
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Before: func(_ context.Context, c enginetest.Call) error {
			if c.Op == enginetest.OpPredictNoise && len(c.UNet.Timestep) > 2 {
				return fault.Errorf(fault.Exhausted, "unet", "out of memory")
			}
			return nil
		}}
	})
	split := b.run(t, txt2img(func(r *inference.Request) { r.BatchSize = 3 }))
	require.Equal(t, whole.Images, split.Images)
}

// What memory has no room for is foretold: the batch is split before a call fails.
func TestForetoldMemorySplitsTheBatch(t *testing.T) {
	room := func(rows int) int64 {
		var n footprint.Networks
		need := n.UNet(rows, 8, 6, inference.ChunkTokens, 0, 0) + n.Decode(8, 6) + footprint.Scratch
		return need*10/9 + 100
	}
	three := func(r *inference.Request) { r.BatchSize = 3 }
	whole := newBench(t, nil).run(t, txt2img(three))
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Description: inference.EngineInfo{MemoryBytes: room(4)}, Before: func(_ context.Context, c enginetest.Call) error {
			if c.Op == enginetest.OpPredictNoise && len(c.UNet.Timestep) > 4 {
				return fault.Errorf(fault.Broken, "unet", "killed")
			}
			return nil
		}}
	})
	require.Equal(t, whole.Images, b.run(t, txt2img(three)).Images)

	// What does not fit at all costs no call, whichever pass it is.
	b.engine().Reset()
	for _, large := range []*inference.Request{
		txt2img(func(r *inference.Request) { r.Width, r.Height = 4096, 4096 }),
		txt2img(func(r *inference.Request) {
			r.Hires = &inference.Hires{Width: 4096, Height: 4096, Upscaler: "Latent", Sampler: r.Sampler, CFGScale: 7}
		}),
	} {
		_, err := b.Generate(t.Context(), large, inference.Hooks{})
		require.Equal(t, fault.Exhausted, fault.CodeOf(err))
		require.ErrorContains(t, err, "a picture of 4096x4096 pixels takes about 6473 MiB")
		require.Empty(t, b.engine().Calls(enginetest.OpPredictNoise))
	}
}

// A picture must be the same whatever was painted before it.
func TestALimitOfMemoryIsForgottenWithItsJob(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Before: func(_ context.Context, c enginetest.Call) error {
			if c.Op == enginetest.OpPredictNoise && c.UNet.H > 8 {
				return fault.Errorf(fault.Exhausted, "unet", "out of memory")
			}
			return nil
		}}
	})
	groups := func() (rows []int) {
		b.run(t, txt2img(nil))
		for _, c := range b.engine().Calls(enginetest.OpPredictNoise) {
			rows = append(rows, len(c.UNet.Timestep))
		}
		b.engine().Reset()
		return rows
	}
	before := groups()
	_, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) { r.Height = 1024 }), inference.Hooks{})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err))
	b.engine().Reset()
	require.Equal(t, before, groups())
}

func TestABrokenEngineIsNoLongerShown(t *testing.T) {
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Before: enginetest.FailAt(enginetest.OpDecode, 1, fault.Errorf(fault.Broken, "decode", "the device is lost"))}
	})
	b.run(t, txt2img(nil))
	require.NotEmpty(t, b.Status().Engine.Checkpoint)
	_, err := b.Generate(t.Context(), txt2img(nil), inference.Hooks{})
	require.Equal(t, fault.Broken, fault.CodeOf(err))
	require.Empty(t, b.Status().Engine.Checkpoint)
	require.Contains(t, b.Status().Err, "the device is lost")
	b.run(t, txt2img(nil))
	require.NotEmpty(t, b.Status().Engine.Checkpoint)
	require.Empty(t, b.Status().Err)
}

// A call of the engine that is done although the job was canceled meanwhile must
// not make a picture of it.
func TestAJobThatIsCanceledAtItsEndHasNoPictures(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(t, func() *enginetest.Fake {
		return &enginetest.Fake{Before: func(_ context.Context, c enginetest.Call) error {
			if c.Op == enginetest.OpDecode {
				cancel()
			}
			return nil
		}}
	})
	res, err := b.Generate(ctx, txt2img(nil), inference.Hooks{})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.Nil(t, res)
}

func TestControlUnitsActInTheirPartOfTheRun(t *testing.T) {
	b := newBench(t, nil)
	res := b.run(t, txt2img(func(r *inference.Request) {
		r.Control = []inference.ControlUnit{
			{Model: "/c/a.safetensors", Module: "none", Image: gradient(64, 48), Weight: 0.5, End: 1, LowRes: true, Mode: inference.ControlModeControlNet, ReturnMap: true},
			{Model: "/c/b.safetensors", Module: "canny", Image: gradient(64, 48), Weight: 1, Start: 0.5, End: 1, LowRes: true},
		}
	}))
	require.Len(t, res.Maps, 1)
	calls := b.engine().Calls(enginetest.OpPredictNoise)
	require.Len(t, calls[0].UNet.Control, 1)
	require.Len(t, calls[3].UNet.Control, 2)
	first := calls[0].UNet.Control[0]
	require.Equal(t, []float32{0.5, 0}, first.Rows, "the negative prompt is left alone")
	require.InDelta(t, 1, first.Layers[12], 1e-6)
	require.InDelta(t, 0.825, first.Layers[11], 1e-6)
	require.Equal(t, []float32{1, 1}, calls[3].UNet.Control[1].Rows)
}

func TestOnlyEdgesAreWeakenedInTheHiresPass(t *testing.T) {
	for module, last := range map[string]float64{"none": 1, "canny": 0.825} {
		b := newBench(t, nil)
		unit := inference.ControlUnit{Model: "/c/a.safetensors", Module: module, Image: gradient(64, 48), Weight: 1, End: 1, LowRes: true, HighRes: true}
		b.run(t, txt2img(func(r *inference.Request) {
			r.DenoisingStrength = 0.5
			r.Hires = &inference.Hires{Width: 128, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: "a cat", CFGScale: 7}
			r.Control = []inference.ControlUnit{unit}
		}))
		calls := b.engine().Calls(enginetest.OpPredictNoise)
		require.InDelta(t, 1, calls[0].UNet.Control[0].Layers[11], 1e-6, "%s, first pass", module)
		require.InDelta(t, last, calls[len(calls)-1].UNet.Control[0].Layers[11], 1e-6, "%s, hires pass", module)
	}
}

func TestInterruptFinishesWithWhatExists(t *testing.T) {
	control := inference.NewControl()
	b := newBench(t, nil)
	res, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) { r.BatchNum = 3 }), inference.Hooks{
		Control: control,
		Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling && p.Job == 1 && p.Step == 2 {
				control.Interrupt()
			}
		},
	})
	require.NoError(t, err)
	require.True(t, res.Interrupted)
	require.Len(t, res.Images, 2, "the finished one and the one in hand")
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 4+2)
}

func TestSkipGoesOnWithTheNextBatch(t *testing.T) {
	control := inference.NewControl()
	b := newBench(t, nil)
	res, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) { r.BatchNum = 3 }), inference.Hooks{
		Control: control,
		Progress: func(p inference.Progress) {
			if p.Phase == inference.PhaseSampling && p.Job == 1 && p.Step == 2 {
				control.Skip()
			}
		},
	})
	require.NoError(t, err)
	require.True(t, res.Skipped)
	require.False(t, res.Interrupted)
	require.Len(t, res.Images, 3)
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 4+2+4)
}

func TestCancelStopsWithinOneStep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(t, nil)
	res, err := b.Generate(ctx, txt2img(nil), inference.Hooks{Progress: func(p inference.Progress) {
		if p.Phase == inference.PhaseSampling && p.Step == 2 {
			cancel()
		}
	}})
	require.Nil(t, res)
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.Len(t, b.engine().Calls(enginetest.OpPredictNoise), 2)
	b.run(t, txt2img(nil))
}

func TestBrokenEngineIsReplaced(t *testing.T) {
	fail := true
	b := newBench(t, func() *enginetest.Fake {
		f := &enginetest.Fake{}
		if fail {
			f.Before = enginetest.FailAt(enginetest.OpPredictNoise, 1, fault.Errorf(fault.Broken, "unet", "device lost"))
		}
		return f
	})
	_, err := b.Generate(t.Context(), txt2img(nil), inference.Hooks{})
	require.Equal(t, fault.Broken, fault.CodeOf(err))
	require.True(t, b.fakes[0].Closed())
	fail = false
	b.run(t, txt2img(nil))
	require.Len(t, b.opened, 2)
}

func TestFailedSwitchLeavesTheOldCheckpoint(t *testing.T) {
	fakes := 0
	p := inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(int, int)) (inference.Engine, error) {
		if checkpoint == "bad" {
			return nil, fault.Errorf(fault.Invalid, "load", "not a checkpoint")
		}
		fakes++
		return &enginetest.Fake{Description: inference.EngineInfo{Checkpoint: checkpoint}}, nil
	}, inference.PipelineOptions{})
	defer func() { require.NoError(t, p.Close()) }()
	require.NoError(t, p.Load(t.Context(), inference.Files{Checkpoint: "good"}, inference.Hooks{}))
	require.Error(t, p.Load(t.Context(), inference.Files{Checkpoint: "bad"}, inference.Hooks{}))
	require.Contains(t, p.Status().Err, "not a checkpoint")
	require.Equal(t, "good", p.Status().Engine.Checkpoint)
	_, err := p.Generate(t.Context(), txt2img(func(r *inference.Request) { r.Files.Checkpoint = "good" }), inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, 1, fakes)
	require.Empty(t, p.Status().Err)
}

func TestWarmCheckpointsAreKeptUpToTheLimit(t *testing.T) {
	var opened []string
	closed := map[string]*enginetest.Fake{}
	p := inference.NewPipeline(func(_ context.Context, checkpoint string, _ func(int, int)) (inference.Engine, error) {
		opened = append(opened, checkpoint)
		closed[checkpoint] = &enginetest.Fake{}
		return closed[checkpoint], nil
	}, inference.PipelineOptions{Warm: 2})
	for _, name := range []string{"a", "b", "a", "c", "a", "b"} {
		require.NoError(t, p.Load(t.Context(), inference.Files{Checkpoint: name}, inference.Hooks{}))
	}
	require.Equal(t, []string{"a", "b", "c", "b"}, opened)
	require.True(t, closed["c"].Closed())
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	require.True(t, closed["a"].Closed())
	require.Equal(t, fault.Broken, fault.CodeOf(p.Load(t.Context(), inference.Files{Checkpoint: "a"}, inference.Hooks{})))
}

func TestPreviews(t *testing.T) {
	b := newBench(t, nil)
	for method, side := range map[string]int{inference.PreviewApprox: 8, inference.PreviewTAESD: 64, inference.PreviewFull: 64} {
		var previews []imageio.RGB
		_, err := b.Generate(t.Context(), txt2img(func(r *inference.Request) {
			r.Steps, r.Preview, r.Files.TAESD = 7, inference.Preview{Every: 2, Method: method}, "/v/taesd.safetensors"
		}), inference.Hooks{Progress: func(p inference.Progress) {
			if p.Preview != nil {
				previews = append(previews, *p.Preview)
			}
		}})
		require.NoError(t, err)
		require.Len(t, previews, 3, method)
		require.Equal(t, side, previews[0].W, method)
		require.NotEqual(t, previews[0], previews[2], method)
	}
}

func TestEmbeddingsAreNoticedWhenTheyChange(t *testing.T) {
	b := newBench(t, nil)
	path := filepath.Join(t.TempDir(), "file.safetensors")
	names := map[string]string{"mine": path}
	use := func(r *inference.Request) { r.Prompt, r.Files.Embeddings = "mine", names }
	plain := b.run(t, txt2img(use))
	require.Empty(t, plain.UsedEmbeddings)
	writeEmbedding(t, path, 0.1)
	with := b.run(t, txt2img(use))
	require.Equal(t, []string{"mine"}, with.UsedEmbeddings)
	require.NotEqual(t, plain.Images, with.Images)
	require.NoError(t, os.Remove(path))
	require.Equal(t, plain.Images, b.run(t, txt2img(use)).Images)
}

// writeEmbedding writes a textual inversion file of one vector.
func writeEmbedding(t *testing.T, path string, value float32) {
	t.Helper()
	header := fmt.Sprintf(`{"emb_params":{"dtype":"F32","shape":[1,%d],"data_offsets":[0,%d]}}`, inference.TextWidth, 4*inference.TextWidth)
	raw := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	raw = append(raw, header...)
	for range inference.TextWidth {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(value))
	}
	require.NoError(t, os.WriteFile(path, raw, 0o600))
}

func TestInvalidRequestsNameTheField(t *testing.T) {
	b := newBench(t, nil)
	for field, change := range map[string]func(*inference.Request){
		"steps":              func(r *inference.Request) { r.Steps = 0 },
		"width":              func(r *inference.Request) { r.Width = 65 },
		"height":             func(r *inference.Request) { r.Height = 1 << 20 },
		"batch_size":         func(r *inference.Request) { r.BatchSize = -1 },
		"n_iter":             func(r *inference.Request) { r.BatchSize, r.BatchNum = 1000, 1000 },
		"denoising_strength": func(r *inference.Request) { r.DenoisingStrength = 1.5 },
		"randn_source":       func(r *inference.Request) { r.Settings.NoiseSource = "dice" },
		"sampler_name":       func(r *inference.Request) { r.Sampler = "Euler b" },
		"init_images":        func(r *inference.Request) { r.Init = &inference.Init{} },
		"prompt":             func(r *inference.Request) { r.Prompt = "(a:1.2.3)" },
	} {
		_, err := b.Generate(t.Context(), txt2img(change), inference.Hooks{})
		var e *fault.Error
		require.ErrorAs(t, err, &e, field)
		require.Equal(t, field, e.Field)
	}
}

// TestJobsLeaveNoTrace runs mixed requests alone and in random order through one
// pipeline: the pictures are the same bytes.
func TestJobsLeaveNoTrace(t *testing.T) {
	files := func(r *inference.Request) {
		r.Files.LoRAs = map[string]string{"foo": "/l/foo.safetensors", "bar": "/l/bar.safetensors"}
	}
	var requests []*inference.Request
	add := func(base func(func(*inference.Request)) *inference.Request, change func(*inference.Request)) {
		requests = append(requests, base(func(r *inference.Request) { files(r); change(r) }))
	}
	for i, name := range []string{"Euler", "DPM++ 2M", "DPM++ 3M SDE", "UniPC", "PLMS", "DPM fast"} {
		add(txt2img, func(r *inference.Request) { r.Sampler, r.Seed = name, int64(i) })
		add(txt2img, func(r *inference.Request) { r.Sampler, r.Prompt = name, "a [cat|dog] <lora:foo:0.7>" })
		add(img2img, func(r *inference.Request) { r.Sampler, r.Prompt = name, "x AND y:0.5 <lora:bar:1>" })
		add(img2img, func(r *inference.Request) {
			r.Sampler = name
			r.Init.Mask = &inference.Mask{Image: halfMask(64, 48), BlurX: 2, BlurY: 2, Fill: i % 4}
		})
		add(txt2img, func(r *inference.Request) {
			r.Sampler, r.DenoisingStrength, r.Files.VAE = name, 0.6, "/v/x.safetensors"
			r.Hires = &inference.Hires{Width: 96, Height: 72, Upscaler: "Latent", Sampler: name, Prompt: "z", CFGScale: 5}
		})
	}
	require.Len(t, requests, 30)
	alone := make([]*inference.Result, len(requests))
	for i, r := range requests {
		alone[i] = newBench(t, nil).run(t, r)
	}
	b := newBench(t, nil)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(requests)) {
		got := b.run(t, requests[i])
		for k := range got.Images {
			require.True(t, bytes.Equal(alone[i].Images[k].Pixels.Pix, got.Images[k].Pixels.Pix), "request %d", i)
		}
	}
}

func TestUpscale(t *testing.T) {
	b := newBench(t, nil)
	m := gradient(37, 21)
	for _, name := range []string{"Lanczos", "Nearest"} {
		got, err := b.Upscale(t.Context(), &inference.UpscaleRequest{Image: m, Upscaler: name, Scale: 2}, inference.Hooks{})
		require.NoError(t, err)
		require.Equal(t, 72, got.W)
		require.Equal(t, 40, got.H)
	}
	got, err := b.Upscale(t.Context(), &inference.UpscaleRequest{Image: m, Upscaler: "None", Scale: 2}, inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, m, got)
	_, err = b.Upscale(t.Context(), &inference.UpscaleRequest{Image: m, Upscaler: "zzz", Scale: 2}, inference.Hooks{})
	require.Equal(t, fault.NotFound, fault.CodeOf(err))

	require.NoError(t, b.Load(t.Context(), inference.Files{Checkpoint: "a"}, inference.Hooks{}))
	got, err = b.Upscale(t.Context(), &inference.UpscaleRequest{Image: m, Upscaler: "ESRGAN_4x", Model: inference.UpscalerModel{Path: "/e/x.pth"}, Scale: 3}, inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, 104, got.W)
}

// A prediction is not reused across the end of FreeU.
func TestStepCacheAndFreeU(t *testing.T) {
	firstWithout := func(end, threshold float64) float32 {
		b := newBench(t, nil)
		b.run(t, txt2img(func(r *inference.Request) {
			r.Steps, r.Settings.StepCache = 20, threshold
			r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(1, 1.1, 1, 1, 1), End: end}
		}))
		calls := b.engine().Calls(enginetest.OpPredictNoise)
		i := slices.IndexFunc(calls, func(c enginetest.Call) bool { return c.UNet.FreeU.Version == 0 })
		require.Positive(t, i)
		return calls[i].UNet.Timestep[0]
	}
	for end := 0.2; end < 0.9; end += 0.1 {
		require.Equal(t, firstWithout(end, 0), firstWithout(end, 0.9), "FreeU ends at %g", end)
	}
}

// The step cache leaves out UNet calls, says so, and heeds ControlNet units that
// end; without the option nothing changes.
func TestStepCache(t *testing.T) {
	run := func(change func(*inference.Request)) (*inference.Result, int) {
		b := newBench(t, nil)
		res := b.run(t, txt2img(func(r *inference.Request) {
			r.Steps, r.BatchSize = 20, 2
			change(r)
		}))
		return res, len(b.engine().Calls(enginetest.OpPredictNoise))
	}
	want, all := run(func(*inference.Request) {})
	require.Empty(t, want.Comments)
	got, calls := run(func(r *inference.Request) { r.Settings.StepCache = 0.5 })
	require.Less(t, calls, all)
	require.Len(t, got.Comments, 1)
	require.Regexp(t, `^step cache: \d+ of 40 predictions were reused$`, got.Comments[0])

	for _, threshold := range []float64{-0.1, 1.5, math.NaN(), math.Inf(1)} {
		_, err := newBench(t, nil).Generate(t.Context(), txt2img(func(r *inference.Request) { r.Settings.StepCache = threshold }), inference.Hooks{})
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
		require.ErrorContains(t, err, "step_cache")
	}
}
