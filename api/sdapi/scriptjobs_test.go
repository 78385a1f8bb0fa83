package sdapi_test

import (
	"context"
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
)

func TestPromptMatrix(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	matrix := func(more map[string]any, args ...any) generated {
		body := small(map[string]any{"prompt": "a cat|red, |blue", "seed": 5, "script_name": "Prompt matrix", "script_args": append([]any{}, args...)})
		maps.Copy(body, more)
		return f.post("/sdapi/v1/txt2img", body).generated(t)
	}
	g := matrix(nil, false, false, "positive", "comma", 0)
	require.Equal(t, []any{"a cat", "a cat, red", "a cat, blue", "a cat, red, blue"}, g.info["all_prompts"])
	require.Equal(t, []any{5.0, 5.0, 5.0, 5.0}, g.info["all_seeds"])
	require.Len(t, g.images, 5)
	require.Equal(t, 1.0, g.info["index_of_first_image"])
	require.Len(t, g.info["infotexts"], 5)
	grid, _ := reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, 2*64+48, grid.W)

	g = matrix(nil, true, true, "positive", "space", 10)
	require.Equal(t, []any{"a cat", "red a cat", "blue a cat", "red blue a cat"}, g.info["all_prompts"])
	require.Equal(t, []any{5.0, 6.0, 7.0, 8.0}, g.info["all_seeds"])
	grid, _ = reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, 2*64+48+10, grid.W)

	g = matrix(map[string]any{"negative_prompt": "n|x", "batch_size": 2}, false, false, "negative", "comma", 0)
	require.Equal(t, []any{"n", "n, x"}, g.info["all_negative_prompts"])
	require.Equal(t, []any{"a cat|red, |blue", "a cat|red, |blue"}, g.info["all_prompts"])

	g = matrix(map[string]any{"prompt": "one"})
	require.Len(t, g.images, 2)
	for args, text := range map[string]string{`[false, false, "other"]`: "Unknown prompt type other", `[false, false, "positive", "dash"]`: "Unknown variations delimiter dash"} {
		got := f.post("/sdapi/v1/txt2img", `{"width": 64, "height": 64, "prompt": "a|b", "script_name": "prompt matrix", "script_args": `+args+`}`)
		require.Equal(t, 500, got.status)
		require.Contains(t, string(got.body), text)
	}
	got := f.post("/sdapi/v1/txt2img", `{"width": 64, "height": 64, "prompt": "a|b|c|d|e|f|g|h|i|j|k|l", "script_name": "prompt matrix"}`)
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "would make 2048 pictures")
}

func TestPromptLines(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	text := "a cat\n\n  --prompt a red dog --steps 3 --negative_prompt \"bad one\" --seed 77 --width 128\n--sampler_name 'ddim' --sd_model other --cfg_scale 2.5 --prompt \"x y\"\n--nope 1\n"
	g := f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "own", "seed": 5, "script_name": "Prompts from file or textbox", "script_args": []any{true, false, "end", text}})).generated(t)
	require.Equal(t, []any{"own a cat", "own a red dog", "own x y", "own --nope 1"}, g.info["all_prompts"])
	require.Equal(t, []any{5.0, 77.0, 7.0, 8.0}, g.info["all_seeds"])
	require.Len(t, g.images, 4)
	r := f.gen.Recorded()
	require.Equal(t, []int{1, 3, 1, 1}, []int{r[0].Steps, r[1].Steps, r[2].Steps, r[3].Steps})
	require.Equal(t, []int{64, 128}, []int{r[0].Width, r[1].Width})
	require.Equal(t, "bad one", r[1].NegativePrompt)
	require.Equal(t, "DDIM", r[2].Sampler)
	require.Contains(t, r[2].Files.Checkpoint, "other")
	require.InDelta(t, 2.5, r[2].CFGScale, 0)
	require.Equal(t, []any{`the line "--nope 1" is taken for a prompt: unknown commandline option: --nope`}, g.info["notes"])
	require.Contains(t, g.info["infotexts"].([]any)[2], "Model: other")

	g = f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "own", "seed": -1, "script_name": "prompts from file or textbox", "script_args": []any{false, true, "start", "a\nb"}})).generated(t)
	require.Equal(t, []any{"a own", "b own"}, g.info["all_prompts"])
	require.Equal(t, []any{4242.0, 4242.0}, g.info["all_seeds"])
	got := f.post("/sdapi/v1/txt2img", small(map[string]any{"script_name": "prompts from file or textbox", "script_args": []any{false, true, "start", " \n"}}))
	require.Equal(t, 500, got.status)
}

