package fetch_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
	"sdworker/models/fetch"
)

var modTime = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// on starts a server on another address of the loopback network.
func on(t *testing.T, address string, h http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	require.NoError(t, err)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Second}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// In this test 127.0.0.1 is the public Internet and 127.0.0.2 the private net.
func TestRequestURLsStayOutside(t *testing.T) {
	body, sum := random(3*chunk, 30)
	outside := serve(t, body)
	touched := false
	inside := on(t, "127.0.0.2", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { touched = true }))
	dir := t.TempDir()
	get := func(f *fetch.Fetcher, ref string) error {
		src, err := f.FromRequest(ref)
		if err != nil {
			return err
		}
		require.True(t, src.Public)
		_, err = f.Fetch(context.Background(), src, filepath.Join(dir, "m.safetensors"), fetch.Options{Force: true})
		return err
	}
	f := fetcher(t, nil)
	require.NoError(t, get(f, outside.URL+"/m.safetensors"))
	require.Equal(t, sum, digest(content(t, filepath.Join(dir, "m.safetensors"))))

	before := outside.count()
	require.ErrorContains(t, get(f, inside.URL+"/m"), "not public")
	outside.answer(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, inside.URL+"/m", http.StatusFound)
		return true
	})
	err := get(f, outside.URL+"/m")
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "not public", "after a redirect")
	require.Equal(t, before+1, outside.count(), "not tried again")

	// A chunk is no way around the check either.
	outside.answer(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if isProbe(r) {
			return false
		}
		http.Redirect(w, r, inside.URL+"/m", http.StatusFound)
		return true
	})
	require.ErrorContains(t, get(f, outside.URL+"/m"), "not public")
	require.False(t, touched)

	var hops atomic.Int32
	round := on(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hops.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	require.ErrorContains(t, get(f, round.URL+"/m"), "more than 5 redirects")
	require.EqualValues(t, 6, hops.Load())

	for _, ref := range []string{"file:///etc/passwd", "gopher://x/", "//x/y", "deliberate-v6"} {
		require.Equal(t, fault.Invalid, fault.CodeOf(get(f, ref)), ref)
	}
}

// With the real rule nothing on this machine can be reached, by any spelling.
func TestRequestURLsNeverReachThisMachine(t *testing.T) {
	touched := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { touched = true }))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	f := fetch.New(fetch.Config{AllowRequestURLs: true, FirstWait: time.Millisecond, MaxTries: 2})
	defer f.Close()
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "2130706433", "0x7f.1"} {
		src, err := f.FromRequest("http://" + host + ":" + port + "/m")
		require.NoError(t, err)
		_, err = f.Fetch(context.Background(), src, filepath.Join(t.TempDir(), "m"), fetch.Options{})
		require.Error(t, err, host)
	}
	require.False(t, touched)
}

func TestRequestURLsAreOffByDefault(t *testing.T) {
	f := fetch.New(fetch.Config{})
	defer f.Close()
	_, err := f.FromRequest("https://example.com/m.safetensors")
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "not allowed")
}

func TestRequestURLsAreLimitedInSize(t *testing.T) {
	s := serve(t, nil)
	s.answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Range", "bytes 0-0/6000000000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte{0})
		return true
	})
	f := fetcher(t, nil)
	src, err := f.FromRequest(s.URL + "/m")
	require.NoError(t, err)
	_, err = f.Fetch(context.Background(), src, filepath.Join(t.TempDir(), "m"), fetch.Options{})
	require.ErrorContains(t, err, "larger than")
	require.Equal(t, 1, s.count())
	require.True(t, strings.HasSuffix(src.Name, ".safetensors"))
}
