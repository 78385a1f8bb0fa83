package sdapi_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plotArgs are arguments of X/Y/Z plot: an axis is its index, values and list.
func plotArgs(x, y, z []any, set map[int]any) []any {
	var args []any
	for _, a := range [][]any{x, y, z} {
		if a == nil {
			a = []any{0, "", []any{}}
		}
		args = append(args, a...)
	}
	args = append(args, true, false, false, false, false, false, false, 0, true)
	for i, v := range set {
		args[i] = v
	}
	return args
}

const (
	withLoneImages = 10
	withSubGrids   = 11
	keepSeeds      = 12
	varyX          = 13
	varyY          = 14
	margins        = 16
	textInputs     = 17
)

// axisIndex finds an axis in the list that script-info shows.
func axisIndex(t *testing.T, f *fixture, label string) int {
	t.Helper()
	var list []struct {
		Name string
		Args []struct{ Choices []string }
	}
	require.NoError(t, json.Unmarshal(f.get("/sdapi/v1/script-info").body, &list))
	for _, s := range list {
		if s.Name == "x/y/z plot" {
			for i, l := range s.Args[0].Choices {
				if l == label {
					return i
				}
			}
		}
	}
	t.Fatalf("no axis %q", label)
	return 0
}

func (f *fixture) plot(more map[string]any, args []any) generated {
	f.t.Helper()
	body := small(map[string]any{"script_name": "X/Y/Z plot", "script_args": args})
	maps.Copy(body, more)
	return f.post("/sdapi/v1/txt2img", body).generated(f.t)
}

func TestXYZPlot(t *testing.T) {
	f := start(t)
	g := f.plot(map[string]any{"prompt": "a cat", "seed": 5}, plotArgs([]any{4, "1-3", nil}, []any{7, "cat,dog", nil}, nil, map[int]any{withLoneImages: true}))
	require.Equal(t, 6, f.gen.Jobs())
	require.Len(t, g.images, 7, "the grid and its pictures")
	require.Equal(t, []any{"a cat", "a cat", "a cat", "a dog", "a dog", "a dog"}, g.info["all_prompts"])
	require.Equal(t, []any{5.0, 5.0, 5.0, 5.0, 5.0, 5.0}, g.info["all_seeds"])
	require.Equal(t, 1.0, g.info["index_of_first_image"])
	texts := g.info["infotexts"].([]any)
	require.Len(t, texts, 7)
	require.Contains(t, texts[0], `Script: X/Y/Z plot, X Type: Steps, X Values: 1-3, Y Type: Prompt S/R, Y Values: "cat,dog"`)
	require.Contains(t, texts[6], "a dog\nSteps: 3,")
	require.NotContains(t, texts[6], "Script:")
	grid, _ := reply{}.picture(t, b64(g.images[0]))
	require.NotContains(t, string(g.images[0]), "parameters")
	require.Equal(t, 3*64+48, grid.W, "three quarters of a cell for the legend")
	require.Greater(t, grid.H, 2*64)
	require.Equal(t, "a cat", g.info["prompt"])
	require.Equal(t, 1.0, g.info["steps"], "the first cell's")

	g = f.plot(nil, plotArgs([]any{1, "7-8", nil}, nil, nil, nil))
	require.Len(t, g.images, 1)
	require.Len(t, g.info["infotexts"], 3)
	require.Contains(t, g.info["infotexts"].([]any)[0], `X Type: Seed, X Values: 7-8, Fixed X Values: "7, 8"`)
	grid, _ = reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, []uint8{8, 8, 8, 255}, grid.Pix[len(grid.Pix)-4:], "the picture of seed 8 stands right")

	g = f.plot(nil, plotArgs([]any{1, "7,8", nil}, nil, []any{4, "1,2,3", nil}, map[int]any{withSubGrids: true, 9: false, margins: 10}))
	require.Len(t, g.images, 4, "all, and one for each value of Z")
	grid, _ = reply{}.picture(t, b64(g.images[0]))
	require.Equal(t, [2]int{3 * 128, 64}, [2]int{grid.W, grid.H})
	require.Len(t, g.info["infotexts"], 1+3+6)
	require.Contains(t, g.info["infotexts"].([]any)[0], `Z Type: Steps, Z Values: "1,2,3"`)
	require.NotContains(t, g.info["infotexts"].([]any)[1], "Z Type")
}

func TestXYZSeeds(t *testing.T) {
	f := start(t)
	all := func(more map[string]any, args []any) any { return f.plot(more, args).info["all_seeds"] }
	require.Equal(t, []any{4242.0, 4242.0}, all(map[string]any{"seed": -1}, plotArgs([]any{4, "1,2", nil}, nil, nil, nil)), "one random seed for all")
	require.Equal(t, []any{4242.0, 3.0}, all(nil, plotArgs([]any{1, "-1,3", nil}, nil, nil, nil)))
	require.Equal(t, []any{5.0, 6.0, 7.0, 8.0}, all(map[string]any{"seed": 5}, plotArgs([]any{4, "1,2", nil}, []any{6, "1,2", nil}, nil, map[int]any{varyX: true, varyY: true})))
	require.Equal(t, []any{5.0, 5.0, 6.0, 6.0}, all(map[string]any{"seed": 5}, plotArgs([]any{4, "1,2", nil}, []any{6, "1,2", nil}, nil, map[int]any{varyY: true})))
}

