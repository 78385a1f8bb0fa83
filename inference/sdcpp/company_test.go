//go:build cgo && sdcpp

package sdcpp_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/inference/detect"
	"sdworker/inference/imageio"
	"sdworker/inference/latent"
	"sdworker/inference/regions"
	"sdworker/inference/sampler"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// kinds of requests for the tiny files; i tells one from another. Any two go together.
var kinds = []func(t *testing.T, r *inference.Request, i int){
	func(t *testing.T, r *inference.Request, _ int) {
		r.Prompt += " <lora:l:0.7>"
		r.Files.LoRAs = map[string]string{"l": model(t, synth.LoRA)}
	},
	func(t *testing.T, r *inference.Request, _ int) { r.Files.VAE = model(t, synth.VAE) },
	func(_ *testing.T, r *inference.Request, _ int) { r.Width = 96 },
	func(_ *testing.T, r *inference.Request, _ int) { r.Prompt += strings.Repeat(" a long prompt", 30) },
	func(_ *testing.T, r *inference.Request, _ int) { r.Tiling = true },
	func(_ *testing.T, r *inference.Request, _ int) { r.BatchSize = 2 },
	func(_ *testing.T, r *inference.Request, _ int) { r.BatchNum = 2 },
	func(_ *testing.T, r *inference.Request, i int) { fromPicture(r, i) },
	func(_ *testing.T, r *inference.Request, i int) {
		fromPicture(r, i)
		mask := imageio.NewGray(64, 64)
		for at := range mask.Pix {
			if at%64 > 20 && at/64 > 30 {
				mask.Pix[at] = 255
			}
		}
		soft := latent.DefaultSoft()
		r.Init.Mask = &inference.Mask{Image: mask, BlurX: 2, BlurY: 2, Fill: 1, OnlyMasked: i%2 == 0, Padding: 4, Soft: &soft}
	},
	func(_ *testing.T, r *inference.Request, _ int) {
		r.Hires = &inference.Hires{Width: 96, Height: 96, Upscaler: "Latent", Sampler: "Euler a", Prompt: r.Prompt, CFGScale: 6, Steps: 2}
		r.DenoisingStrength = 0.7
	},
	func(t *testing.T, r *inference.Request, i int) {
		r.Control = append(r.Control, inference.ControlUnit{Model: model(t, synth.ControlNet), Module: "none", Image: shade(i), Weight: 1, End: 1, LowRes: true, HighRes: true})
	},
	func(t *testing.T, r *inference.Request, i int) {
		r.Control = append(r.Control, inference.ControlUnit{
			Model: model(t, synth.IPAdapter), Encoder: model(t, synth.ImageEncoder), Module: "ip-adapter_clip_sd15", Image: shade(i), Weight: 0.8, End: 1,
		})
	},
	func(_ *testing.T, r *inference.Request, i int) {
		r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(1+i%2, 1.3, 1.4, 0.9, 0.2), End: 1}
	},
	func(_ *testing.T, r *inference.Request, _ int) {
		r.Settings.Perturbation = sampler.Perturbation{Scale: 3, End: 1}
	},
	func(_ *testing.T, r *inference.Request, _ int) { r.Settings.StepCache = 0.4 },
	func(_ *testing.T, r *inference.Request, _ int) { r.Settings.ClipSkip = 2 },
	func(_ *testing.T, r *inference.Request, _ int) {
		r.Prompt += " <hypernet:h:1>"
		r.Files.Hypernets = map[string]string{"h": "../../formats/hypernet/testdata/hypernet.pt"}
	},
	func(_ *testing.T, r *inference.Request, _ int) {
		r.Prompt += " AND a bird"
		r.Regions = &regions.Spec{Couple: &regions.Couple{Divisions: "1:2,1:2", Positions: "0:0,0:1", Weights: "1,0.5", Steps: 4}}
	},
	func(_ *testing.T, r *inference.Request, _ int) {
		r.Details = []inference.DetailUnit{{
			Model: "../detect/testdata/detect.pt", Confidence: 0.01, Selection: detect.Selection{MaxRatio: 1, Top: 2}, Prompts: []string{"a face"},
			Checkpoint: r.Files.Checkpoint, VAE: r.Files.VAE, Sampler: "Euler a", Steps: 3, CFGScale: 7, Width: 64, Height: 64, Settings: inference.DefaultSettings(),
			DenoisingStrength: 0.5, NoiseMultiplier: 1, Mask: inference.Mask{Fill: 1, OnlyMasked: true, Padding: 8},
		}}
	},
}

