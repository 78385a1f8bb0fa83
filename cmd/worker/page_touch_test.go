package main

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const (
	touchStart = input.DispatchTouchEventTypeTouchStart
	touchMove  = input.DispatchTouchEventTypeTouchMove
	touchEnd   = input.DispatchTouchEventTypeTouchEnd
)

// finger is a place of the window.
type finger struct{ X, Y float64 }

// touch is a state of the fingers on the screen: those that are there.
func (b *tab) touch(kind input.DispatchTouchEventType, fingers ...finger) {
	b.t.Helper()
	points := []*input.TouchPoint{}
	for i, f := range fingers {
		points = append(points, &input.TouchPoint{X: f.X, Y: f.Y, ID: new(float64(i))})
	}
	_, err := chromedp.Call(b.ctx, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: points})
	require.NoError(b.t, err)
}

// pageIsTouched paints with a finger, pinches with two and swipes, on a telephone.
func pageIsTouched(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.viewport(390, 844, "light")
	_, err := chromedp.Call(b.ctx, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: true})
	require.NoError(t, err)
	b.fill(quick)
	b.fill(map[string]any{"mode": "img2img"})
	b.drop("#drop", pictureWith(t, ""))
	b.wait(`!$('with-image').hidden`)
	// at is a place in the frame of the picture, in shares of its sides.
	at := func(x, y float64) finger {
		return js[finger](b, `const c = $('canvas'); c.scrollIntoView({ block: 'center' }); const r = c.getBoundingClientRect()
			return { X: r.left + %s * r.width, Y: r.top + %s * r.height }`, x, y)
	}
	strokes := func() bool { return js[bool](b, `return !$('undo').disabled`) }
	zoomed := func() string { return js[string](b, `return $('zoom').textContent`) }

	b.touch(touchStart, at(0.2, 0.5))
	b.touch(touchMove, at(0.8, 0.5))
	b.touch(touchEnd)
	require.True(t, strokes(), "one finger paints")
	require.Equal(t, 255, js[int](b, `const { mask } = await import('./webui/canvas.js'), m = new Image(); m.src = await mask(); await m.decode()
		const c = new OffscreenCanvas(m.width, m.height).getContext('2d'); c.drawImage(m, 0, 0); return c.getImageData(32, 24, 1, 1).data[0]`))
	b.do(`$('undo').click()`)

	left, right := at(0.4, 0.5), at(0.6, 0.5)
	b.touch(touchStart, left)
	b.touch(touchStart, left, right)
	apart := (right.X - left.X) / 2
	b.touch(touchMove, finger{left.X - apart, left.Y}, finger{right.X + apart, right.Y})
	b.touch(touchEnd)
	require.Equal(t, "200 %", zoomed(), "twice as far apart")
	require.False(t, strokes(), "the first of two fingers is no brush")
	require.Equal(t, "0", js[string](b, `return String(scrollX)`), "the page itself stays")

	// Both fingers together move the picture.
	before := js[float64](b, `return $('stage').getBoundingClientRect().left`)
	b.touch(touchStart, left)
	b.touch(touchStart, left, right)
	b.touch(touchMove, finger{left.X + 20, left.Y}, finger{right.X + 20, right.Y})
	b.touch(touchEnd)
	require.InDelta(t, before+20, js[float64](b, `return $('stage').getBoundingClientRect().left`), 3)
	require.False(t, strokes())

	// A swipe shows the next picture.
	b.fill(map[string]any{"mode": "txt2img"})
	for n := range 2 {
		b.do(`$('form').requestSubmit()`)
		b.pictures(n + 1)
	}
	b.do(`document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open && document.querySelector('#viewer .position').textContent.startsWith('1 of 2')`)
	middle := js[finger](b, `const r = document.querySelector('.picture-area').getBoundingClientRect(); return { X: r.left + r.width / 2, Y: r.top + r.height / 2 }`)
	b.touch(touchStart, finger{middle.X + 80, middle.Y})
	for x := 60.0; x >= -80; x -= 20 {
		b.touch(touchMove, finger{middle.X + x, middle.Y})
	}
	b.touch(touchEnd)
	b.wait(`document.querySelector('#viewer .position').textContent.startsWith('2 of 2')`)
}