// Each axis changes what it says.
// TestXYZAxisList: the numbers of axes are those of v1.9.3, whose lists leave out what
// the other tab alone has.
func TestXYZAxisList(t *testing.T) {
	all := []string{
		"Nothing", "Seed", "Var. seed", "Var. strength", "Steps", "t Hires steps", "CFG Scale", "i Image CFG Scale", "Prompt S/R", "Prompt order", "t Sampler", "t Hires sampler",
		"i Sampler", "Checkpoint name", "Negative Guidance minimum sigma", "Sigma Churn", "Sigma min", "Sigma max", "Sigma noise", "Schedule type", "Schedule min sigma",
		"Schedule max sigma", "Schedule rho", "Eta", "Clip skip", "Denoising", "Initial noise multiplier", "Extra noise", "t Hires upscaler", "i Cond. Image Mask Weight", "VAE",
		"Styles", "UniPC Order", "Face restore", "Token merging ratio", "Token merging ratio high-res", "Always discard next-to-last sigma", "SGM noise multiplier",
		"Refiner checkpoint", "Refiner switch at", "RNG source", "FP8 mode", "Size",
	}
	var infos []struct {
		Name      string
		IsImg2Img bool `json:"is_img2img"`
		Args      []struct{ Choices []string }
	}
	require.NoError(t, json.Unmarshal(start(t).get("/sdapi/v1/script-info").body, &infos))
	tabs := map[bool][]string{}
	for _, info := range infos {
		if info.Name == "x/y/z plot" {
			tabs[info.IsImg2Img] = info.Args[0].Choices
		}
	}
	for img2img, other := range map[bool]string{false: "i ", true: "t "} {
		var want []string
		for _, label := range all {
			if !strings.HasPrefix(label, other) {
				want = append(want, strings.TrimPrefix(strings.TrimPrefix(label, "t "), "i "))
			}
		}
		require.Equal(t, want, tabs[img2img])
	}
}

func TestXYZAxes(t *testing.T) {
	f := start(t)
	for label, tc := range map[string]struct {
		value  string
		more   map[string]any
		legend string // in the infotext of the cell
	}{
		"Var. seed": {"9", map[string]any{"subseed_strength": 0.5}, "Variation seed: 9"}, "Var. strength": {"0.25", nil, "Variation seed strength: 0.25"},
		"CFG Scale": {"3.5", nil, "CFG scale: 3.5"}, "Sampler": {"euler A", nil, "Sampler: Euler a"}, "Schedule type": {"Karras", nil, "Schedule type: Karras"},
		"Checkpoint name": {"other", nil, "Model: other"}, "VAE": {"SHARP.safetensors", nil, "VAE: sharp.safetensors"}, "Clip skip": {"2", nil, "Clip skip: 2"},
		"Prompt order": {"b", map[string]any{"prompt": "a b"}, "a b\n"}, "RNG source": {"CPU", nil, "RNG: CPU"}, "Size": {"128x64", nil, "Size: 128x64"},
		"Negative Guidance minimum sigma": {"1.5", nil, "NGMS: 1.5"}, "Eta": {"0.5", map[string]any{"sampler_name": "Euler a"}, "Eta: 0.5"},
		"Schedule min sigma": {"0.05", map[string]any{"scheduler": "Karras"}, "Schedule min sigma: 0.05"}, "Schedule max sigma": {"10", map[string]any{"scheduler": "Karras"}, "Schedule max sigma: 10.0"}, "Schedule rho": {"5", map[string]any{"scheduler": "Karras"}, "Schedule rho: 5.0"},
		"Always discard next-to-last sigma": {"True", nil, "Discard penultimate sigma: True"}, "Hires steps": {"3", map[string]any{"enable_hr": true, "denoising_strength": 0.5}, "Hires steps: 3"},
		"Hires upscaler": {"Latent (nearest)", map[string]any{"enable_hr": true, "denoising_strength": 0.5}, "Hires upscaler: Latent (nearest)"}, "Hires sampler": {"DDIM", map[string]any{"enable_hr": true, "denoising_strength": 0.5}, "Hires sampler: DDIM"},
		"Denoising": {"0.3", map[string]any{"enable_hr": true, "denoising_strength": 0.5}, "Denoising strength: 0.3"},
	} {
		t.Run(label, func(t *testing.T) {
			args := plotArgs([]any{axisIndex(t, f, label), tc.value, nil}, nil, nil, map[int]any{withLoneImages: true})
			if f := start(t); f != nil {
				g := f.plot(tc.more, args)
				require.Contains(t, g.info["infotexts"].([]any)[1], tc.legend)
				require.Empty(t, g.info["notes"])
			}
		})
	}
	g := f.plot(map[string]any{"prompt": "a b c"}, plotArgs([]any{axisIndex(t, f, "Prompt order"), "a,c", nil}, nil, nil, nil))
	require.Equal(t, []any{"a b c", "c b a"}, g.info["all_prompts"])
}

