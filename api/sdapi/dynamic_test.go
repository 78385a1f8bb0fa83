package sdapi_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
)

// startWildcards has one wildcard of three values.
func startWildcards(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "colour.txt"), []byte("red\ngreen\nblue\n"), 0o644))
	return start(t, func(c *sdapi.Config) { c.Wildcards = []string{dir} })
}

// dynamic is always-on arguments of the extension: those of its page up to the
// named ones.
func dynamic(set map[int]any) map[string]any {
	args := []any{true, false, 1, false, false, false, 1.1, 1.5, 100, 0.7, false, false, true, false, false, 0, "", ""}
	for i, v := range set {
		args[i] = v
	}
	return map[string]any{"Dynamic Prompts v2.17.1": map[string]any{"args": args}}
}

const (
	argCombinatorial = 1
	argBatches       = 2
	argMagic         = 3
	argFixedSeed     = 10
	argJinja         = 13
	argNoImages      = 14
	argLimit         = 15
)

// randomOfABC is what the library gives for {a|b|c} and the seeds 1 to 4.
var randomOfABC = []any{"b", "a", "b", "a"}

// The prompts are those of dynamicprompts 0.31.0 and the extension's process() for
// the same seeds and arguments.
func TestDynamicPrompts(t *testing.T) {
	list := func(v any) []any { return v.([]any) }
	for name, tc := range map[string]struct {
		body      map[string]any
		prompts   []any
		negatives []any
		seeds     []any
		notes     []any
	}{
		"random":        {map[string]any{"prompt": "{a|b|c}", "n_iter": 4, "seed": 1, "alwayson_scripts": dynamic(nil)}, randomOfABC, nil, []any{1.0, 2.0, 3.0, 4.0}, nil},
		"option":        {map[string]any{"prompt": "{a|b|c}", "n_iter": 4, "seed": 1, "override_settings": map[string]any{"dynamic_prompts": true}}, randomOfABC, nil, []any{1.0, 2.0, 3.0, 4.0}, nil},
		"off":           {map[string]any{"prompt": "{a|b|c}", "seed": 1, "alwayson_scripts": dynamic(map[int]any{0: false})}, []any{"{a|b|c}"}, nil, []any{1.0}, nil},
		"not asked":     {map[string]any{"prompt": "{a|b|c} __colour__", "seed": 1}, []any{"{a|b|c} __colour__"}, nil, []any{1.0}, nil},
		"short list":    {map[string]any{"prompt": "{a|b|c}", "seed": 1, "alwayson_scripts": map[string]any{"dynamic prompts": map[string]any{"args": []any{true}}}}, randomOfABC[:1], nil, []any{1.0}, nil},
		"combinatorial": {map[string]any{"prompt": "{a|b} __colour__", "seed": 5, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true})}, []any{"a blue", "a green", "a red", "b blue", "b green", "b red"}, nil, []any{5.0, 6.0, 7.0, 8.0, 9.0, 10.0}, nil},
		"cross product": {map[string]any{"prompt": "{a|b}", "negative_prompt": "{x|y}", "seed": 5, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true})}, []any{"a", "a", "b", "b"}, []any{"x", "y", "x", "y"}, []any{5.0, 6.0, 7.0, 8.0}, nil},
		"limit":         {map[string]any{"prompt": "{a|b|c}", "negative_prompt": "{x|y}", "seed": 5, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true, argLimit: 2})}, []any{"a", "b"}, []any{"x", "y"}, []any{5.0, 6.0}, nil},
		"few for limit": {map[string]any{"prompt": "{a|b}", "seed": 5, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true, argLimit: 9})}, []any{"a", "b"}, nil, []any{5.0, 6.0}, nil},
		"fixed seed":    {map[string]any{"prompt": "{a|b}", "seed": 5, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true, argBatches: 2, argFixedSeed: true})}, []any{"a", "b", "a", "b"}, nil, []any{5.0, 5.0, 6.0, 6.0}, nil},
		"variation":     {map[string]any{"prompt": "{a|b|c}", "n_iter": 3, "seed": 1, "subseed_strength": 0.5, "alwayson_scripts": dynamic(nil)}, []any{randomOfABC[0], randomOfABC[0], randomOfABC[0]}, nil, []any{1.0, 1.0, 1.0}, nil},
		"no images":     {map[string]any{"prompt": "{a|b|c}", "seed": 1, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true, argNoImages: true})}, []any{"a"}, nil, []any{1.0}, nil},
		"cannot be read": {
			map[string]any{"prompt": "50% {a|b}", "seed": 1, "alwayson_scripts": dynamic(nil)},
			[]any{"50% {a|b}"},
			nil,
			[]any{1.0},
			[]any{`dynamic prompts: the template cannot be read from "% {a|b}" on; the prompts are used as they are`},
		},
		"jinja": {
			map[string]any{"prompt": "{% if 1 %}a{% endif %}", "seed": 1, "alwayson_scripts": dynamic(map[int]any{argJinja: true})},
			[]any{"{% if 1 %}a{% endif %}"},
			nil,
			[]any{1.0},
			[]any{"dynamic prompts: Jinja2 templates are not available on this server; the prompts are used as they are"},
		},
		"magic": {
			map[string]any{"prompt": "a", "seed": 1, "alwayson_scripts": dynamic(map[int]any{argMagic: true})},
			[]any{"a"},
			nil,
			[]any{1.0},
			[]any{`dynamic prompts: "Magic prompt" is not available on this server and did nothing`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := startWildcards(t)
			g := f.post("/sdapi/v1/txt2img", small(tc.body)).generated(t)
			require.Len(t, g.images, len(tc.prompts))
			require.Equal(t, tc.prompts, g.info["all_prompts"])
			require.Equal(t, tc.seeds, g.info["all_seeds"])
			require.Equal(t, tc.prompts[0], g.info["prompt"], "the first one, as A1111 says")
			for i, text := range list(g.info["infotexts"]) {
				require.Regexp(t, "(?s)^"+tc.prompts[i].(string)[:1], text)
			}
			if tc.negatives != nil {
				require.Equal(t, tc.negatives, g.info["all_negative_prompts"])
			}
			if tc.notes == nil {
				tc.notes = []any{}
			}
			require.Equal(t, tc.notes, g.info["notes"])
			require.NotContains(t, list(g.info["infotexts"])[0], "Template:")
		})
	}
}

