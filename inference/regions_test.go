package inference_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/inference/regions"
)

// divided is a wide request whose prompt has two parts with an area each.
func divided(change func(*inference.Request)) *inference.Request {
	return txt2img(func(r *inference.Request) {
		r.Prompt, r.Width, r.Steps = "a cat AND a bird", 256, 2
		if change != nil {
			change(r)
		}
	})
}

func halves(weights string, steps int) *regions.Spec {
	return &regions.Spec{Couple: &regions.Couple{Divisions: "1:2,1:2", Positions: "0:0,0:1", Weights: weights, Steps: steps}}
}

// requireColumns compares some columns of two pictures.
func requireColumns(t *testing.T, equal bool, a, b imageio.RGB, from, to int, text string) {
	t.Helper()
	require.Equal(t, [2]int{a.W, a.H}, [2]int{b.W, b.H})
	box := imageio.Box{X0: from, Y0: 0, X1: to, Y1: a.H}
	if equal {
		require.Equal(t, a.Crop(box), b.Crop(box), text)
	} else {
		require.NotEqual(t, a.Crop(box), b.Crop(box), text)
	}
}

// The network of the fake looks one cell far, so that cells far from the border of two
// areas are what each part makes alone.
func TestPartsPaintTheirAreas(t *testing.T) {
	for name, second := range map[string]func(*inference.Request){
		"one pass": func(*inference.Request) {},
		"hires": func(r *inference.Request) {
			r.DenoisingStrength = 1
			r.Hires = &inference.Hires{
				Width: 512, Height: 96, Upscaler: "Latent", Sampler: "Euler", Prompt: r.Prompt, NegativePrompt: r.NegativePrompt, CFGScale: 7, Steps: 2,
			}
		},
		"img2img": func(r *inference.Request) {
			r.DenoisingStrength = 0.9
			r.Init = &inference.Init{Images: []imageio.RGB{gradient(256, 48)}, NoiseMultiplier: 1}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			made := func(text string, spec *regions.Spec) imageio.RGB {
				return b.run(t, divided(func(r *inference.Request) {
					r.Prompt, r.Regions = text, spec
					second(r)
				})).Images[0].Pixels
			}
			both := made("a cat AND a bird", halves("1,1", 20))
			cat, bird, plain := made("a cat AND a bird:0", nil), made("a cat:0 AND a bird", nil), made("a cat AND a bird", nil)
			quarter := both.W / 4
			requireColumns(t, true, cat, both, 0, quarter, "the left is the cat's")
			requireColumns(t, true, bird, both, 3*quarter, 4*quarter, "the right is the bird's")
			requireColumns(t, false, cat, both, 3*quarter, 4*quarter, "and not the cat's")
			require.NotEqual(t, plain, both)

			prompter := &regions.Spec{Prompter: &regions.Prompter{Ratios: "1,1"}}
			if name != "hires" { // whose prompt is another field
				require.Equal(t, both, made("a cat BREAK a bird", &regions.Spec{Prompter: &regions.Prompter{Ratios: "1,1"}}), "parts keep the space before a word")
			}
			require.Equal(t, plain, made("a cat AND a bird", halves("1,1", 0)), "they end at once")
			prompter.Prompter.HiresOnly = true
			if name == "one pass" {
				require.Equal(t, plain, made("a cat AND a bird", prompter), "only in the hires pass")
			}
		})
	}
}

// Jobs with areas and without share the calls of the networks: areas act on what comes back.
func TestAreasInCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, inference.PipelineOptions{Jobs: 3, CallCells: 1 << 20})
		reqs := []*inference.Request{
			divided(func(r *inference.Request) { r.Regions = halves("1,1", 20) }),
			divided(func(r *inference.Request) { r.Regions, r.Seed = halves("0.3,0.9", 1), 11 }),
			divided(nil),
		}
		var outs []*outcome
		for _, req := range reqs {
			outs = append(outs, c.start(t.Context(), req, inference.Hooks{}))
		}
		c.wg.Wait()
		require.Contains(t, c.rows(), 9, "three jobs of three rows in one call")
		for i, out := range outs {
			require.NoError(t, out.err)
			alone, err := c.Generate(t.Context(), reqs[i], inference.Hooks{})
			require.NoError(t, err)
			require.Equal(t, alone.Images, out.res.Images, i)
		}
	})
}

func TestAreasAndOtherFeatures(t *testing.T) {
	b := newBench(t, nil)
	batch := b.run(t, divided(func(r *inference.Request) { r.Regions, r.BatchSize = halves("1,1", 20), 2 }))
	second := b.run(t, divided(func(r *inference.Request) { r.Regions, r.Seed, r.Subseed = halves("1,1", 20), 11, 21 }))
	require.Equal(t, second.Images[0].Pixels, batch.Images[1].Pixels, "an image does not depend on its batch")

	// Parts of the refiner have the areas, too.
	refined := func(spec *regions.Spec) imageio.RGB {
		return b.run(t, divided(func(r *inference.Request) {
			r.Regions, r.Steps, r.Refiner = spec, 4, &inference.Refiner{Checkpoint: "b.safetensors", SwitchAt: 0.5}
		})).Images[0].Pixels
	}
	require.NotEqual(t, refined(nil), refined(halves("1,1", 20)))

	// Details are pictures of their own, whose prompts are not divided.
	d := newDetailBench(t)
	d.run(t, divided(func(r *inference.Request) {
		r.Prompt, r.Regions = "a cat BREAK a bird", &regions.Spec{Prompter: &regions.Prompter{Ratios: "1,1"}}
		r.Details = []inference.DetailUnit{unit(nil)}
	}))
	var rows []int
	for _, call := range d.engine().Calls(enginetest.OpPredictNoise) {
		rows = append(rows, call.UNet.Rows())
	}
	require.Equal(t, 3, rows[0])
	require.Equal(t, 2, rows[len(rows)-1])
}

func TestDividedPromptsAreChecked(t *testing.T) {
	for text, change := range map[string]func(*inference.Request){
		"regional prompts: the prompt has 3 parts for 2 regions": func(r *inference.Request) {
			r.Prompt, r.Regions = "a BREAK b BREAK c", &regions.Spec{Prompter: &regions.Prompter{Ratios: "1,1"}}
		},
		"regional prompts: weights: could not convert": func(r *inference.Request) { r.Regions = halves("x", 1) },
	} {
		err := txt2img(change).Check()
		require.ErrorContains(t, err, text)
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
	}
}
