package fetch_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sdworker/inference"
	"sdworker/models/fetch"
)

var modTime = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

func TestIsPublic(t *testing.T) {
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "104.16.0.1", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450::1"} {
		require.True(t, fetch.IsPublic(netip.MustParseAddr(s)), s)
	}
	for _, s := range []string{
		"127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
		"fec0::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001::1", "2001:db8::1", "100::1",
	} {
		require.False(t, fetch.IsPublic(netip.MustParseAddr(s)), s)
	}
	require.False(t, fetch.IsPublic(netip.Addr{}))
}

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
	require.Equal(t, inference.Invalid, inference.CodeOf(err))
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
		require.Equal(t, inference.Invalid, inference.CodeOf(get(f, ref)), ref)
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
	require.Equal(t, inference.Invalid, inference.CodeOf(err))
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
