package main

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
)

// pageUsesExtensions fills in what scripts beside the selected one take: it reaches the
// picture, and comes back out of its text.
func pageUsesExtensions(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(quick)
	fresh := b.values()
	for made, test := range []struct {
		fill  map[string]any
		texts []string
	}{
		{
			map[string]any{
				"prompt": "a cat ADDROW a dog", "prompter_0": true, "prompter_3": "Rows", "prompter_6": "1,2", "prompter_12_1": true, "prompter_19": true,
				"freeu_0": true, "freeu_1": "1.25", "freeu_7": "1", "pag_0": true, "pag_1": "2.5", "cfg_rescale": "0.25", "step_cache": "0.1",
				"threshold_0": true, "threshold_1": "5.25", "threshold_3": "Cosine Down", "threshold_4": "2",
			},
			[]string{
				"RP Matrix submode: Rows", `RP Ratios: "1,2"`, "RP Calc Mode: Latent", "RP Options: Use BREAK to change chunks", "RP Flip: True",
				"freeu_b1: 1.25", "freeu_version: 1", "pagi_scale: 2.5", "CFG Rescale: 0.25", "Step cache: 0.1", "Mimic scale: 5.25", "Mimic mode: Cosine Down, Mimic scale minimum: 2",
			},
		},
		{
			map[string]any{
				"prompt": "a cat AND a dog AND a bird", "couple_0": true, "couple_3": "0.3,0.9,0.7", "couple_4": "2", "apg_0": true, "apg_3": "7.5", "apg_5": true,
				"stages_0": true, "stages_5": "1.3", "stages_4": "Version 1", "sampler_name": "TCD",
			},
			[]string{
				"weights=0.3,0.9,0.7 end at step=2", "apgisyourcfg_norm_thr: 7.5", "apgisyourcfg_guidance_limiter: True", `{\"backbone_factor\": 1.3`, "FreeU Version: 1", "Sampler: TCD",
			},
		},
		{map[string]any{"prompt": "a {cat} in the rain", "zero_0": true, "dynamic_0": true}, []string{"a cat in the rain\n", "CFG-Zero star: True"}},
	} {
		b.fill(fresh)
		b.fill(test.fill)
		before := b.values()
		b.do(`$('form').requestSubmit()`)
		text := b.pictures(made + 1)[0]
		for _, want := range test.texts {
			require.Contains(t, text, want)
		}
		b.fill(fresh)
		b.do(`document.querySelector('#gallery button').click()`)
		b.wait(`$('viewer').open`)
		b.do(`$('use-all').click()`)
		b.wait(`!$('viewer').open || $('viewer-note').textContent`)
		require.Empty(t, js[string](b, `return $('viewer-note').textContent`))
		if test.fill["dynamic_0"] == true { // the text has the prompt that the template became
			maps.Copy(before, map[string]any{"dynamic_0": false, "prompt": "a cat in the rain"})
		}
		require.Equal(t, before, b.values())
	}
}

// pageResets wipes every part of the form, whose state outlives a reload until then, and
// shows errors of the server where they belong.
func pageResets(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(map[string]any{"prompt": ""})
	state := func() map[string]any {
		return js[map[string]any](b, `const { request } = await import('./webui/request.js'), { input } = await request()
			return { input, shown: f.script_name.value, open: $('with-image').hidden, pictures: document.querySelectorAll('#form .drop img:not([hidden])').length }`)
	}
	fresh, standard := state(), b.values()

	b.drop(".unit .of-picture", edges(t))
	b.wait(`document.querySelector('.unit [data-field=enabled]').checked`)
	b.drop(".unit .of-mask", edges(t))
	b.drop(".unit .of-region", edges(t))
	b.drop("#regions-fields .drop", edges(t))
	b.wait(`document.querySelectorAll('#form .drop img:not([hidden])').length === 4`)
	b.fill(quick)
	b.fill(map[string]any{"prompt": "a cat BREAK a dog", "prompter_0": true, "prompter_2": "Mask", "pag_0": true, "script_name": "x/y/z plot"})
	b.do(`f.script_name.dispatchEvent(new Event('input', { bubbles: true }))
		const { setStyles } = await import('./webui/prompt.js'); setStyles(['ink'])
		const weights = document.querySelector('[data-field=advanced_weighting]'); weights.value = '1, 0.5'; weights.dispatchEvent(new Event('input', { bubbles: true }))
		$('option-name').value = 'eta_noise_seed_delta'; $('option-name').onchange(); $('option-value').value = '31337'; $('add-option').click()`)
	filled := state()
	input := filled["input"].(map[string]any)
	scripts := input["alwayson_scripts"].(map[string]any)
	unit := scripts["controlnet"].(map[string]any)["args"].([]any)[0].(map[string]any)
	require.Contains(t, unit["mask"], "data:image/png;base64,")
	require.Contains(t, unit["effective_region_mask"], "data:image/png;base64,")
	require.Equal(t, []any{1.0, 0.5}, unit["advanced_weighting"])
	require.Contains(t, scripts["regional prompter"].(map[string]any)["args"].([]any)[16], "data:image/png;base64,")
	require.Equal(t, 31337.0, input["override_settings"].(map[string]any)["eta_noise_seed_delta"])
	require.Equal(t, "x/y/z plot", input["script_name"])

	kept := func(n int) { // in the database, which a reload does not wait for
		b.wait(`(await Promise.all(['control-0', 'control-0-mask', 'control-0-region', 'prompter-mask'].map((await import('./webui/storage.js')).draft))).filter(Boolean).length === %s`, n)
	}
	kept(4)
	b.open()
	b.wait(`document.querySelectorAll('#form .drop img:not([hidden])').length === 4`)
	require.Equal(t, filled, state(), "kept over a reload")

	// What the server does not like is told where it stands.
	b.do(`f.script_name.value = ''; f.script_name.dispatchEvent(new Event('input', { bubbles: true })); $('form').requestSubmit()`)
	b.wait(`document.querySelector('.unit [data-field=model][aria-invalid]')`)
	require.Contains(t, js[string](b, `return document.querySelector('.unit [data-field=model]').closest('label').querySelector('.error').textContent`), "advanced_weighting must be a list of 13 numbers")
	b.do(`document.querySelector('.unit [data-field=enabled]').click(); [...document.querySelectorAll('#regions-fields button')].find(x => x.textContent === 'Remove mask').click(); $('form').requestSubmit()`)
	b.wait(`f.prompter_0.getAttribute('aria-invalid')`)
	require.Contains(t, js[string](b, `return f.prompter_0.closest('label').textContent`), "argument 16 of regional prompter must be a picture")
	b.fill(map[string]any{"prompter_2": "Matrix", "pag_1": ""})
	b.do(`$('form').requestSubmit()`)
	require.True(t, js[bool](b, `return f.pag_1.getAttribute('aria-invalid') === 'true' && $('guidance').open`), "an empty number is told at once")

	b.do(`window.confirm = () => true; $('reset').click()`)
	require.Equal(t, fresh, state())
	require.Equal(t, standard, b.values())
	require.Empty(t, js[string](b, `return $('styles').textContent + $('overrides').textContent`))
	kept(0)
	b.open()
	require.Equal(t, fresh, state(), "and stays wiped")
}
