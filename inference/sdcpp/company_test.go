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
	"sdworker/inference/imageio"
	"sdworker/inference/regions"
	"sdworker/inference/sampler"
	"sdworker/inference/sdcpp"
	"sdworker/models/synth"
)

// mixedRequest is one of many kinds of requests for the tiny files.
func mixedRequest(t *testing.T, random *rand.Rand, i int) *inference.Request {
	samplers := []string{"Euler a", "DPM++ 2M", "Heun", "DDIM", "UniPC", "LCM"}
	r := &inference.Request{
		Prompt: fmt.Sprint("animal ", i%5), NegativePrompt: "blurry", Seed: int64(i), Subseed: 1, SeedResizeW: -1, SeedResizeH: -1,
		Sampler: samplers[random.IntN(len(samplers))], Steps: 3 + random.IntN(4), CFGScale: 7, Width: 64, Height: 64, BatchSize: 1, BatchNum: 1,
		Files: inference.Files{Checkpoint: model(t, synth.Checkpoint)}, Settings: inference.DefaultSettings(),
	}
	switch random.IntN(13) {
	case 0:
		r.Prompt += " <lora:l:0.7>"
		r.Files.LoRAs = map[string]string{"l": model(t, synth.LoRA)}
	case 1:
		r.Files.VAE = model(t, synth.VAE)
	case 2:
		r.Width = 96
	case 3:
		r.Prompt = strings.Repeat("a long prompt ", 30)
	case 4:
		r.Tiling = true
	case 5:
		r.BatchSize = 2
	case 6:
		r.DenoisingStrength = 0.6
		r.Init = &inference.Init{Images: []imageio.RGB{imageio.Fill(64, 64, [3]uint8{uint8(8 * i), 120, 40})}, NoiseMultiplier: 1}
	case 7:
		r.Control = []inference.ControlUnit{{Model: model(t, synth.ControlNet), Module: "none", Image: imageio.Fill(64, 64, [3]uint8{uint8(8 * i), 90, 200}), Weight: 1, End: 1, LowRes: true}}
	case 8:
		r.Settings.FreeU = inference.TimedFreeU{FreeU: inference.SimpleFreeU(1+i%2, 1.3, 1.4, 0.9, 0.2), End: 1}
	case 9:
		r.Settings.Perturbation = sampler.Perturbation{Scale: 3, End: 1}
	case 10:
		r.Prompt += " <hypernet:h:1>"
		r.Files.Hypernets = map[string]string{"h": "../../formats/hypernet/testdata/hypernet.pt"}
	case 11:
		r.Prompt += " AND a bird"
		r.Regions = &regions.Spec{Couple: &regions.Couple{Divisions: "1:2,1:2", Positions: "0:0,0:1", Weights: "1,0.5", Steps: 4}}
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