func TestDynamicPromptsInParts(t *testing.T) {
	f := startWildcards(t)
	g := f.post("/sdapi/v1/txt2img", small(map[string]any{
		"prompt": "{a|a |<lora:foo:1> b} c", "negative_prompt": "n, {x}", "batch_size": 2, "seed": 5, "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true}),
		"override_settings": map[string]any{"dp_write_raw_template": true}, "enable_hr": true, "hr_scale": 2, "hr_negative_prompt": "other", "denoising_strength": 0.5,
	})).generated(t)
	require.Len(t, g.images, 3)
	last := f.gen.Last()
	require.Equal(t, "<lora:foo:1> b c", last.Prompt)
	require.Equal(t, "<lora:foo:1> b c", last.Hires.Prompt)
	require.Equal(t, "other", last.Hires.NegativePrompt)
	require.Equal(t, int64(7), last.Seed)
	require.NotEmpty(t, last.Files.LoRAs["foo"], "tags that only the expanded prompt has are found")
	text := g.info["infotexts"].([]any)[2].(string)
	require.Contains(t, text, `Template: "{a|a |<lora:foo:1> b} c"`)
	require.Contains(t, text, `Negative Template: "n, {x}"`)
	require.Contains(t, text, "Lora hashes")
	require.NotContains(t, g.info["infotexts"].([]any)[0], "Lora hashes")
}

func TestDynamicPromptsErrors(t *testing.T) {
	f := startWildcards(t)
	got := f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "{1-6$$a|b|c|d|e|f|g|h}", "alwayson_scripts": dynamic(map[int]any{argCombinatorial: true})}))
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "more prompts than the 1024 pictures")
	got = f.post("/sdapi/v1/txt2img", small(map[string]any{"prompt": "a", "alwayson_scripts": dynamic(map[int]any{argLimit: "many"})}))
	require.Equal(t, 500, got.status)
	require.Contains(t, string(got.body), "argument 15 of dynamic prompts")
}