// shade is a picture of one colour.
func shade(i int) imageio.RGB { return imageio.Fill(64, 64, [3]uint8{uint8(8 * i), 120, 40}) }

// fromPicture makes a request img2img.
func fromPicture(r *inference.Request, i int) {
	r.DenoisingStrength = 0.6
	r.Init = &inference.Init{Images: []imageio.RGB{shade(i)}, NoiseMultiplier: 1}
}

// mixedRequest is a request of two kinds, or of one.
func mixedRequest(t *testing.T, random *rand.Rand, i int) *inference.Request {
	samplers := []string{"Euler a", "DPM++ 2M", "Heun", "DDIM", "UniPC", "LCM"}
	r := &inference.Request{
		Prompt: fmt.Sprint("animal ", i%5), NegativePrompt: "blurry", Seed: int64(i), Subseed: 1, SeedResizeW: -1, SeedResizeH: -1,
		Sampler: samplers[random.IntN(len(samplers))], Steps: 3 + random.IntN(4), CFGScale: 7, Width: 64, Height: 64, BatchSize: 1, BatchNum: 1,
		Files: inference.Files{Checkpoint: model(t, synth.Checkpoint)}, Settings: inference.DefaultSettings(),
	}
	for _, at := range random.Perm(len(kinds))[:1+i%2] {
		kinds[at](t, r, i)
	}
	if r.Init != nil {
		r.Hires = nil
	}
	return r
}

// largestDifference is that of any two values of two pictures.
func largestDifference(a, b imageio.RGB) (most int) {
	for i := range a.Pix {
		most = max(most, int(a.Pix[i])-int(b.Pix[i]), int(b.Pix[i])-int(a.Pix[i]))
	}
	return most
}

func TestRandomCompanyChangesNoPicture(t *testing.T) {
	engines := func(ctx context.Context, checkpoint string, _ func(done, total int)) (inference.Engine, error) {
		return open(t, sdcpp.Options{Checkpoint: checkpoint}), nil
	}
	random := rand.New(rand.NewPCG(3, 4))
	var reqs []*inference.Request
	var alone [][]inference.Image
	single := inference.NewPipeline(engines, inference.PipelineOptions{})
	defer single.Close()
	for i := range 30 {
		reqs = append(reqs, mixedRequest(t, random, i))
		res, err := single.Generate(t.Context(), reqs[i], inference.Hooks{})
		require.NoError(t, err, "%+v", reqs[i])
		alone = append(alone, res.Images)
	}
	again, err := single.Generate(t.Context(), reqs[0], inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, alone[0], again.Images)

	shared := inference.NewPipeline(engines, inference.PipelineOptions{Jobs: 8})
	defer shared.Close()
	q := inference.NewQueue(shared, inference.QueueOptions{Jobs: 8})
	worst := make([]int, len(reqs))
	var wg sync.WaitGroup
	for _, i := range random.Perm(len(reqs)) {
		pause := time.Duration(random.IntN(300)) * time.Millisecond
		wg.Go(func() {
			time.Sleep(pause) // to meet others at all kinds of moments; what comes of it is the same
			res, err := q.Generate(t.Context(), inference.Job{}, reqs[i])
			if !assert.NoError(t, err) || !assert.Len(t, res.Images, len(alone[i])) {
				return
			}
			for n, m := range res.Images {
				worst[i] = max(worst[i], largestDifference(alone[i][n].Pixels, m.Pixels))
			}
		})
	}
	wg.Wait()
	status := shared.Status()
	t.Logf("%d rows in %d calls; largest differences %v", status.UNetRows, status.UNetCalls, worst)
	require.Greater(t, status.UNetRows, 2*status.UNetCalls, "there was company")
	for i, w := range worst {
		require.LessOrEqual(t, w, 2, "request %d: %+v", i, reqs[i])
	}

	alike, err := shared.Generate(t.Context(), reqs[0], inference.Hooks{})
	require.NoError(t, err)
	require.Equal(t, alone[0], alike.Images, "without company nothing differs")
}
