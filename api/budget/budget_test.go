package budget

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/fault"
)

func request(size int64, announced bool) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", io.LimitReader(zeros{}, size))
	r.ContentLength = -1
	if announced {
		r.ContentLength = size
	}
	return r
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBodiesShareTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 10 << 20
		b := New(2 * size * perByte)
		var reading, most atomic.Int64
		h := b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			assert.NoError(t, err)
			assert.EqualValues(t, size, n)
			most.Store(max(most.Load(), reading.Add(1)))
			time.Sleep(time.Second)
			reading.Add(-1)
		}))
		began := time.Now()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { h.ServeHTTP(httptest.NewRecorder(), request(size, true)) })
		}
		all.Wait()
		require.EqualValues(t, 2, most.Load())
		require.Equal(t, 3*time.Second, time.Since(began))
		require.True(t, b.sem.TryAcquire(b.size), "everything is given back")
	})
}

func TestWhoCannotWaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(12 << 20)
		hold, held := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				close(held)
				<-hold
			})).ServeHTTP(nil, request(4<<20, true))
		})
		<-held
		read := func(r *http.Request) (n int64, err error) {
			b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { n, err = io.Copy(io.Discard, r.Body) })).ServeHTTP(nil, r)
			return n, err
		}
		_, err := read(request(2<<20, true))
		require.Equal(t, fault.Busy, fault.CodeOf(err), "after two minutes")
		n, err := read(request(2<<20, false))
		require.Equal(t, fault.Busy, fault.CodeOf(err), "a body of unknown length beyond the free part")
		require.EqualValues(t, free, n)
		_, err = read(request(free, true))
		require.NoError(t, err, "small bodies never wait")
		_, err = read(request(5<<20, true))
		require.Equal(t, fault.Invalid, fault.CodeOf(err), "more than there is at all")
		close(hold)
		all.Wait()
		n, err = read(request(3<<20+5, false))
		require.NoError(t, err)
		require.EqualValues(t, 3<<20+5, n)
		require.True(t, b.sem.TryAcquire(b.size))
	})
}

func TestPixels(t *testing.T) {
	b := New(PerPixel * 100 * 100)
	b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, TakePixels(r.Context(), 100, 50))
		b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, inner *http.Request) {
			require.NoError(t, TakePixels(inner.Context(), 100, 50), "the same lease")
		})).ServeHTTP(nil, r)
		require.Equal(t, fault.Invalid, fault.CodeOf(TakePixels(r.Context(), 1, 1)))
	})).ServeHTTP(nil, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	require.True(t, b.sem.TryAcquire(b.size))
	b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, fault.Busy, fault.CodeOf(TakePixels(r.Context(), 1, 1)))
	})).ServeHTTP(nil, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	require.NoError(t, TakePixels(context.Background(), 1<<20, 1<<20), "no bound outside of a handler")
}

func TestResults(t *testing.T) {
	b := New(perResult * 100 * 100)
	b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, TakeResult(r.Context(), 2, 100, 50))
		require.False(t, b.sem.TryAcquire(1))
		err := TakeResult(r.Context(), 1, 1, 1)
		require.Equal(t, fault.Invalid, fault.CodeOf(err))
		require.ErrorContains(t, err, "ask for fewer or smaller ones")
	})).ServeHTTP(nil, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	require.True(t, b.sem.TryAcquire(b.size), "free again")
	b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, fault.Busy, fault.CodeOf(TakeResult(r.Context(), 1, 1, 1)))
	})).ServeHTTP(nil, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	require.NoError(t, TakeResult(context.Background(), 1024, 8192, 8192), "no bound outside of a handler")
}

func TestKeep(t *testing.T) {
	b := New(8 << 20)
	var release func()
	b.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		require.NoError(t, err)
		release = Keep(r.Context())
	})).ServeHTTP(nil, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 2<<20))))
	require.False(t, b.sem.TryAcquire(b.size))
	release()
	release()
	require.True(t, b.sem.TryAcquire(b.size))
	Keep(context.Background())()
}
