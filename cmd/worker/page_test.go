package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"sdworker/inference/enginetest"
	"sdworker/inference/imageio"
	"sdworker/internal/clienttest"
	"sdworker/models/demo"
)

var underRace bool // see race_test.go

// TestPage drives the page in a browser against the whole program with fake networks.
func TestPage(t *testing.T) {
	if underRace {
		t.Skip("what the page asks for is asked by the other tests of the doors, without a browser beside it")
	}
	home := pageHome(t)
	for name, test := range map[string]func(*testing.T, string){
		"makes pictures":           pageMakesPictures,
		"takes back what it made":  pageTakesBack,
		"reads A1111's pictures":   pageReadsOthers,
		"shows errors at fields":   pageShowsErrors,
		"paints masks":             pagePaintsMasks,
		"shows the queue":          pageShowsQueue,
		"writes prompts":           pageWritesPrompts,
		"keeps a history":          pageKeepsHistory,
		"uses ControlNet, scripts": pageUsesControlAndScripts,
		"enlarges in tiles":        pageEnlargesInTiles,
		"uses ADetailer":           pageUsesADetailer,
		"uses extensions":          pageUsesExtensions,
		"is reset":                 pageResets,
		"suits the demo model":     pageSuitsTheDemo,
		"outlives its server":      pageOutlivesItsServer,
		"has no room":              pageHasNoRoom,
		"keeps its state":          pageKeepsState,
		"works behind a prefix":    pageBehindPrefix,
		"is touched":               pageIsTouched,
		"is for everyone":          pageIsAccessible,
	} {
		t.Run(name, func(t *testing.T) { test(t, home) })
	}
}

// page starts a server and opens its page.
func page(t *testing.T, home, gate string, args ...string) *tab {
	t.Helper()
	_, c := serve(t, home, gate, args...)
	c.ready()
	return browse(t, c.base)
}

// quick are values with which a picture is made at once.
var quick = map[string]any{"prompt": "a cat", "width": 64, "height": 64, "steps": 3, "seed": 42}

func pageMakesPictures(t *testing.T, home string) {
	b := page(t, home, openGate)
	require.Contains(t, js[string](b, `return f.model.selectedOptions[0].text`), "f16, 326 MiB)")
	b.fill(quick)
	b.fill(map[string]any{"batch_size": 2})
	b.do(`f.prompt.focus()`)
	b.key("\r", chromedp.ModifierCtrl)
	texts := b.pictures(2)
	require.Contains(t, texts[0], "Seed: 42")
	require.Contains(t, texts[1], "Seed: 43")
	require.Equal(t, "2", js[string](b, `return $('count').textContent`))

	// The viewer: arrows, swipe, parameters, seed.
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open && document.querySelector('#viewer img').naturalWidth === 64`)
	require.Equal(t, "1 of 2, 64 × 64", js[string](b, `return document.querySelector('#viewer .position').textContent`))
	require.Contains(t, js[string](b, `return $('parameters').innerText`), "Euler")
	require.Regexp(t, `^blob:.* picture-\d+\.png$`, js[string](b, `return $('download').href + ' ' + $('download').download`))
	b.key(kb.ArrowRight)
	b.wait(`document.querySelector('#viewer .position').textContent.startsWith('2 of 2')`)
	b.do(`const area = document.querySelector('.picture-area')
		for (const [kind, x] of [['pointerdown', 50], ['pointerup', 250]]) area.dispatchEvent(new PointerEvent(kind, { clientX: x, pointerType: 'touch' }))`)
	b.wait(`document.querySelector('#viewer .position').textContent.startsWith('1 of 2')`)
	b.do(`$('use-seed').click()`)
	require.Equal(t, "42", b.values()["seed"])

	// Two beside each other.
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('compare').click(); document.querySelectorAll('#gallery button')[1].click()`)
	b.wait(`$('comparison').open`)
	require.Equal(t, "Seed4243", js[string](b, `return $('differences').textContent`))
	b.do(`$('divide').value = 20; $('divide').dispatchEvent(new Event('input'))`)
	require.Equal(t, "20%", js[string](b, `return getComputedStyle($('comparison')).getPropertyValue('--divide')`))
	b.do(`$('close-comparison').click()`)

	// Enlarge one of them.
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('use-extras').click()`)
	b.wait(`f.mode.value === 'extras' && !$('with-image').hidden`)
	b.fill(map[string]any{"upscaler_1": "Lanczos", "upscaling_resize": 2})
	b.do(`$('form').requestSubmit()`)
	b.pictures(3)
	require.Equal(t, 128, js[int](b, `return (await (await import('./webui/storage.js')).entries()).at(-1).width`))

	// One is thrown away.
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('delete').click()`)
	b.pictures(2)

	// The checkpoint stays chosen, though its title has a hash now.
	chosen := b.values()["model"]
	require.Equal(t, checkpointName+".safetensors", chosen)
	b.open()
	require.Regexp(t, `^`+checkpointName+`\.safetensors \[[0-9a-f]{10}\]`, js[string](b, `return f.model.selectedOptions[0].text`))
	require.Equal(t, chosen, b.values()["model"])
}

