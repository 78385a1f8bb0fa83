package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/internal/disktest"
	"sdworker/models/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const chunk = 64 << 10

// random content of n bytes, and its sha256.
func random(n int, seed byte) ([]byte, string) {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	sum := sha256.Sum256(b)
	return b, hex.EncodeToString(sum[:])
}

// fetcher is quick to try again and takes only 127.0.0.1 for public.
func fetcher(t *testing.T, change func(*fetch.Config)) *fetch.Fetcher {
	t.Helper()
	config := fetch.Config{FirstWait: time.Millisecond, StallTimeout: time.Minute, MaxTries: 5, AllowRequestURLs: true}
	if change != nil {
		change(&config)
	}
	f := fetch.NewForTest(config, func(a netip.Addr) bool { return a.Unmap() == netip.MustParseAddr("127.0.0.1") }, chunk)
	t.Cleanup(f.Close)
	return f
}

// only demands that a folder holds these files and no others.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.ElementsMatch(t, names, got)
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func TestWhole(t *testing.T) {
	for _, size := range []int{1, chunk - 1, chunk, chunk + 1, 20*chunk + 17} {
		body, sum := random(size, 1)
		s := serve(t, body)
		dest := filepath.Join(t.TempDir(), "deep/er/m.safetensors")
		var last fetch.Progress
		res, err := fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL + "/m", Name: "m", SHA256: sum}, dest,
			fetch.Options{Progress: func(p fetch.Progress) { last = p }})
		require.NoError(t, err)
		require.Equal(t, sum, res.SHA256)
		require.EqualValues(t, size, res.Bytes)
		require.True(t, bytes.Equal(body, content(t, dest)))
		require.EqualValues(t, size, last.Done)
		require.EqualValues(t, size, last.Total)
		only(t, filepath.Dir(dest), "m.safetensors")
	}
}

// Every way a server can misbehave that a patient client gets over. The file
// is always complete and right in the end.
func TestGetsOver(t *testing.T) {
	body, sum := random(12*chunk+5, 2)
	other, _ := random(12*chunk+5, 3)
	var stallers sync.WaitGroup
	for _, c := range []struct {
		name   string
		before func(s *server) func(n int, w http.ResponseWriter, r *http.Request) bool
	}{
		{"cuts every other request", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if isProbe(r) || n%2 == 0 {
					return false
				}
				cut(w, r, body, chunk/2)
				return true
			}
		}},
		{"cuts before the head", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n%3 != 0 {
					return false
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					conn.Close()
				}
				return true
			}
		}},
		{"stalls", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			var once atomic.Int32
			return func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if isProbe(r) || once.Add(1) > 2 {
					return false
				}
				stallers.Add(1)
				defer stallers.Done()
				w.Header().Set("ETag", `"one"`)
				var first, last int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(body)))
				w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(body[first : first+10])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return true
			}
		}},
		{"503 with a waiting time", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n > 2 {
					return false
				}
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
		}},
		{"429, 500, 502, 408", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				statuses := []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusRequestTimeout}
				if n > len(statuses) {
					return false
				}
				w.WriteHeader(statuses[n-1])
				return true
			}
		}},
		{"lies about the range", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if isProbe(r) || n%3 != 0 {
					return false
				}
				w.Header().Set("ETag", `"one"`)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-9/%d", len(body)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(body[:10])
				return true
			}
		}},
		{"lies about the length", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if isProbe(r) || n%3 != 0 {
					return false
				}
				w.Header().Set("ETag", `"one"`)
				w.Header().Set("Content-Range", strings.Replace(r.Header.Get("Range"), "=", " ", 1)+fmt.Sprintf("/%d", len(body)))
				w.Header().Set("Content-Length", "3")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(body[:3])
				return true
			}
		}},
		{"the file changes once", func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 1 {
					s.replace(other, `"old"`)
				}
				if n == 4 {
					s.replace(body, `"one"`)
				}
				return false
			}
		}},
		{"the file changes all the time", func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				s.mu.Lock()
				s.etag = fmt.Sprintf(`"%d"`, n)
				s.mu.Unlock()
				return false
			}
		}},
		{"grows and shrinks", func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				switch n {
				case 1:
					s.replace(body[:2*chunk], `"one"`)
				case 2:
					s.replace(body, `"one"`)
				}
				return false
			}
		}},
		{"416 in between", func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n != 5 {
					return false
				}
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
		}},
		{"sends no parts", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				return false
			}
		}},
		{"stops sending parts", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n > 4 {
					r.Header.Del("Range")
				}
				return false
			}
		}},
		{"no parts, and cuts", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				if n == 2 || n == 3 {
					cut(w, r, body, 5*chunk)
					return true
				}
				return false
			}
		}},
		{"no length", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusOK)
				for b := body; len(b) > 0; b = b[min(len(b), chunk):] {
					_, _ = w.Write(b[:min(len(b), chunk)])
					_ = http.NewResponseController(w).Flush()
				}
				return true
			}
		}},
		{"no version", func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			s.replace(body, "")
			return nil
		}},
		{"weak version", func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			s.replace(body, `W/"one"`)
			return nil
		}},
		{"redirects", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/final" {
					return false
				}
				http.Redirect(w, r, "/final?signature=secret", http.StatusFound)
				return true
			}
		}},
		{"signatures expire", func(*server) func(int, http.ResponseWriter, *http.Request) bool {
			var mu sync.Mutex
			valid, uses := 0, 0
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if r.URL.Path != "/final" {
					valid++
					uses = 0
					http.Redirect(w, r, fmt.Sprintf("/final?signature=%d", valid), http.StatusFound)
					return true
				}
				if r.URL.Query().Get("signature") != fmt.Sprint(valid) || uses > 4 {
					w.WriteHeader(http.StatusForbidden)
					return true
				}
				uses++
				return false
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, body)
			s.answer(c.before(s))
			dir := t.TempDir()
			dest := filepath.Join(dir, "m.safetensors")
			// Without the expected sum: what is checked must not depend on it.
			f := fetcher(t, func(config *fetch.Config) {
				config.Parallel, config.MaxTries = 3, 8
				if c.name == "stalls" {
					config.StallTimeout = 300 * time.Millisecond
				}
			})
			res, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL + "/m", Name: "m"}, dest, fetch.Options{})
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, content(t, dest)))
			require.Equal(t, sum, res.SHA256)
			only(t, dir, "m.safetensors")
		})
	}
	stallers.Wait()
}

