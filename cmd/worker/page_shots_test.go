//go:build screenshots

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sdworker/models/demo"
)

// TestScreenshots makes the pictures of the page in docs/ from a server with the demo model:
//
//	bin/worker serve --demo --addr 127.0.0.1:7861 &
//	SDWORKER_SCREENSHOTS=http://127.0.0.1:7861 go test -count=1 -tags screenshots -run TestScreenshots ./cmd/worker
func TestScreenshots(t *testing.T) {
	base := os.Getenv("SDWORKER_SCREENSHOTS")
	require.NotEmpty(t, base, "SDWORKER_SCREENSHOTS names the server")
	b := blank(t, base)
	shoot := func(name string) {
		png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(project, "docs", name), png, 0o600))
	}
	b.viewport(1280, 890, "light")
	b.open()
	require.Equal(t, strconv.Itoa(demo.Side), b.values()["width"], "the server has the demo model")
	for i, prompt := range []string{
		"a red fox in the snow", "a white cat on a blue background", "a yellow house at night", "a green tree in the desert", "a blue car by the sea", "a purple boat by the sea",
	} {
		b.fill(map[string]any{"prompt": prompt, "seed": 42})
		b.do(`$('form').requestSubmit()`)
		b.wait(`document.querySelectorAll('#gallery li').length === %s && !document.querySelector('#jobs li')`, i+1)
	}
	shoot("page.png")

	b.viewport(390, 844, "dark")
	b.do(`scrollTo(0, document.body.scrollHeight)`)
	shoot("page-phone.png")

	b.viewport(1280, 800, "light")
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open`)
	b.do(`$('use-inpaint').click()`)
	b.wait(`!$('with-image').hidden && !$('viewer').open`)
	b.do(`$('start').scrollIntoView()
		const c = $('mask'), r = c.getBoundingClientRect()
		const send = (kind, x, y) => c.dispatchEvent(new PointerEvent(kind, { pointerId: 1, button: 0, clientX: r.left + x * r.width, clientY: r.top + y * r.height, bubbles: true }))
		c.setPointerCapture = () => {}
		$('brush').value = 90
		send('pointerdown', .15, .8)
		for (const x of [.3, .5, .7, .85]) send('pointermove', x, .83)
		send('pointerup', .85, .83)`)
	b.fill(map[string]any{"prompt": "a red boat by the sea"})
	b.do(`$('start').scrollIntoView()`)
	shoot("page-inpaint.png")
}
