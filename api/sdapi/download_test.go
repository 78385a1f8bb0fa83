package sdapi_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi"
)

func TestDownload(t *testing.T) {
	picture, err := base64.StdEncoding.DecodeString(encoded(t, 8, 8))
	require.NoError(t, err)
	agent := ""
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent = r.UserAgent()
		if r.URL.Path == "/picture" {
			_, _ = w.Write(picture)
		}
	}))
	defer web.Close()
	ask := func(f *fixture, address string) reply {
		return f.post("/sdapi/v1/img2img", small(map[string]any{"init_images": []string{address}}))
	}

	// Only the file of options can allow local addresses, not a client.
	file := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"api_forbid_local_requests": false, "api_useragent": "painter"}`), 0o600))
	allowed := func(c *sdapi.Config) { c.ImageURLs, c.OptionsFile = true, file }
	f := start(t, allowed)
	require.Equal(t, 200, ask(f, web.URL+"/picture").status)
	require.Equal(t, "painter", agent)
	for _, address := range []string{web.URL + "/empty", "http://127.0.0.1:1/", "http://%zz/"} {
		got := ask(f, address)
		require.Equal(t, 500, got.status)
		require.Contains(t, string(got.body), `"detail":"Invalid image url"`)
	}

	// A name that leads to this machine is found out when it is dialled.
	f = start(t, func(c *sdapi.Config) { c.ImageURLs = true })
	for _, address := range []string{web.URL, strings.Replace(web.URL, "127.0.0.1", "localhost", 1), "http://[::1]/", "http://169.254.1.1/"} {
		got := ask(f, address+"/picture")
		require.Equal(t, 500, got.status)
		require.Contains(t, string(got.body), `"detail":"Request to local resource not allowed"`, address)
	}
}
