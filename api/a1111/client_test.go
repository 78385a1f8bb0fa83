package a1111_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sdworker/api/a1111"
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

	client := a1111.Client{Handler: h}
	reply := client.Get(ctx, "/plain%20path?a=b&c")
	require.Equal(t, http.StatusOK, reply.Status)
	require.Equal(t, "ok", string(reply.Body))
	require.Equal(t, []string{"GET", "a=b&c", ""}, []string{seen.Method, seen.URL.RawQuery, sent})
	require.Equal(t, "job", seen.Context().Value(key{}))
	require.Equal(t, http.Header{"Accept": {"application/json"}}, seen.Header)

	reply = client.Post(ctx, "/pot", []byte(`{"a":1}`))
	require.Equal(t, http.StatusTeapot, reply.Status)
	require.Equal(t, "teapot", reply.Header.Get("X-Kind"))
	require.Equal(t, "short and stout", string(reply.Body))
	require.Equal(t, `{"a":1}`, sent)
	require.EqualValues(t, 7, seen.ContentLength)
	require.Equal(t, "application/json", seen.Header.Get("Content-Type"))

	client.Do(ctx, http.MethodDelete, "/pot", []byte("left out"))
	require.Equal(t, []string{"DELETE", ""}, []string{seen.Method, sent})

	require.Equal(t, http.StatusBadRequest, client.Get(ctx, "no path").Status)
}