// The slowest axis to change is the outermost, whichever it is: a checkpoint is
// loaded once.
func TestXYZLoadsOnce(t *testing.T) {
	f := start(t)
	checkpoints := []any{axisIndex(t, f, "Checkpoint name"), "other,v1-5-pruned-emaonly", nil}
	steps, scales := []any{4, "1,2,3", nil}, []any{6, "1,2", nil}
	for _, axes := range [][][]any{{checkpoints, steps, scales}, {steps, checkpoints, scales}, {steps, scales, checkpoints}} {
		f := start(t)
		f.plot(nil, plotArgs(axes[0], axes[1], axes[2], nil))
		require.Equal(t, 12, f.gen.Jobs())
		require.Equal(t, 2, f.gen.Loads())
	}
}

func TestXYZLists(t *testing.T) {
	f := start(t)
	sampler := axisIndex(t, f, "Sampler")
	g := f.plot(nil, plotArgs([]any{sampler, "", []any{"Euler", "DDIM"}}, nil, nil, map[int]any{textInputs: false, withLoneImages: true}))
	require.Len(t, g.images, 3)
	require.Contains(t, g.info["infotexts"].([]any)[0], `X Values: "Euler,DDIM"`)
}

func TestXYZErrors(t *testing.T) {
	f := start(t)
	for name, tc := range map[string]struct {
		args   []any
		status int
		text   string
	}{
		"no such axis":     {plotArgs([]any{99, "1", nil}, nil, nil, nil), 500, "IndexError"},
		"a word":           {plotArgs([]any{4, "abc", nil}, nil, nil, nil), 500, "invalid literal for int() with base 10: 'abc'"},
		"no number":        {plotArgs([]any{6, "x", nil}, nil, nil, nil), 500, "could not convert string to float: 'x'"},
		"no values":        {plotArgs([]any{4, "", nil}, nil, nil, nil), 500, "has no values"},
		"not in prompt":    {plotArgs([]any{7, "zebra,b", nil}, nil, nil, nil), 500, "Prompt S/R did not find zebra in prompt or negative prompt."},
		"unknown sampler":  {plotArgs([]any{axisIndex(t, f, "Sampler"), "nope", nil}, nil, nil, nil), 500, "Unknown sampler: nope"},
		"unknown model":    {plotArgs([]any{axisIndex(t, f, "Checkpoint name"), "nope", nil}, nil, nil, nil), 500, "Unknown checkpoint: nope"},
		"too many values":  {plotArgs([]any{1, "1-999999999999", nil}, nil, nil, nil), 422, "more than 1024 values"},
		"too many cells":   {plotArgs([]any{1, "1-100", nil}, []any{4, "1-20", nil}, nil, nil), 422, "would make 2000 pictures"},
		"step of zero":     {plotArgs([]any{1, "1-5 (+0)", nil}, nil, nil, nil), 500, "must not be zero"},
		"a wrong argument": {plotArgs([]any{"Seed", "1", nil}, nil, nil, nil), 500, "argument 0 of x/y/z plot"},
		"a wrong cell":     {plotArgs([]any{4, "0", nil}, nil, nil, nil), 500, "steps is 0, want 1 to 1000"},
	} {
		got := f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "a", "script_name": "x/y/z plot", "script_args": tc.args}))
		require.Equal(t, tc.status, got.status, "%s: %s", name, got.body)
		require.Contains(t, string(got.body), tc.text, name)
	}
	got := f.post("/sdapi/v1/txt2img", small(map[string]any{"width": 8192, "height": 8192, "script_name": "x/y/z plot", "script_args": plotArgs([]any{1, "1-4", nil}, nil, nil, nil)}))
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), "Resulting grid would be too large (268 MPixels) (max configured size is 200.0 MPixels)")
}

// Values of numpy 1.26 and CPython 3.11 running the rules of scripts/xyz_grid.py.
func TestXYZValues(t *testing.T) {
	raw, err := os.ReadFile("testdata/xyz_values.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Kind string
			Text string
			Want []any
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	f := start(t)
	f.gen.Record = true
	label := map[string]string{"int": "Seed", "float": "CFG Scale", "str": "Prompt S/R"}
	for _, tc := range file.Cases {
		var texts []any
		if len(tc.Want) > 0 && tc.Kind == "str" {
			texts = tc.Want
			g := f.plot(map[string]any{"prompt": texts[0]}, plotArgs([]any{7, tc.Text, nil}, nil, nil, nil))
			require.Equal(t, texts, g.info["all_prompts"], tc.Text)
			continue
		}
		g := f.plot(nil, plotArgs([]any{axisIndex(t, f, label[tc.Kind]), tc.Text, nil}, nil, nil, map[int]any{keepSeeds: true, withLoneImages: true}))
		var got []any
		if tc.Kind == "int" {
			got = g.info["all_seeds"].([]any)
		} else {
			for _, r := range f.gen.Recorded()[len(f.gen.Recorded())-len(tc.Want):] {
				got = append(got, r.CFGScale)
			}
		}
		require.Equal(t, tc.Want, got, tc.Text)
	}
}
