package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sdworker/internal/clienttest"
	"sdworker/models/synth"
)

// browser starts Chromium once for all tests.
var browser = sync.OnceValues(func() (context.Context, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.ExecPath(path))
	ctx, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	return ctx, chromedp.Do(ctx)
})

// tab is the page in a profile of its own.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of the tab
	base string

	mu       sync.Mutex
	requests []string // URLs
}

// browse opens the page at an address, and checks at the end that it asked nobody else
// and that nothing went wrong in it. It skips the test where there is no browser.
func browse(t *testing.T, base string) *tab {
	t.Helper()
	b := blank(t, base)
	b.open()
	return b
}

// blank is a tab without a page.
func blank(t *testing.T, base string) *tab {
	t.Helper()
	clienttest.Program(t, "chromium", "chromium")
	parent, err := browser()
	require.NoError(t, err)
	b := &tab{t: t, base: strings.TrimSuffix(base, "/") + "/"}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 4*patience)
	t.Cleanup(stop)
	b.ctx = ctx
	sent := chromedp.Events(ctx, network.RequestWillBeSent)
	told := chromedp.Console(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for e, err := range sent {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.requests = append(b.requests, e.Request.URL)
			b.mu.Unlock()
		}
	})
	var exceptions []string
	reading.Go(func() {
		for m, err := range told {
			if err != nil {
				return
			}
			if m.IsException() || m.Source == "security" || strings.Contains(m.Text, "Content Security Policy") {
				exceptions = append(exceptions, m.Text)
			}
		}
	})
	t.Cleanup(func() {
		stop()
		reading.Wait()
		require.Empty(t, exceptions)
		for _, asked := range b.requests {
			u, err := url.Parse(asked)
			require.NoError(t, err)
			require.True(t, u.Scheme == "data" || u.Scheme == "blob" || strings.HasPrefix(asked, b.base), "the page asked for %s", asked)
		}
	})
	return b
}

// open loads the page and waits until it can be used.
func (b *tab) open() {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, chromedp.Navigate(b.base)))
	b.wait(`document.body.classList.contains('ready')`)
}

// js runs the body of an asynchronous function in the page, with f for the fields of the
// form and $ for elements by id, and returns what it returns.
func js[T any](b *tab, body string, args ...any) T {
	b.t.Helper()
	var texts []any
	for _, arg := range args {
		text, err := json.Marshal(arg)
		require.NoError(b.t, err)
		texts = append(texts, string(text))
	}
	body = fmt.Sprintf("(async () => { const $ = id => document.getElementById(id), f = $('form').elements; "+body+" })()", texts...)
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](body, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, body)
	return value
}

func (b *tab) do(body string, args ...any) { b.t.Helper(); js[chromedp.Void](b, body, args...) }

// wait waits until an expression is true.
func (b *tab) wait(expression string, args ...any) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return js[bool](b, "return Boolean("+expression+")", args...) }, patience, 20*time.Millisecond, expression)
}

// key presses a key with modifiers.
func (b *tab) key(key string, modifiers ...chromedp.Modifier) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...))))
}

// values are what the form holds.
func (b *tab) values() map[string]any {
	b.t.Helper()
	return js[map[string]any](b, `return (await import('./webui/form.js')).values()`)
}

// fill puts values into fields as a user would.
func (b *tab) fill(values map[string]any) {
	b.t.Helper()
	b.do(`const form = await import('./webui/form.js'); for (const [name, value] of Object.entries(%s)) if (!form.set(name, value)) throw name; form.changed()`, values)
}

// pictures waits until the gallery has n of them and returns their texts, the newest
// first.
func (b *tab) pictures(n int) []string {
	b.t.Helper()
	b.wait(`document.querySelectorAll('#gallery li').length === %s && !document.querySelector('#jobs li:not(.failed)')`, n)
	return js[[]string](b, `return (await (await import('./webui/storage.js')).entries()).map(e => e.text).reverse()`)
}

// drop lets a picture fall on an element.
func (b *tab) drop(selector string, data []byte) {
	b.t.Helper()
	b.do(`const file = new File([Uint8Array.from(%s)], 'dropped.png', { type: 'image/png' }), carried = new DataTransfer()
		carried.items.add(file)
		const target = document.querySelector(%s)
		for (const kind of ['dragenter', 'dragover', 'drop']) target.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }))`, numbers(data), selector)
}

func numbers(data []byte) []int {
	out := make([]int, len(data))
	for i, v := range data {
		out[i] = int(v)
	}
	return out
}

// viewport is the size of the window and the wish of its user for a theme.
func (b *tab) viewport(width, height int64, scheme string) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, chromedp.EmulateViewport(width, height)))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(b.t, err)
}

// pageHome is a home with a checkpoint, a LoRA and an embedding that can be listed.
func pageHome(t *testing.T) string {
	t.Helper()
	clienttest.Program(t, "chromium", "chromium")
	detector, err := os.ReadFile("../../inference/detect/testdata/detect.pt")
	require.NoError(t, err)
	home := t.TempDir()
	t.Chdir(home)
	require.NoError(t, os.MkdirAll("models/adetailer", 0o755))
	require.NoError(t, os.WriteFile("models/adetailer/face.pt", detector, 0o600))
	for path, kind := range map[string]synth.Kind{
		"Stable-diffusion/" + checkpointName: synth.Checkpoint, "Lora/style": synth.LoRA, "embeddings/word": synth.Embedding, "ControlNet/edges": synth.ControlNet,
	} {
		path = filepath.Join("models", path+".safetensors")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, synth.Write(t.Context(), path, synth.Options{Kind: kind, Size: synth.Tiny}))
	}
	require.NoError(t, os.WriteFile("styles.csv", []byte("name,prompt,negative_prompt\nink,ink drawing of {prompt},photo\n"), 0o600))
	return home
}