// everyField has a value other than the default in each field of a text's request.
var everyField = map[string]any{
	"prompt": "a (red:1.2) cat, [dog:fox:0.5]", "negative_prompt": "blurry,\ndark", "sampler_name": "DPM++ 2M", "scheduler": "Exponential", "steps": "7",
	"cfg_scale": "4.5", "width": "64", "height": "72", "batch_size": "1", "seed": "7", "subseed": "9", "subseed_strength": "0.25",
	"seed_resize_from_w": "128", "seed_resize_from_h": "96", "clip_skip": "2", "tiling": true,
	"enable_hr": true, "hr_upscaler": "Latent (nearest)", "hr_scale": "1.5", "hr_second_pass_steps": "2", "hr_denoising": "0.55",
	"hr_sampler_name": "Euler a", "hr_scheduler": "Karras", "hr_prompt": "a large cat", "hr_negative_prompt": "small",
}

func pageTakesBack(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(everyField)
	before := b.values()
	b.do(`$('form').requestSubmit()`)
	b.pictures(1)
	data, err := base64.StdEncoding.DecodeString(js[string](b, `const storage = await import('./webui/storage.js'), { dataURL } = await import('./webui/pictures.js')
		return (await dataURL(await storage.file((await storage.entries())[0].id))).split(',')[1]`))
	require.NoError(t, err)

	b.do(`localStorage.clear(); const form = await import('./webui/form.js'); form.reset(); form.changed()`)
	require.NotEqual(t, before, b.values())
	b.drop("#gallery", data)
	b.wait(`$('viewer').open`)
	b.do(`$('use-all').click()`)
	b.wait(`!$('viewer').open || $('viewer-note').textContent`)
	require.Empty(t, js[string](b, `return $('viewer-note').textContent`))
	require.Equal(t, before, b.values())
}