// Every way to fail for good: a clear code and sentence, nothing under the name.
func TestFails(t *testing.T) {
	body, _ := random(6*chunk, 4)
	_, wrong := random(6*chunk, 5)
	status := func(code int) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			return true
		}
	}
	for _, c := range []struct {
		name   string
		source fetch.Source
		o      fetch.Options
		before func(int, http.ResponseWriter, *http.Request) bool
		code   fault.Code
		want   string
		most   int // requests
	}{
		{name: "401", before: status(401), code: fault.Invalid, want: "HF_TOKEN", most: 1},
		{name: "403", before: status(403), code: fault.Invalid, want: "refuses access", most: 1},
		{name: "404", before: status(404), code: fault.NotFound, want: "no such file", most: 1},
		{name: "410", before: status(410), code: fault.NotFound, want: "no such file", most: 1},
		{name: "418", before: status(418), code: fault.Invalid, want: "418", most: 1},
		{name: "503 for ever", before: status(503), code: fault.Busy, want: "gave up after 5 failures", most: 5},
		{name: "416 at once", before: status(416), code: fault.Invalid, want: "empty file", most: 1},
		{name: "cuts for ever", before: func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if isProbe(r) {
				return false
			}
			cut(w, r, body, 100)
			return true
		}, code: fault.Busy, want: "gave up", most: 100},
		{name: "wrong bytes", source: fetch.Source{SHA256: wrong}, code: fault.Invalid, want: "has the sha256", most: 100},
		{
			name: "wrong bytes in one part", source: fetch.Source{SHA256: func() string { _, s := random(6*chunk, 4); return s }()},
			before: func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") != fmt.Sprintf("bytes=%d-%d", 2*chunk, 3*chunk-1) {
					return false
				}
				bad := bytes.Clone(body)
				bad[2*chunk+100] ^= 1
				w.Header().Set("ETag", `"one"`)
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bad))
				return true
			}, code: fault.Invalid, want: "has the sha256", most: 100,
		},
		{name: "wrong size", source: fetch.Source{Bytes: 7}, code: fault.Invalid, want: "bytes where 7 are expected", most: 1},
		{name: "too large", o: fetch.Options{MaxBytes: 1000}, code: fault.Invalid, want: "larger than the 1000 bytes", most: 1},
		{name: "too large, length hidden", o: fetch.Options{MaxBytes: 1000}, before: func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusOK)
			for range 10 {
				_, _ = w.Write(body[:500])
				_ = http.NewResponseController(w).Flush()
			}
			return true
		}, code: fault.Invalid, want: "larger than the 1000 bytes", most: 2},
		{name: "compressed", before: func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusOK)
			return true
		}, code: fault.Invalid, want: "compressed", most: 1},
		{name: "redirect loop", before: func(n int, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, fmt.Sprintf("/%d", n), http.StatusFound)
			return true
		}, code: fault.Invalid, want: "redirects", most: 11},
		{name: "redirect to a file", before: func(n int, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
			return true
		}, code: fault.Invalid, want: "is not followed", most: 1},
		{name: "signatures never valid", before: func(n int, w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path != "/final":
				http.Redirect(w, r, "/final?signature=same", http.StatusFound)
				return true
			case isProbe(r):
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}, code: fault.Invalid, want: "refuses access", most: 30},
		{name: "verification", o: fetch.Options{Verify: func(string) error {
			return fault.Errorf(fault.Invalid, "", "not to my taste")
		}}, code: fault.Invalid, want: "not to my taste", most: 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, body)
			s.answer(c.before)
			dir := t.TempDir()
			c.source.URL, c.source.Name = s.URL+"/m?token=secret", "m"
			_, err := fetcher(t, func(c *fetch.Config) { c.Parallel = 2 }).Fetch(context.Background(), c.source, filepath.Join(dir, "m.safetensors"), c.o)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "secret")
			require.LessOrEqual(t, s.count(), c.most)
			require.NoFileExists(t, filepath.Join(dir, "m.safetensors"))
			require.NoFileExists(t, filepath.Join(dir, "m.safetensors.lock"))
			if c.code != fault.Busy {
				only(t, dir)
			}
		})
	}
}

