// Package webui is a page to try the server in a browser: one HTML file, a style
// sheet and a few scripts, embedded, with nothing from elsewhere and no build
// step. It is a client like any other: jobs go through /v1/jobs, lists come from
// the A1111 API, and the defaults of its fields from /openapi.json. Below /webui/ is
// what it needs beside them.
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

// Files are the model files with what the lists of the A1111 API leave out.
type Files struct {
	Checkpoints []File `json:"checkpoints"`
	VAEs        []File `json:"vaes"`
	LoRAs       []File `json:"loras"`
	Embeddings  []File `json:"embeddings"`
}

// File is one of them.
type File struct {
	Name     string   `json:"name"`  // as prompts and options name it
	Bytes    int64    `json:"bytes"` // size of the file
	Kind     string   `json:"kind"`  // in words, such as "inpainting, f16"
	Triggers []string `json:"triggers,omitempty"`
}

// Choices are what requests may name beyond the lists of the A1111 API.
type Choices struct {
	Samplers   []string `json:"samplers"` // all of them
	Schedulers []string `json:"schedulers"`
	Options    []Option `json:"options"` // that change pictures and have no field of their own
}

// Option is one for override_settings.
type Option struct {
	Name    string   `json:"name"`
	Value   any      `json:"value"` // now
	Choices []string `json:"choices,omitempty"`
}

// Prompt is a text whose tokens are to be counted.
type Prompt struct {
	Text     string   `json:"text"`
	Styles   []string `json:"styles"`
	Negative bool     `json:"negative"`
	Steps    int      `json:"steps"` // prompts may change from step to step
}

// Tokens are how many a prompt takes, and for how many there is room before another
// pass of the text encoder is needed.
type Tokens struct {
	Count int `json:"count"`
	Limit int `json:"limit"` // 75, 150 and so on
}

// Parameters are what the text in a picture's file says of a request.
type Parameters struct {
	Fields    map[string]any   `json:"fields"`    // of the API
	Overrides map[string]any   `json:"overrides"` // options with another value than now
	ModelHash string           `json:"model_hash"`
	Model     string           `json:"model"`
	Control   []map[string]any `json:"control"` // units of ControlNet
	Details   []map[string]any `json:"details"` // units of ADetailer
	Script    map[string]any   `json:"script"`  // arguments of the selected script by their labels

	Extensions map[string][]any `json:"extensions"`  // arguments of the other always-on scripts by their names
	Masked     []string         `json:"masked"`      // names of those whose masks the file does not hold
	ScriptName string           `json:"script_name"` // "" for none
}

// Config is what Data asks of the program.
type Config struct {
	Files       func() Files
	Choices     func() Choices
	CountTokens func(Prompt) Tokens
	// Parameters fails for a text whose values are not of their fields' types.
	Parameters func(text string) (Parameters, error)
}

// Page answers GET / and the paths below /webui/. Its files hold no secret; the page
// asks for credentials when the API, or what Data answers, wants them.
func Page(toys func() Toys) http.Handler {
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
	mux.HandleFunc("GET /webui/toys.json", func(w http.ResponseWriter, _ *http.Request) { answer(w, toys()) })
	return mux
}

// Paths of what the page asks beside the A1111 API.
const (
	FilesPath      = "/webui/files.json"
	ChoicesPath    = "/webui/choices.json"
	TokensPath     = "/webui/tokens"
	ParametersPath = "/webui/parameters"
)

// Data answers GET FilesPath and ChoicesPath, POST TokensPath with a Prompt and POST ParametersPath
// with {"text": "..."}, which are for those who may call the API.
func Data(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+FilesPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, cfg.Files()) })
	mux.HandleFunc("GET "+ChoicesPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, cfg.Choices()) })
	mux.HandleFunc("POST "+TokensPath, func(w http.ResponseWriter, r *http.Request) {
		var prompt Prompt
		if read(w, r, &prompt) {
			answer(w, cfg.CountTokens(prompt))
		}
	})
	mux.HandleFunc("POST "+ParametersPath, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Text string `json:"text"`
		}
		if !read(w, r, &body) {
			return
		}
		found, err := cfg.Parameters(body.Text)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, found)
	})
	return mux
}

// maxText is the largest body that is read: prompts are short.
const maxText = 1 << 20

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxText)).Decode(into); err != nil {
		refuse(w, err)
		return false
	}
	return true
}

func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(map[string]string{"detail": err.Error()})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // a client that went away is not our error
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
