package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Fetcher stores model files. The bridge has checked the arguments: URLs are http
// or https and paths are inside a model folder. A Fetcher connects to public
// addresses only, since jobs must not reach the worker's own network, and refuses
// files above maxBytes (0: its own limit).
type Fetcher interface {
	// Download stores the file at source as path, whole or not at all.
	Download(ctx context.Context, source, path string, maxBytes int64) error

	// Sync stores the files of a Hugging Face repository that dir lacks and
	// returns their names relative to dir. token may be "".
	Sync(ctx context.Context, repo, token, dir string, maxBytes int64) ([]string, error)
}

// errNoFetcher is the answer of a worker that does not download for jobs.
var errNoFetcher = errors.New("api.endpoint: this worker does not download files for jobs; set RUNPOD_ALLOW_DOWNLOADS=true to allow it, or put models on the network volume")

// download serves v1/download {source_url, download_path}.
func (b *bridge) download(ctx context.Context, payload json.RawMessage) (any, error) {
	if b.Fetcher == nil {
		return nil, errNoFetcher
	}
	var in struct {
		Source string `json:"source_url"`
		Path   string `json:"download_path"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return nil, fmt.Errorf("payload: source_url and download_path must be texts: %w", err)
	}
	u, err := url.Parse(in.Source)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("source_url: %q is not an http or https URL", in.Source)
	}
	path, err := b.inModels("download_path", in.Path)
	if err != nil {
		return nil, err
	}
	if err := b.Fetcher.Download(ctx, in.Source, path, b.MaxDownload); err != nil {
		return nil, fmt.Errorf("source_url: %w", err)
	}
	return map[string]string{"msg": "Download successful", "source_url": in.Source, "download_path": in.Path}, nil
}

// sync serves v1/sync {repo_id, sync_path, hf_token}.
func (b *bridge) sync(ctx context.Context, payload json.RawMessage) (any, error) {
	if b.Fetcher == nil {
		return nil, errNoFetcher
	}
	var in struct {
		Repo  string `json:"repo_id"`
		Token string `json:"hf_token"`
		Path  string `json:"sync_path"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return nil, fmt.Errorf("payload: repo_id, sync_path and hf_token must be texts: %w", err)
	}
	if org, name, ok := strings.Cut(in.Repo, "/"); !ok || org == "" || name == "" || strings.ContainsAny(name, "/?#") {
		return nil, fmt.Errorf("repo_id: %q is not a repository; it should look like organisation/name", in.Repo)
	}
	dir, err := b.inModels("sync_path", in.Path)
	if err != nil {
		return nil, err
	}
	files, err := b.Fetcher.Sync(ctx, in.Repo, in.Token, dir, b.MaxDownload)
	if err != nil {
		return nil, fmt.Errorf("repo_id: %w", err)
	}
	if files == nil {
		files = []string{}
	}
	return map[string]any{"synced_count": len(files), "synced_files": files}, nil
}

// inModels returns path as an absolute path, if it is inside a model folder, also
// after symbolic links are followed.
func (b *bridge) inModels(field, path string) (string, error) {
	if len(b.ModelDirs) == 0 {
		return "", errNoFetcher
	}
	if path == "" {
		return "", fmt.Errorf("%s is missing; it must be a path inside %s", field, strings.Join(b.ModelDirs, " or "))
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(b.ModelDirs[0], path)
	}
	path = filepath.Clean(path)
	for _, dir := range b.ModelDirs {
		root, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		rel, err := filepath.Rel(resolve(root), resolve(path))
		if err == nil && rel != "." && filepath.IsLocal(rel) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %q is not inside a model folder; allowed are %s", field, path, strings.Join(b.ModelDirs, ", "))
}

// resolve follows the symbolic links of the part of path that exists.
func resolve(path string) string {
	rest := ""
	for p := path; ; p = filepath.Dir(p) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		if _, err := os.Lstat(p); err == nil {
			return "" // a dangling link leads nobody knows where
		}
		if p == filepath.Dir(p) {
			return path
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}