func TestNeverOverwritesWithSomethingWrong(t *testing.T) {
	body, _ := random(3*chunk, 6)
	_, wrong := random(1, 7)
	s := serve(t, body)
	dest := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, os.WriteFile(dest, []byte("the old one"), 0o600))
	_, err := fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL, SHA256: wrong}, dest, fetch.Options{})
	require.Error(t, err)
	require.Equal(t, "the old one", string(content(t, dest)))
}

func TestResumesAfterCancel(t *testing.T) {
	body, sum := random(16*chunk, 8)
	s := serve(t, body)
	dir := t.TempDir()
	dest := filepath.Join(dir, "m.safetensors")
	ctx, cancel := context.WithCancel(context.Background())
	s.answer(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 8 {
			cancel()
		}
		return false
	})
	f := fetcher(t, func(c *fetch.Config) { c.Parallel = 1 })
	_, err := f.Fetch(ctx, fetch.Source{URL: s.URL, Name: "m"}, dest, fetch.Options{})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	only(t, dir, "m.safetensors.part", "m.safetensors.part.json")

	before := s.count()
	var resumed int64
	res, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL, Name: "m"}, dest, fetch.Options{Progress: func(p fetch.Progress) { resumed = p.Resumed }})
	require.NoError(t, err)
	require.Equal(t, sum, res.SHA256)
	require.GreaterOrEqual(t, resumed, int64(5*chunk))
	require.LessOrEqual(t, s.count()-before, 1+11, "only what was missing")
	only(t, dir, "m.safetensors")
}

// A part of another version, or one that somebody spoiled, is not built upon.
func TestResumeIsSuspicious(t *testing.T) {
	body, sum := random(8*chunk, 9)
	other, _ := random(8*chunk, 10)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, s *server, dest string)
	}{
		{"new version on the server", func(_ *testing.T, s *server, _ string) { s.replace(body, `"two"`) }},
		{"spoiled bytes", func(t *testing.T, s *server, dest string) {
			t.Helper()
			s.replace(body, `"one"`)
			require.NoError(t, os.WriteFile(dest+".part", other, 0o600))
		}},
		{"shortened", func(t *testing.T, s *server, dest string) {
			t.Helper()
			s.replace(body, `"one"`)
			require.NoError(t, os.Truncate(dest+".part", 100))
		}},
		{"broken state", func(t *testing.T, s *server, dest string) {
			t.Helper()
			s.replace(body, `"one"`)
			require.NoError(t, os.WriteFile(dest+".part.json", []byte("{"), 0o600))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, other)
			if c.name == "spoiled bytes" {
				s.replace(body, `"one"`)
			}
			dest := filepath.Join(t.TempDir(), "m.safetensors")
			ctx, cancel := context.WithCancel(context.Background())
			s.answer(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 5 {
					cancel()
				}
				return false
			})
			f := fetcher(t, func(c *fetch.Config) { c.Parallel = 1 })
			_, err := f.Fetch(ctx, fetch.Source{URL: s.URL, Name: "m"}, dest, fetch.Options{})
			require.Error(t, err)
			c.spoil(t, s, dest)
			res, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL, Name: "m", SHA256: sum}, dest, fetch.Options{})
			require.NoError(t, err)
			require.Equal(t, sum, res.SHA256)
			require.True(t, bytes.Equal(body, content(t, dest)))
		})
	}
}

