package fetch_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/models"
	"sdworker/models/fetch"
	"sdworker/models/modelstest"
)

const vConfig = "model:\n  params:\n    parameterization: v\n"

// A checkpoint comes with the config that its source has beside it, and is then read
// by it.
func TestPullOfACheckpointTakesItsConfig(t *testing.T) {
	var path string
	for _, c := range modelstest.Cases(t) {
		if c.Name == "checkpoint as published" {
			path = c.Write(t, t.TempDir())
		}
	}
	require.NotEmpty(t, path)
	s := serve(t, nil)
	s.answer(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/org/repo/resolve/main/of the year/v 1.5.safetensors":
			http.ServeFile(w, r, path)
		case "/org/repo/resolve/main/of the year/v 1.5.yaml":
			require.Equal(t, "Bearer secret", r.Header.Get("Authorization"))
			_, _ = w.Write([]byte(vConfig))
		default:
			http.NotFound(w, r)
		}
		return true
	})
	root := t.TempDir()
	f := fetcher(t, func(c *fetch.Config) {
		c.Getenv = func(key string) string { return map[string]string{"HF_ENDPOINT": s.URL, "HF_TOKEN": "secret"}[key] }
	})
	res, err := f.Pull(t.Context(), "org/repo/of the year/v 1.5.safetensors", root, fetch.PullOptions{Name: "mine.safetensors"})
	require.NoError(t, err)
	only(t, filepath.Join(root, "Stable-diffusion"), "mine.safetensors", "mine.yaml")
	info, err := models.Check(res.Path, models.Checkpoint, models.CheckOptions{})
	require.NoError(t, err)
	require.True(t, info.VPrediction)

	before := s.count()
	res, err = f.Pull(t.Context(), "org/repo/of the year/v 1.5.safetensors", root, fetch.PullOptions{Name: "mine.safetensors"})
	require.NoError(t, err)
	require.True(t, res.Present)
	require.Equal(t, before, s.count())
}

// Most checkpoints have no config, and servers say so in many ways.
func TestConfigBesideACheckpoint(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		address string
		there   string // what lies beside the checkpoint already
		force   bool
		answer  http.HandlerFunc
		want    string
		asked   bool
	}{
		"there is one":            {"/m.safetensors", "", false, answer(200, vConfig), vConfig, true},
		"behind a query":          {"/a%2Fb/m.ckpt?sig=1", "", false, answer(200, vConfig), vConfig, true},
		"none":                    {"/m.safetensors", "", false, answer(404, "none"), "", true},
		"forbidden":               {"/m.safetensors", "", false, answer(403, ""), "", true},
		"a page for everything":   {"/m.safetensors", "", false, answer(200, "<!doctype html>"), "", true},
		"some other list":         {"/m.safetensors", "", false, answer(200, "- a\n- b\n"), "", true},
		"an empty file":           {"/m.safetensors", "", false, answer(200, ""), "", true},
		"too large":               {"/m.safetensors", "", false, answer(200, vConfig+"#"+strings.Repeat(".", 1<<20)), "", true},
		"a server that fails":     {"/m.safetensors", "", false, answer(500, ""), "", true},
		"the user's own":          {"/m.safetensors", "mine", false, answer(200, vConfig), "mine", false},
		"the user's own, forced":  {"/m.safetensors", "mine", true, answer(200, vConfig), vConfig, true},
		"forced, but none":        {"/m.safetensors", "mine", true, answer(404, ""), "mine", true},
		"an address without name": {"/download?id=3", "", false, answer(200, vConfig), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil)
			asked := ""
			s.answer(func(_ int, w http.ResponseWriter, r *http.Request) bool {
				asked = r.URL.String()
				c.answer(w, r)
				return true
			})
			dir := t.TempDir()
			config := filepath.Join(dir, "mine.yaml")
			if c.there != "" {
				require.NoError(t, os.WriteFile(config, []byte(c.there), 0o600))
			}
			f := fetcher(t, nil)
			require.NoError(t, f.PullConfig(t.Context(), fetch.Source{URL: s.URL + c.address}, filepath.Join(dir, "mine.safetensors"), c.force))
			got, _ := os.ReadFile(config)
			require.Equal(t, c.want, string(got))
			if c.asked {
				want := strings.NewReplacer(".safetensors", ".yaml", ".ckpt", ".yaml").Replace(c.address)
				require.Equal(t, want, asked)
			} else {
				require.Empty(t, asked)
			}
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.LessOrEqual(t, len(entries), 1)
		})
	}
}