// pageReadsOthers takes a picture as A1111 v1.9.3 writes them, with a checkpoint that is
// not here and an option that has no field.
func pageReadsOthers(t *testing.T, home string) {
	b := page(t, home, openGate)
	text := "masterpiece, castle <lora:style:0.8>\nNegative prompt: lowres\nSteps: 28, Sampler: DPM++ SDE Karras, CFG scale: 6.5, Seed: 3735928559, " +
		"Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, VAE hash: c6a580b13a, VAE: vae-ft-mse.safetensors, Denoising strength: 0.4, " +
		`ENSD: 31337, ControlNet 0: "Module: canny, Model: edges, Weight: 0.8, Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: 90, Threshold B: 180, ` +
		`Guidance Start: 0.0, Guidance End: 0.9, Pixel Perfect: False, Control Mode: My prompt is more important", ` +
		"Hires upscale: 2, Hires upscaler: 4x-UltraSharp, Refiner: tiny, Refiner switch at: 0.7, Version: v1.9.3"
	b.drop("body", pictureWith(t, text))
	b.wait(`$('viewer').open`)
	require.Contains(t, js[string](b, `return $('parameters').innerText`), "vae-ft-mse.safetensors")
	b.do(`$('use-all').click()`)
	b.wait(`$('viewer-note').textContent`)
	note := js[string](b, `return $('viewer-note').textContent`)
	for _, missing := range []string{`Checkpoint "v1-5-pruned-emaonly"`, `VAE "vae-ft-mse.safetensors"`, `Upscaler "4x-UltraSharp"`} {
		require.Contains(t, note, missing)
	}
	got := b.values()
	for name, want := range map[string]any{
		"mode": "txt2img", "prompt": "masterpiece, castle <lora:style:0.8>", "negative_prompt": "lowres", "steps": "28", "sampler_name": "DPM++ SDE",
		"scheduler": "Automatic", "cfg_scale": "6.5", "seed": "3735928559", "width": "512", "height": "768", "enable_hr": true, "hr_scale": "2", "hr_denoising": "0.4", "refiner_switch_at": "0.7",
	} {
		require.Equal(t, want, got[name], name)
	}
	require.Contains(t, got["refiner_checkpoint"], "tiny.safetensors")
	require.Equal(t, "eta_noise_seed_delta: 31337", js[string](b, `return $('overrides').textContent`))
	unit := js[map[string]any](b, `return Object.fromEntries([...document.querySelector('.unit').querySelectorAll('[data-field]')].map(i => [i.dataset.field, i.type === 'checkbox' ? i.checked : i.value]))`)
	for name, want := range map[string]any{"enabled": true, "module": "canny", "weight": "0.8", "threshold_a": "90", "guidance_end": "0.9", "control_mode": "My prompt is more important"} {
		require.Equal(t, want, unit[name], name)
	}
}

// pictureWith is a picture whose file carries a text of parameters.
func pictureWith(t *testing.T, text string) []byte {
	t.Helper()
	m := imageio.NewRGB(64, 48)
	for i := range m.Pix {
		m.Pix[i] = uint8(i)
	}
	data, err := imageio.EncodePNG(m, imageio.Text{Key: "parameters", Value: text})
	require.NoError(t, err)
	return data
}

func pageShowsErrors(t *testing.T, home string) {
	b := page(t, home, openGate)
	at := func(field string) string {
		return js[string](b, `const e = f[%s].getAttribute('aria-describedby'); return e ? $(e).textContent : ''`, field)
	}
	b.fill(quick)
	b.fill(map[string]any{"steps": 0, "hr_scale": 9})
	b.do(`$('form').requestSubmit()`)
	require.NotEmpty(t, at("steps"))
	require.NotEmpty(t, at("hr_scale"), "also of a section that is closed")
	require.True(t, js[bool](b, `return document.activeElement === f.steps && $('hires').open`))
	b.do(`f.steps.value = 3; f.steps.dispatchEvent(new Event('input', { bubbles: true }))`)
	require.Empty(t, at("steps"))

	// What the server says goes to its field, too.
	b.fill(map[string]any{"hr_scale": 2, "width": 100000})
	b.do(`f.width.max = ''; $('form').requestSubmit()`)
	b.wait(`f.width.getAttribute('aria-invalid')`)
	require.Equal(t, "width is 100000, want a multiple of 8 from 8 to 8192", at("width"))
	b.fill(map[string]any{"width": 64, "mode": "img2img"})
	b.do(`$('form').requestSubmit()`)
	b.wait(`$('init-error').textContent === 'Choose a picture first.'`)
}