// Braces in the prompts of ADetailer's units are text where dynamic prompts do not act.
func TestPromptMatrixOfDetails(t *testing.T) {
	f := start(t)
	for _, scripts := range []map[string]any{
		{"ADetailer": map[string]any{"args": []any{map[string]any{"ad_model": "face_yolov8n.pt", "ad_prompt": "{red|blue} face of [PROMPT]"}}}},
		{
			"ADetailer":       map[string]any{"args": []any{map[string]any{"ad_model": "face_yolov8n.pt", "ad_prompt": "{red|blue} face of [PROMPT]"}}},
			"Dynamic Prompts": map[string]any{"args": []any{true}},
		},
	} {
		f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "a|b", "script_name": "prompt matrix", "alwayson_scripts": scripts})).generated(t)
		require.Equal(t, []string{"{red|blue} face of a, b"}, f.gen.Last().Details[0].Prompts)
	}
}

// Every option of a line reaches its picture; an unknown sampler is the first one, as in
// A1111, with a note.
func TestOptionsOfPromptLines(t *testing.T) {
	f := start(t)
	line := "--prompt --odd one --negative_prompt b c --seed 9 --subseed 8 --subseed_strength 0.5 --seed_resize_from_w 32 --seed_resize_from_h 40 --sampler_index 1 --batch_size 2 --n_iter 3 " +
		"--steps 4 --cfg_scale 1.5 --width 128 --height 72 --restore_faces true --tiling true --styles none --sd_model other --outpath_samples /etc --outpath_grids /etc --prompt_for_display x " +
		"--do_not_save_samples true --do_not_save_grid false"
	g := f.post("/sdapi/v1/txt2img", small(map[string]any{"script_name": "Prompts from file or textbox", "script_args": []any{false, false, "start", line}})).generated(t)
	require.Len(t, g.images, 6)
	require.Empty(t, g.info["notes"])
	r := f.gen.Last()
	var samplers []struct{ Name string }
	require.NoError(t, json.Unmarshal(f.get("/sdapi/v1/samplers").body, &samplers))
	require.Equal(t, samplers[1].Name, r.Sampler)
	require.Equal(t, []any{"--odd one", "b c", int64(9), int64(8), 0.5, 32, 40, 2, 3, 4, 1.5, 128, 72, true, "/models/other.safetensors"}, []any{
		r.Prompt, r.NegativePrompt, r.Seed, r.Subseed, r.SubseedStrength, r.SeedResizeW, r.SeedResizeH, r.BatchSize, r.BatchNum, r.Steps, r.CFGScale, r.Width, r.Height, r.Tiling, r.Files.Checkpoint,
	})

	g = f.post("/sdapi/v1/txt2img", small(map[string]any{"script_name": "Prompts from file or textbox", "script_args": []any{false, false, "start", "--prompt a cat --sampler_name nope"}})).generated(t)
	require.Equal(t, []any{"a cat"}, g.info["all_prompts"])
	require.Equal(t, samplers[0].Name, f.gen.Last().Sampler)
	require.Equal(t, []any{"there is no sampler 'nope'; DPM++ 2M is used"}, g.info["notes"])
	for bad, why := range map[string]string{
		"--prompt a --steps": "missing argument for command line option --steps", "--steps x": "invalid syntax", "a --steps 3": `must start with "--": a`,
		"--prompt 'a": "No closing quotation", "--sampler_index 99": "there is no such sampler_index", "--sd_model nope": "Unknown checkpoint: nope",
	} {
		g := f.post("/sdapi/v1/txt2img", small(map[string]any{"script_name": "Prompts from file or textbox", "script_args": []any{false, false, "start", bad}})).generated(t)
		require.Equal(t, []any{bad}, g.info["all_prompts"])
		require.Contains(t, g.info["notes"].([]any)[0], why)
	}
}

