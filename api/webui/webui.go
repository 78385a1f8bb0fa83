// Package webui is a page to try the server in a browser: one HTML file, a style
// sheet and a few scripts, embedded, with nothing from elsewhere and no build
// step. It is a client like any other: jobs go through /v1/jobs, lists come from
// the A1111 API, and the defaults of its fields from /openapi.json.
package webui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// Toys are checkpoints that know little. The page says so when one is chosen, and
// offers what it can draw.
type Toys struct {
	Titles  []string `json:"titles"` // as in the API's list
	Prompts []string `json:"prompts"`
	Side    int      `json:"side"` // of a picture, in pixels
	Steps   int      `json:"steps"`
	Sampler string   `json:"sampler"`
}

// Handler answers GET / and the paths below /webui/. The page holds no secret;
// it asks for credentials when the API wants them. toys, which may be nil, is asked
// each time the page is opened.
func Handler(toys func() Toys) http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		pattern := "GET /webui/" + e.Name()
		if e.Name() == "index.html" {
			pattern = "GET /{$}"
		}
		mux.Handle(pattern, file(files, e.Name()))
	}
	mux.HandleFunc("GET /webui/toys.json", func(w http.ResponseWriter, _ *http.Request) {
		var known Toys
		if toys != nil {
			known = toys()
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(known) // a client that went away is not our error
	})
	return mux
}

// kinds are the media types of the files. Those of the mime package depend on the
// machine.
var kinds = map[string]string{".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

// policy lets the page load its own files and call its own server, no more.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// file serves one file, with its hash as a tag so that browsers keep it until
// another version runs.
func file(files fs.FS, name string) http.Handler {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kinds[path.Ext(name)]+"; charset=utf-8")
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	})
}