func pagePaintsMasks(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.viewport(1280, 1200, "light")
	b.fill(quick)
	b.fill(map[string]any{"mode": "img2img"})
	b.drop("#drop", pictureWith(t, ""))
	b.wait(`!$('with-image').hidden`)
	require.Equal(t, "64", b.values()["width"], "of the picture")
	type point struct{ X, Y float64 }
	drag := func(points ...point) { // in shares of the canvas
		box := js[struct{ X, Y, Width, Height float64 }](b, `$('start').scrollIntoView(); return $('canvas').getBoundingClientRect().toJSON()`)
		for i, p := range points {
			x, y := box.X+p.X*box.Width, box.Y+p.Y*box.Height
			kind := chromedp.MouseMoved
			if i == 0 {
				kind = chromedp.MousePressed
			}
			require.NoError(t, chromedp.Do(b.ctx, chromedp.MouseEvent(kind, x, y, chromedp.ButtonLeft)))
			if i == len(points)-1 {
				require.NoError(t, chromedp.Do(b.ctx, chromedp.MouseEvent(chromedp.MouseReleased, x, y, chromedp.ButtonLeft)))
			}
		}
	}
	// white says how the mask is at a place of the picture.
	white := func(x, y int) int {
		return js[int](b, `const { mask } = await import('./webui/canvas.js'), m = new Image(); m.src = await mask(); await m.decode()
			const c = new OffscreenCanvas(m.width, m.height).getContext('2d'); c.drawImage(m, 0, 0); return c.getImageData(%s, %s, 1, 1).data[0]`, x, y)
	}
	drag(point{0.2, 0.5}, point{0.5, 0.5}, point{0.8, 0.5})
	require.Equal(t, []int{255, 255, 0}, []int{white(32, 24), white(48, 24), white(32, 2)})
	require.False(t, js[bool](b, `return $('inpainting').hidden`))
	b.do(`$('undo').click()`)
	require.Equal(t, 0, white(32, 24))
	b.do(`$('redo').click()`)
	require.Equal(t, 255, white(32, 24))

	// Twice as near, the middle of the screen stays the middle of the picture.
	b.do(`$('clear-mask').click(); $('brush').value = 40; for (let i = 0; i < 2; i++) $('zoom-in').click()`)
	require.Equal(t, "225 %", js[string](b, `return $('zoom').textContent`))
	drag(point{0.5, 0.5}, point{0.51, 0.5})
	require.Equal(t, []int{255, 0}, []int{white(32, 24), white(20, 24)})
	b.do(`$('erase').click(); $('brush').value = 150`)
	drag(point{0.5, 0.5}, point{0.51, 0.5})
	require.Equal(t, 0, white(32, 24))
	b.do(`$('undo').click(); $('form').requestSubmit()`)
	require.Contains(t, b.pictures(1)[0], "Denoising strength: 0.75, Mask blur: 4, Inpaint area: Only masked")

	b.fill(map[string]any{"soft_enable": true, "soft_bias": "1.5"})
	require.False(t, js[bool](b, `return $('soft').hidden`))
	before := b.values()
	b.do(`$('form').requestSubmit()`)
	require.Contains(t, b.pictures(2)[0], "Soft inpainting enabled: True, Soft inpainting schedule bias: 1.5, Soft inpainting preservation strength: 0.5")
	b.fill(map[string]any{"soft_enable": false, "soft_bias": "2"})
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('use-all').click()`)
	b.wait(`f.soft_enable.checked`)
	require.Equal(t, before["soft_bias"], b.values()["soft_bias"])
}

func pageShowsQueue(t *testing.T, home string) {
	g := newGate(t, enginetest.OpPredictNoise)
	b := page(t, home, g.environ(), "--batch-jobs", "1")
	b.fill(quick)
	state := func(i int) string {
		return fmt.Sprintf(`document.querySelectorAll('#jobs .state')[%d]?.textContent`, i)
	}
	b.do(`$('form').requestSubmit()`)
	call := g.next()
	b.do(`$('form').requestSubmit()`)
	b.wait(state(1) + ` === 'Waiting, 1 ahead'`)
	b.do(`$('form').requestSubmit()`)
	b.wait(state(2) + ` === 'Waiting, 2 ahead'`)
	b.do(`document.querySelectorAll('#jobs .cancel')[1].click()`)
	b.wait(`document.querySelectorAll('#jobs li').length === 2 && ` + state(1) + ` === 'Waiting, 1 ahead'`)
	call.release()
	call = g.next()
	b.wait(`/Sampling, 2 of 3, [\d.]+ (it\/s|s\/it)/.test(` + state(0) + `)`)

	// The rest is not waited for.
	b.do(`document.querySelector('#jobs .finish').click()`)
	b.wait(`performance.getEntriesByType('resource').some(r => r.name.endsWith('/finish') && r.responseEnd > 0)`)
	call.release()
	call = g.next() // of the last job
	b.wait(`document.querySelectorAll('#gallery li').length === 1`)
	b.do(`document.querySelector('#jobs .cancel').click()`)
	call.release()
	b.pictures(1)
}

func pageWritesPrompts(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.do(`f.prompt.value = 'a red cat'; f.prompt.focus(); f.prompt.setSelectionRange(3, 3)`)
	up, down := func() { b.key(kb.ArrowUp, chromedp.ModifierCtrl) }, func() { b.key(kb.ArrowDown, chromedp.ModifierCtrl) }
	prompt := func() string { return b.values()["prompt"].(string) }
	up()
	require.Equal(t, "a (red:1.1) cat", prompt())
	up()
	require.Equal(t, "a (red:1.2) cat", prompt())
	down()
	down()
	require.Equal(t, "a red cat", prompt())
	down()
	require.Equal(t, "a (red:0.9) cat", prompt())

	// The picker: a tag, an embedding, a style; chosen again they go.
	pick := func(name string) {
		b.do(`[...document.querySelectorAll('.pick')].find(p => p.querySelector('b').textContent === %s).click()`, name)
	}
	b.do(`$('open-picker').click()`)
	require.Contains(t, js[string](b, `return $('picker-list').innerText`), "rank ")
	pick("style")
	pick("word")
	pick("ink")
	require.Equal(t, "a (red:0.9) cat <lora:style:1>, word", prompt())
	require.Equal(t, "ink", js[string](b, `return $('styles').textContent`))
	pick("style")
	require.Equal(t, "a (red:0.9) cat, word", prompt())
	b.do(`$('close-picker').click()`)
	b.do(`f.prompt.focus(); f.prompt.value = '<lora:style:1>'; f.prompt.setSelectionRange(5, 5)`)
	up()
	require.Equal(t, "<lora:style:1.05>", prompt())

	// Tokens: "ink drawing of " are three more, and the border is 75.
	b.fill(map[string]any{"prompt": "cat"})
	b.wait(`$('prompt-tokens').textContent === '4/75'`)
	b.fill(map[string]any{"prompt": strings.Repeat("cat ", 73)})
	b.wait(`$('prompt-tokens').textContent === '76/150' && $('prompt-tokens').classList.contains('beyond')`)
	b.do(`$('styles').querySelector('button').click()`)
	b.wait(`$('prompt-tokens').textContent === '73/75'`)
}

// pageKeepsHistory looks at a browser with many pictures. What an interaction does must
// not grow with their number: it is shown by how much of the page there is.
func pageKeepsHistory(t *testing.T, home string) {
	const many = 500
	b := page(t, home, openGate)
	b.do(`const storage = await import('./webui/storage.js'), { thumbnail } = await import('./webui/pictures.js')
		const canvas = new OffscreenCanvas(64, 64); canvas.getContext('2d').fillRect(0, 0, 9, 9)
		const blob = await canvas.convertToBlob(), small = await thumbnail(blob)
		for (let i = 0; i < %s; i++) await storage.add({ time: i, text: 'picture ' + i + '\nSteps: 3, Sampler: Euler, Seed: ' + i, ...small }, blob)`, many)
	b.open()
	require.Equal(t, "500", js[string](b, `return $('count').textContent`))
	require.LessOrEqual(t, js[int](b, `return document.querySelectorAll('#gallery li').length`), 180, "the rest comes when it is scrolled to")
	took := js[map[string]float64](b, `const took = {}, time = async (name, what) => {
			const began = performance.now(); what(); await new Promise(r => requestAnimationFrame(() => setTimeout(r))); took[name] = Math.round(performance.now() - began)
		}
		const input = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event('input', { bubbles: true })) }
		const rest = () => new Promise(r => setTimeout(r, 200)) // what one began is not counted for the next
		await time('search', () => input('search', 'picture 42'))
		await rest()
		await time('all again', () => input('search', ''))
		await rest()
		await time('type', () => input('prompt', 'a cat'))
		await time('view', () => document.querySelector('#gallery button').click())
		await rest()
		await time('next', () => $('next').click())
		await time('close', () => $('close').click())
		await time('mode', () => document.querySelector('[value=img2img]').click())
		return took`)
	t.Logf("milliseconds with %d pictures: %v", many, took)

	b.do(`$('search').value = 'picture 42 euler'; $('search').dispatchEvent(new Event('input'))`)
	b.wait(`$('count').textContent === '15 of 500'`) // 42, 142 to 442 and 420 to 429
	b.fill(quick)
	b.fill(map[string]any{"mode": "txt2img"})
	b.do(`$('form').requestSubmit()`)
	b.wait(`(await (await import('./webui/storage.js')).entries()).at(-1).text.startsWith('a cat')`)
	require.Equal(t, "15 of 500", js[string](b, `return $('count').textContent`))
	b.do(`$('search').value = ''; $('search').dispatchEvent(new Event('input'))`)
	b.wait(`document.querySelector('#gallery img').alt === 'a cat'`)
	require.Equal(t, many, js[int](b, `return (await (await import('./webui/storage.js')).entries()).length`), "the oldest made room")
	b.do(`$('limit').value = '100'; $('limit').onchange()`)
	b.wait(`$('count').textContent === '100'`)
}

func pageUsesControlAndScripts(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(quick)
	b.drop(".unit .drop", edges(t))
	b.wait(`document.querySelector('.unit [data-field=enabled]').checked`)
	// What a preprocessor would make of the picture is not there for an IP-Adapter.
	b.do(`const m = document.querySelector('[data-field=module]'); m.value = 'ip-adapter-auto'; m.dispatchEvent(new Event('input', { bubbles: true }))`)
	require.Equal(t, []any{true, true, true}, js[[]any](b, `return ['.detect', '.made', '.guides'].map(part => document.querySelector('.unit ' + part).hidden)`))
	b.do(`const m = document.querySelector('[data-field=module]'); m.value = 'canny'; m.dispatchEvent(new Event('input', { bubbles: true })); document.querySelector('.detect').click()`)
	b.wait(`!document.querySelector('.made img').hidden`)
	require.Contains(t, js[string](b, `return document.querySelector('.thresholds label').textContent`), "Low Threshold")
	b.do(`$('form').requestSubmit()`)
	text := b.pictures(2)[0] // the second is the map
	require.Contains(t, text, `ControlNet 0: "Module: canny, Model: edges`)
	b.do(`document.querySelector('.take-out').click(); const e = document.querySelector('.unit [data-field=enabled]'); e.click()`)

	b.do(`f.script_name.value = 'x/y/z plot'; f.script_name.dispatchEvent(new Event('input', { bubbles: true }))
		const set = (label, value) => {
			const input = [...document.querySelectorAll('#script-fields label')].find(l => l.textContent.startsWith(label)).querySelector('input, select, textarea')
			input.value = value; input.dispatchEvent(new Event('input', { bubbles: true }))
		}
		set('X type', 'Steps'); set('X values', '2, 3'); set('Y type', 'CFG Scale'); set('Y values', '5-7')
		$('form').requestSubmit()`)
	texts := b.pictures(3)
	require.Contains(t, texts[0], `Script: X/Y/Z plot, X Type: Steps, X Values: "2, 3", Y Type: CFG Scale, Y Values: 5-7`)
	b.do(`f.script_name.value = ''; f.script_name.dispatchEvent(new Event('input', { bubbles: true })); document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('use-all').click()`)
	b.wait(`f.script_name.value === 'x/y/z plot'`)
	require.Equal(t, "5-7", js[string](b, `return [...document.querySelectorAll('#script-fields label')].find(l => l.textContent.startsWith('Y values')).querySelector('textarea').value`))
}

