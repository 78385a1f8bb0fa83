package gate_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/gate"
)

func TestHosts(t *testing.T) {
	h := gate.Hosts([]string{"pictures.example"}, refuse)(http.NotFoundHandler())
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
