package fetch

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/models"
)

// Source is one file on the network.
type Source struct {
	URL    string
	Name   string      // file name to store it under
	Kind   models.Kind // what it is said to be, "" when only the file tells
	SHA256 string      // expected digest in lower-case hex, "" when unknown
	Bytes  int64       // expected size, 0 when unknown
	Public bool        // came with a request: only public addresses, no proxy

	token string // sent as a bearer token to the host of URL, and to no other
	ask   bool   // the server may know a better name than the address
}

// Default is the model that is fetched when nobody chose one.
const Default = "deliberate-v6"

// Names lists the short names that Resolve knows.
func Names() []string { return models.ShortNames() }

// Environment variables that Resolve reads.
const (
	envHFEndpoint      = "HF_ENDPOINT"
	envHFToken         = "HF_TOKEN"
	envHFTokenOld      = "HUGGING_FACE_HUB_TOKEN"
	envHFOffline       = "HF_HUB_OFFLINE"
	envCivitaiEndpoint = "CIVITAI_ENDPOINT"
	envCivitaiToken    = "CIVITAI_TOKEN"
)

const (
	hfEndpoint      = "https://huggingface.co"
	hfShort         = "https://hf.co"
	civitaiEndpoint = "https://civitai.com"
)

var (
	hfRef      = regexp.MustCompile(`^([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?/(.+)$`)
	hfPage     = regexp.MustCompile(`^/([\w.-]+/[\w.-]+)/(?:blob|resolve)/([^/]+)/(.+)$`)
	civitaiRef = regexp.MustCompile(`^civitai:(?:.*@)?(\d+)$`)
)

// Resolve turns what an operator writes into a source: a short name (Names), a
// Hugging Face file org/repo[@revision]/file, a Civitai model version civitai:ID
// or the address of its page, or any http or https URL. Civitai is asked for the
// file behind a version.
func (f *Fetcher) Resolve(ctx context.Context, ref string) (Source, error) {
	ref = strings.TrimSpace(ref)
	if n, ok := models.FindNamed(ref); ok {
		src, err := f.hubFile(n.Repo, "main", n.File)
		src.Kind, src.SHA256, src.Name = n.Kind, n.SHA256, n.FileName()
		return src, err
	}
	if m := civitaiRef.FindStringSubmatch(ref); m != nil {
		return f.civitai(ctx, m[1])
	}
	if strings.Contains(ref, "://") {
		return f.resolveURL(ctx, ref)
	}
	return f.huggingFace(strings.TrimPrefix(ref, "hf:"))
}

// FromRequest turns a URL that came with a request into a source, if the
// configuration allows such URLs at all.
func (f *Fetcher) FromRequest(ref string) (Source, error) {
	if !f.config.AllowRequestURLs {
		return Source{}, errRequestURLs()
	}
	u, err := parseURL(ref)
	if err != nil {
		return Source{}, err
	}
	name, err := fileName(path.Base(u.Path))
	return Source{URL: u.String(), Name: name, Public: true}, err
}

func (f *Fetcher) huggingFace(ref string) (Source, error) {
	m := hfRef.FindStringSubmatch(ref)
	if m == nil {
		return Source{}, fault.Errorf(fault.Invalid, "fetch",
			"%q is no model to fetch; write one of %s, org/repo/file of Hugging Face, civitai:VERSION, or a URL", ref, strings.Join(Names(), ", "))
	}
	repo, revision, file := m[1], m[2], m[3]
	if revision == "" {
		revision = "main"
	}
	return f.hubFile(repo, revision, file)
}

func (f *Fetcher) hubFile(repo, revision, file string) (Source, error) {
	if v := f.env(envHFOffline); v != "" && v != "0" && !strings.EqualFold(v, "false") {
		return Source{}, fault.Errorf(fault.Invalid, "fetch", "%s is set, so nothing is fetched from Hugging Face", envHFOffline)
	}
	name, err := fileName(path.Base(file))
	if err != nil {
		return Source{}, err
	}
	token := f.env(envHFToken)
	if token == "" {
		token = f.env(envHFTokenOld)
	}
	u := fmt.Sprintf("%s/%s/resolve/%s/%s", f.endpoint(envHFEndpoint, hfEndpoint), repo, url.PathEscape(revision), escapePath(file))
	return Source{URL: u, Name: name, token: token}, nil
}

// resolveURL recognises the pages people copy from their browser.
func (f *Fetcher) resolveURL(ctx context.Context, ref string) (Source, error) {
	u, err := parseURL(ref)
	if err != nil {
		return Source{}, err
	}
	switch {
	case sameHost(u, f.endpoint(envHFEndpoint, hfEndpoint)), sameHost(u, hfEndpoint), sameHost(u, hfShort): // a mirror stands for all
		if m := hfPage.FindStringSubmatch(u.Path); m != nil {
			return f.hubFile(m[1], m[2], m[3])
		}
	case sameHost(u, f.endpoint(envCivitaiEndpoint, civitaiEndpoint)):
		if id := u.Query().Get("modelVersionId"); id != "" {
			return f.civitai(ctx, id)
		}
		if id, ok := strings.CutPrefix(u.Path, "/api/download/models/"); ok {
			return f.civitai(ctx, id)
		}
		return Source{}, fault.Errorf(fault.Invalid, "fetch", "this Civitai address does not name a version; copy it with ?modelVersionId=... or write civitai:VERSION")
	}
	name, err := fileName(path.Base(u.Path))
	return Source{URL: u.String(), Name: name, ask: true}, err
}

func parseURL(ref string) (*url.URL, error) {
	u, err := url.Parse(ref)
	switch {
	case err == nil && u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return nil, fault.Errorf(fault.Invalid, "fetch", "URLs of the scheme %q are not fetched, only http and https", u.Scheme)
	case err != nil || u.Scheme == "" || u.Host == "":
		return nil, fault.Errorf(fault.Invalid, "fetch", "%q is not a URL", ref)
	}
	return u, nil
}

func sameHost(u *url.URL, endpoint string) bool {
	e, err := url.Parse(endpoint)
	return err == nil && strings.EqualFold(u.Host, e.Host)
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// fileName makes a name from the network fit for a model folder: no path, no
// hidden file, no surprises in a terminal, and an extension that is listed.
func fileName(name string) (string, error) {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	name = strings.TrimLeft(name, ".")
	if len(name) > maxNameBytes {
		return "", fault.Errorf(fault.Invalid, "fetch", "the file name %.40q... is too long", name)
	}
	if formats.OfName(name) != "" {
		return name, nil
	}
	if name == "" || name == "_" {
		name = "model"
	}
	return name + ".safetensors", nil
}

// maxNameBytes leaves room for the suffixes of the unfinished file.
const maxNameBytes = 200

func (f *Fetcher) env(key string) string {
	if f.config.Getenv == nil {
		return ""
	}
	return f.config.Getenv(key)
}

func (f *Fetcher) endpoint(key, standard string) string {
	if v := f.env(key); v != "" {
		return strings.TrimRight(v, "/")
	}
	return standard
}

// label names the source in a message.
func (s Source) label() string {
	if s.Name == "" {
		return redacted(s.URL)
	}
	return s.Name
}