// A picture is enlarged in tiles by the script whose labels repeat, and its text fills the
// form again.
func pageEnlargesInTiles(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(quick)
	b.fill(map[string]any{"mode": "img2img"})
	b.drop("#drop", pictureWith(t, ""))
	b.wait(`!$('with-image').hidden`)
	const set = `const set = (label, value) => {
			const input = [...document.querySelectorAll('#script-fields label')].find(l => l.textContent.startsWith(label)).querySelector('input, select')
			input.value = value; input.dispatchEvent(new Event('input', { bubbles: true }))
		}
		`
	b.do(`f.script_name.value = 'ultimate sd upscale'; f.script_name.dispatchEvent(new Event('input', { bubbles: true })); ` + set + `
		set('Tile width', '64'); set('Padding of tiles', '24'); set('Padding of seams', '8'); set('Upscaler', 'Lanczos'); set('Seams', 'Half tile offset pass')
		set('Target size type', 'Scale from image size')
		$('form').requestSubmit()`)
	texts := b.pictures(2)
	require.Contains(t, texts[1], "Size: 128x128")
	require.Contains(t, texts[1], "Ultimate SD upscale upscaler: Lanczos, Ultimate SD upscale tile_width: 64")
	require.Contains(t, texts[1], "Masked area padding: 8")
	b.do(`f.script_name.value = ''; f.script_name.dispatchEvent(new Event('input', { bubbles: true })); document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('use-all').click()`)
	b.wait(`f.script_name.value === 'ultimate sd upscale'`)
	require.Equal(t, "24", js[string](b, `return [...document.querySelectorAll('#script-fields label')].find(l => l.textContent.startsWith('Padding of tiles')).querySelector('input').value`))
}

