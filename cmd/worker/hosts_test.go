package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLocalHosts(t *testing.T) {
	h := localHosts(http.NotFoundHandler(), []string{"pictures.example"})
	for host, allowed := range map[string]bool{
		"localhost": true, "LOCALHOST:7860": true, "app.localhost": true, "127.0.0.1:7860": true, "[::1]:7860": true, "::1": true, "192.168.1.5": true,
		"": true, "localhost.": true, "pictures.example": true, "Pictures.example:443": true,
		"evil.example:7860": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "notlocalhost": false, "pictures.example.evil.example": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/sdapi/v1/progress", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if allowed {
			require.Equal(t, http.StatusNotFound, w.Code, host)
			continue
		}
		require.Equal(t, http.StatusForbidden, w.Code, host)
		require.Contains(t, w.Body.String(), "ALLOWED_HOSTS")
	}
}

func TestWhoCanReachAServer(t *testing.T) {
	for addr, beyond := range map[string]bool{
		"127.0.0.1:7860": false, "localhost:7860": false, "[::1]:0": false, "127.5.0.1:1": false,
		":7860": true, "0.0.0.0:7860": true, "[::]:7860": true, "192.168.1.5:7860": true, "some.name:7860": true,
	} {
		require.Equal(t, beyond, (&serving{Addr: addr}).beyond(), addr)
	}
	require.True(t, (&serving{Addr: "127.0.0.1:7860", Port: 8000}).beyond())
}
