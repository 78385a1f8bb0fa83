package loopback_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/api/loopback"
)

type key struct{}

func TestCalls(t *testing.T) {
	var seen *http.Request
	var sent string
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen, sent = r, string(body)
		if r.URL.Path == "/plain path" {
			_, _ = io.WriteString(w, "ok")
			return
		}
		w.Header().Set("X-Kind", "teapot")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "short and ")
		assert.NoError(t, http.NewResponseController(w).Flush())
		_, _ = io.WriteString(w, "stout")
	})
	ctx := context.WithValue(t.Context(), key{}, "job")

	reply := loopback.Get(ctx, h, "/plain%20path?a=b&c", nil)
	require.Equal(t, http.StatusOK, reply.Status)
	require.Equal(t, "ok", string(reply.Body))
	require.Equal(t, []string{"GET", "a=b&c", ""}, []string{seen.Method, seen.URL.RawQuery, sent})
	require.Equal(t, "job", seen.Context().Value(key{}))
	require.Empty(t, seen.Header)

	header := http.Header{"Authorization": {"Bearer x"}, "Cookie": {"y"}}
	reply = loopback.Post(ctx, h, "/pot", header, []byte(`{"a":1}`))
	require.Equal(t, http.StatusTeapot, reply.Status)
	require.Equal(t, "teapot", reply.Header.Get("X-Kind"))
	require.Equal(t, "short and stout", string(reply.Body))
	require.Equal(t, `{"a":1}`, sent)
	require.EqualValues(t, 7, seen.ContentLength)
	require.Equal(t, "application/json", seen.Header.Get("Content-Type"))
	require.Equal(t, http.Header{"Authorization": {"Bearer x"}}, loopback.Credentials(seen))
	require.NotContains(t, header, "Content-Type", "the caller's header stays as it is")

	loopback.Do(ctx, h, http.MethodDelete, "/pot", nil, []byte("left out"))
	require.Equal(t, []string{"DELETE", ""}, []string{seen.Method, sent})

	require.Equal(t, http.StatusBadRequest, loopback.Get(ctx, h, "no path", nil).Status)
}