// The scripted engine sees no objects, of which a note tells.
func pageUsesADetailer(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(quick)
	require.Equal(t, "0.3", b.values()["ad_confidence"])
	b.fill(map[string]any{"ad_enable": true, "ad_prompt": "smiling", "ad_confidence": "0.5"})
	before := b.values()
	b.do(`$('form').requestSubmit()`)
	b.wait(`document.querySelector('#jobs .remark')`)
	require.Equal(t, "ADetailer: face.pt found nothing in picture 1", js[string](b, `return document.querySelector('#jobs .remark').textContent`))
	b.do(`document.querySelector('#jobs .dismiss').click()`)
	require.Contains(t, b.pictures(1)[0], "ADetailer model: face.pt, ADetailer prompt: smiling, ADetailer confidence: 0.5")
	b.fill(map[string]any{"ad_enable": false, "ad_prompt": ""})
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('use-all').click()`)
	b.wait(`!$('viewer').open || $('viewer-note').textContent`)
	require.Equal(t, before, b.values())
}

// edges is a picture with something to find in it.
func edges(t *testing.T) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, 64, 64))
	for x := 20; x < 44; x++ {
		for y := 20; y < 44; y++ {
			m.SetGray(x, y, color.Gray{255})
		}
	}
	var out bytes.Buffer
	require.NoError(t, png.Encode(&out, m))
	return out.Bytes()
}

func pageKeepsState(t *testing.T, home string) {
	g := newGate(t, enginetest.OpPredictNoise)
	b := page(t, home, g.environ())
	b.fill(everyField)
	b.fill(map[string]any{"mode": "img2img"})
	b.drop("#drop", edges(t))
	b.wait(`!$('with-image').hidden`)
	b.do(`const { setStyles } = await import('./webui/prompt.js'); setStyles(['ink']); $('theme').value = 'dark'; $('theme').onchange()`)
	b.fill(map[string]any{"width": 64, "height": 64})
	b.do(`$('form').requestSubmit()`)
	g.next().release()
	before := b.values()
	b.wait(`(await (await import('./webui/storage.js')).draft('init'))?.blob`) // kept when nothing has changed for a moment
	b.open()
	require.Equal(t, before, b.values())
	require.Equal(t, "ink", js[string](b, `return $('styles').textContent`))
	require.Equal(t, "dark", js[string](b, `return document.documentElement.style.colorScheme`))
	b.wait(`!$('with-image').hidden && $('init-picture').naturalWidth === 64`)
	b.wait(`document.querySelectorAll('#jobs li').length === 1`)
	g.open()
	b.wait(`document.querySelectorAll('#gallery li').length === 1`)
}

// pageBehindPrefix reaches the server as behind a proxy that serves other things, too,
// and signs in.
func pageBehindPrefix(t *testing.T, home string) {
	_, c := serve(t, home, openGate, "--api-auth", "ann:secret", "--api-auth-all", "true")
	target, err := url.Parse(c.base)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewServer(http.StripPrefix("/pictures", proxy))
	t.Cleanup(front.Close)
	b := blank(t, front.URL+"/pictures/")
	require.NoError(t, chromedp.Do(b.ctx, chromedp.Navigate(b.base)))
	b.wait(`$('login').open`)
	b.do(`const l = $('login').querySelector('form'); l.elements.user.value = 'ann'; l.elements.secret.value = 'wrong'; l.requestSubmit()`)
	b.wait(`$('login').open && sessionStorage.getItem('authorization')`)
	b.do(`const l = $('login').querySelector('form'); l.elements.user.value = 'ann'; l.elements.secret.value = 'secret'; l.requestSubmit()`)
	b.wait(`document.body.classList.contains('ready')`)
	b.fill(quick)
	b.do(`$('form').requestSubmit()`)
	b.pictures(1)
}

// pageIsAccessible lets axe-core judge the page in its states, themes and widths.
func pageIsAccessible(t *testing.T, home string) {
	axe, err := os.ReadFile(clienttest.Need(t, "cmd/worker/testdata/browser/install.sh", "browser", "node_modules", "axe-core", "axe.min.js"))
	require.NoError(t, err)
	b := page(t, home, openGate)
	_, err = chromedp.Run(b.ctx, chromedp.Evaluate[chromedp.Void](string(axe)))
	require.NoError(t, err)
	judge := func(state string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{390, 1280} {
				b.viewport(width, 900, scheme)
				found := js[struct {
					Violations []json.RawMessage
					Passed     int
				}](b, `const { violations, passes } = await axe.run()
					return { violations: violations.map(v => ({ id: v.id, help: v.help, nodes: v.nodes.map(n => n.html + ' ' + n.failureSummary) })), passed: passes.length }`)
				require.Empty(t, found.Violations, "%s, %s, %d pixels: %s", state, scheme, width, found.Violations)
				require.Greater(t, found.Passed, 20, "rules were tried")
				require.LessOrEqual(t, js[int64](b, `return document.documentElement.scrollWidth`), width, "%s: nothing is beside the window", state)
			}
		}
	}
	b.fill(quick)
	judge("empty")
	b.do(`$('form').requestSubmit()`)
	b.pictures(1)
	b.do(`for (const d of document.querySelectorAll('#sections > details')) d.open = true
		f.script_name.value = 'x/y/z plot'; f.script_name.dispatchEvent(new Event('input', { bubbles: true }))
		for (const switched of document.querySelectorAll('[name=prompter_0], [name=couple_0], #guidance-fields [name$="_0"], [name=dynamic_0]')) switched.checked = true
		f.prompter_2.value = 'Mask'
		document.querySelector('.unit [data-field=enabled]').click(); document.querySelector('.unit details').open = true; f.steps.value = 0; $('form').requestSubmit()`)
	judge("everything open, with an error")
	b.fill(map[string]any{"mode": "img2img"})
	b.drop("#drop", edges(t))
	b.wait(`!$('with-image').hidden`)
	judge("from a picture")
	b.fill(map[string]any{"mode": "extras"})
	judge("enlarging")
	b.do(`$('open-picker').click()`)
	judge("picker")
	b.do(`$('close-picker').click(); document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	judge("viewer")
}

// The demo model draws at its own size only, whether its hash is known or not.
func pageSuitsTheDemo(t *testing.T, home string) {
	b := page(t, home, openGate, "--demo")
	require.Contains(t, js[string](b, `return (await (await fetch('webui/toys.json')).json()).titles.join()`), "demo.safetensors [")
	b.wait(`!$('toy').hidden`)
	for field, suits := range map[string]int{"width": demo.Side, "height": demo.Side, "steps": demo.Steps} {
		require.Equal(t, strconv.Itoa(suits), b.values()[field], field)
	}
	b.do(`document.querySelector('#toy-prompts button').click()`)
	require.Equal(t, demo.Prompts()[0], b.values()["prompt"])
	b.wait(`document.querySelectorAll('#gallery li').length === 1 && !document.querySelector('#jobs li')`)
	require.Equal(t, demo.Side, js[int](b, `return document.querySelector('#gallery img').naturalWidth`))
}