func TestLoopback(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	loop := func(more map[string]any, args ...any) generated {
		body := small(map[string]any{"init_images": []string{encoded(t, 64, 64)}, "denoising_strength": 0.2, "seed": 5, "script_name": "Loopback", "script_args": args})
		maps.Copy(body, more)
		return f.post("/sdapi/v1/img2img", body).generated(t)
	}
	g := loop(map[string]any{"mask": maskPicture(t, 64, 64), "inpainting_fill": 2, "batch_size": 3}, 3, 0.8, "Linear", "None")
	require.Len(t, g.images, 4, "the grid first")
	require.Equal(t, []any{5.0, 6.0, 7.0}, g.info["all_seeds"])
	r := f.gen.Recorded()
	require.Len(t, r, 3)
	for i, want := range []float64{0.2, 0.5, 0.8} {
		require.InDelta(t, want, r[i].DenoisingStrength, 1e-12)
		require.Equal(t, 1, r[i].BatchSize)
	}
	require.Equal(t, []int{2, 1, 1}, []int{r[0].Init.Mask.Fill, r[1].Init.Mask.Fill, r[2].Init.Mask.Fill})
	require.Equal(t, uint8(5), r[1].Init.Images[0].Pix[0], "the picture of the loop before, whose colour is its seed")
	require.Equal(t, uint8(6), r[2].Init.Images[0].Pix[0])
	require.Contains(t, g.info["infotexts"].([]any)[3], "Denoising strength: 0.8, ")
	require.Contains(t, g.info["infotexts"].([]any)[3], "Final denoising strength: 0.8, Denoising curve: Linear")
	grid, _ := reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, [2]int{192, 64}, [2]int{grid.W, grid.H})

	for curve, want := range map[string]float64{"Aggressive": 0.2 + 0.6*0.7071067811865475, "Lazy": 0.2 + 0.6*0.2928932188134524} {
		before := len(f.gen.Recorded())
		loop(nil, 3, 0.8, curve, "None")
		require.InDelta(t, want, f.gen.Recorded()[before+1].DenoisingStrength, 1e-12)
	}
	g = loop(map[string]any{"n_iter": 2, "override_settings": map[string]any{"return_grid": false}}, 2, 0.5, "Linear", "CLIP")
	require.Len(t, g.images, 2, "the last one of each batch")
	require.Equal(t, []any{6.0, 8.0}, g.info["all_seeds"])
	require.Equal(t, []any{"loopback: pictures are not interrogated; the prompt stays as it is"}, g.info["notes"])
	got := f.post("/sdapi/v1/img2img", map[string]any{"init_images": []string{encoded(t, 64, 64)}, "width": 64, "height": 64, "script_name": "loopback", "script_args": []any{0}})
	require.Equal(t, 500, got.status)
}

// An interrupt ends a series with what there is.
func TestScriptsCanBeInterrupted(t *testing.T) {
	f := start(t)
	f.gen.Wait = func(_ context.Context, hooks inference.Hooks, _ int) error {
		if f.gen.Jobs() == 2 {
			hooks.Control.Interrupt()
		}
		return nil
	}
	g := f.plot(nil, plotArgs([]any{1, "7-10", nil}, nil, nil, map[int]any{withLoneImages: true}))
	require.Equal(t, 2, f.gen.Jobs())
	require.Len(t, g.images, 5, "black cells take the place of what was not made")
	last, _ := reply{}.picture(t, b64(g.images[4]))
	require.Zero(t, last.Pix[0])
}

// Always-on scripts, styles and control pictures count for each picture of a plot.
func TestScriptsTakeTheWholeRequest(t *testing.T) {
	f := start(t)
	f.gen.Record = true
	unit := map[string]any{"enabled": true, "model": "canny", "image": encoded(t, 64, 64)}
	g := f.post("/sdapi/v1/img2img", small(map[string]any{
		"init_images": []string{encoded(t, 64, 64)}, "script_name": "x/y/z plot", "script_args": plotArgs([]any{1, "1,2", nil}, nil, nil, nil),
		"alwayson_scripts": map[string]any{"controlnet": map[string]any{"args": []any{unit}}}, "prompt": "{a|b}", "override_settings": map[string]any{"dynamic_prompts": true},
	})).generated(t)
	for _, r := range f.gen.Recorded() {
		require.Len(t, r.Control, 1)
		require.NotNil(t, r.Init)
		require.Equal(t, "{a|b}", r.Prompt)
	}
	require.Contains(t, g.info["infotexts"].([]any)[1], "ControlNet 0")
	require.Equal(t, []any{"dynamic prompts do nothing together with the script x/y/z plot"}, g.info["notes"])
}
