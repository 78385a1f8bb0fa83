package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/inference/enginetest"
)

// front is a proxy whose server can go away and come back as another one.
type front struct {
	mu     sync.Mutex
	proxy  http.Handler
	ctx    context.Context //nolint:containedctx // of the requests in hand
	vanish context.CancelFunc
}

// turn leads to the server at an address, "" for none, and breaks what goes to the one
// before.
func (f *front) turn(t *testing.T, base string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vanish != nil {
		f.vanish()
	}
	f.ctx, f.vanish = context.WithCancel(context.WithoutCancel(t.Context()))
	f.proxy = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	if base != "" {
		target, err := url.Parse(base)
		require.NoError(t, err)
		f.proxy = &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	proxy, ctx := f.proxy, f.ctx
	f.mu.Unlock()
	own, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(ctx, cancel)()
	defer cancel()
	proxy.ServeHTTP(w, r.WithContext(own))
}

// pageOutlivesItsServer keeps following a job while the server does not answer, and says so
// when another one has never heard of it.
func pageOutlivesItsServer(t *testing.T, home string) {
	g := newGate(t, enginetest.OpPredictNoise)
	_, first := serve(t, home, g.environ())
	first.ready()
	f := &front{}
	f.turn(t, first.base)
	outer := httptest.NewServer(f)
	t.Cleanup(outer.Close)
	b := browse(t, outer.URL)
	state := `document.querySelector('#jobs .state')?.textContent`
	b.fill(quick)
	b.do(`$('form').requestSubmit()`)
	call := g.next()
	b.wait(`document.querySelector('#jobs .running')`)

	f.turn(t, "")
	b.wait(state + ` === 'The server does not answer, trying again'`)
	f.turn(t, first.base)
	call.release()
	b.wait(state + `?.startsWith('Sampling')`)

	f.turn(t, "")
	b.wait(state + ` === 'The server does not answer, trying again'`)
	_, second := serve(t, home, openGate)
	second.ready()
	f.turn(t, second.base)
	b.wait(state + ` === 'The server was started anew and has forgotten this job.'`)
	b.do(`document.querySelector('#jobs .dismiss').click(); $('form').requestSubmit()`)
	b.pictures(1)
	g.open()
}

// pageHasNoRoom shows pictures that the browser's database has no room for.
func pageHasNoRoom(t *testing.T, home string) {
	b := page(t, home, openGate)
	b.fill(quick)
	b.do(`$('form').requestSubmit()`)
	b.pictures(1)
	b.do(`IDBObjectStore.prototype.put = function () { this.transaction.abort() }`) // as a full disk does
	b.fill(map[string]any{"seed": 43})
	b.do(`$('form').requestSubmit()`)
	b.wait(`document.querySelector('#jobs .remark')`)
	require.Contains(t, js[string](b, `return document.querySelector('#jobs .remark').textContent`), "no room for more pictures")
	require.Equal(t, 2, js[int](b, `return document.querySelectorAll('#gallery li').length`))
	b.do(`document.querySelector('#jobs .dismiss').click(); document.querySelector('#gallery button').click()`)
	b.wait(`$('viewer').open && document.querySelector('#viewer img').naturalWidth === 64`)
	require.Contains(t, js[string](b, `return $('parameters').innerText`), "43")
	b.do(`$('next').click()`)
	b.wait(`document.querySelector('#viewer .position').textContent.startsWith('2 of 2')`)
	b.do(`$('close').click()`)
	b.open()
	b.pictures(1) // nothing half kept
}