func TestSingleFlight(t *testing.T) {
	body, sum := random(8*chunk, 11)
	s := serve(t, body)
	s.answer(func(int, http.ResponseWriter, *http.Request) bool {
		time.Sleep(5 * time.Millisecond)
		return false
	})
	dir := t.TempDir()
	var wait sync.WaitGroup
	var present atomic.Int32
	for range 4 { // each with a Fetcher of its own, as other processes would have
		wait.Go(func() {
			res, err := fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL, SHA256: sum}, filepath.Join(dir, "m"), fetch.Options{})
			assert.NoError(t, err)
			assert.Equal(t, sum, res.SHA256)
			if res.Present {
				present.Add(1)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 3, present.Load())
	require.Equal(t, 9, s.count())
	only(t, dir, "m")
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	body, _ := random(chunk, 12)
	s := serve(t, body)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.answer(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			close(entered)
			<-leave
		}
		return false
	})
	dest := filepath.Join(t.TempDir(), "m")
	f := fetcher(t, nil)
	var wait sync.WaitGroup
	wait.Go(func() {
		_, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL}, dest, fetch.Options{})
		assert.NoError(t, err)
	})
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := f.Fetch(ctx, fetch.Source{URL: s.URL}, dest, fetch.Options{})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	close(leave)
	wait.Wait()
}

func TestPresent(t *testing.T) {
	body, sum := random(2*chunk, 13)
	s := serve(t, body)
	dest := filepath.Join(t.TempDir(), "m")
	f := fetcher(t, nil)
	require.NoError(t, os.WriteFile(dest, []byte("mine"), 0o600))
	res, err := f.Fetch(context.Background(), fetch.Source{URL: s.URL}, dest, fetch.Options{})
	require.NoError(t, err)
	require.True(t, res.Present)
	require.Zero(t, s.count(), "an existing file is kept when nothing is known about it")

	res, err = f.Fetch(context.Background(), fetch.Source{URL: s.URL, SHA256: sum}, dest, fetch.Options{})
	require.NoError(t, err)
	require.False(t, res.Present)
	require.True(t, bytes.Equal(body, content(t, dest)), "a file that is another one is replaced")

	before := s.count()
	res, err = f.Fetch(context.Background(), fetch.Source{URL: s.URL, SHA256: sum}, dest, fetch.Options{Force: true})
	require.NoError(t, err)
	require.False(t, res.Present)
	require.Greater(t, s.count(), before)
}

func TestDiskFull(t *testing.T) {
	s := serve(t, nil)
	s.answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-0/%d", int64(1)<<55))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte{0})
		return true
	})
	dir := t.TempDir()
	_, err := fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL}, filepath.Join(dir, "m"), fetch.Options{})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err), "%v", err)
	only(t, dir)
}

// TestDiskFullOnTheWay: what has come stays, and is gone on with once there is room.
func TestDiskFullOnTheWay(t *testing.T) {
	if !disktest.OwnProcess(t) {
		return
	}
	body, _ := random(1<<20, 15)
	s := serve(t, body)
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	free := disktest.Fill(t, 64<<10)
	_, err := fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL}, path, fetch.Options{})
	require.Equal(t, fault.Exhausted, fault.CodeOf(err), "%v", err)
	require.NoFileExists(t, path)
	free()
	_, err = fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL}, path, fetch.Options{})
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, body, got)
}

func TestRetryAfterIsHeeded(t *testing.T) {
	body, _ := random(10, 14)
	s := serve(t, body)
	s.answer(func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n > 1 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	start := time.Now()
	_, err := fetcher(t, nil).Fetch(context.Background(), fetch.Source{URL: s.URL}, filepath.Join(t.TempDir(), "m"), fetch.Options{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
}
