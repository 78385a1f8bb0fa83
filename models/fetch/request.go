package fetch

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/models"
)

// Download stores the file at a URL that came with a request under the path
// dest; see FromRequest. maxBytes 0 means 5 GiB.
func (f *Fetcher) Download(ctx context.Context, url, dest string, maxBytes int64) error {
	src, err := f.FromRequest(url)
	if err != nil {
		return err
	}
	_, err = f.Fetch(ctx, src, dest, Options{MaxBytes: maxBytes, Force: true, Verify: isModel})
	return err
}

// isModel refuses what is no model file, such as the page of a login.
func isModel(path string) error {
	_, err := models.Inspect(path)
	return err
}

// Sync stores the model files of a Hugging Face repository that lie inside one of
// its folders and are missing below dir, and returns their paths relative to dir.
// The token is the request's; those of the configuration are not used. maxBytes
// bounds each file, 0 means 5 GiB.
func (f *Fetcher) Sync(ctx context.Context, repo, token, dir string, maxBytes int64) ([]string, error) {
	if !f.config.AllowRequestURLs {
		return nil, errRequestURLs()
	}
	if maxBytes == 0 {
		maxBytes = publicLimit
	}
	endpoint := f.endpoint(envHFEndpoint, hfEndpoint)
	public := endpoint == hfEndpoint // a mirror that the operator chose may be private
	list := Source{URL: endpoint + "/api/models/" + escapePath(repo), Name: repo, Public: public, token: token}
	var reply struct {
		Siblings []struct {
			Name string `json:"rfilename"`
		}
	}
	if err := f.getJSON(ctx, list, &reply); err != nil {
		return nil, err
	}
	var done []string
	for _, file := range reply.Siblings {
		if !syncs(file.Name) {
			continue
		}
		dest := filepath.Join(dir, filepath.FromSlash(file.Name))
		if _, err := os.Stat(dest); err == nil {
			continue
		}
		src, err := f.hubFile(repo, "main", file.Name)
		if err != nil {
			return done, err
		}
		src.token, src.Public = token, public
		if _, err := f.Fetch(ctx, src, dest, Options{MaxBytes: maxBytes, Verify: isModel}); err != nil {
			return done, fmt.Errorf("%s: %w", file.Name, err)
		}
		done = append(done, file.Name)
	}
	return done, nil
}

// syncs reports whether Sync takes a file of a repository: a model file inside a
// folder, whose path leads nowhere else.
func syncs(name string) bool {
	if !strings.Contains(name, "/") || name != path.Clean(name) || path.IsAbs(name) || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\x00") {
		return false
	}
	return formats.OfName(name) != ""
}

func errRequestURLs() error {
	return fault.Errorf(fault.Invalid, "fetch", "downloads named in a request are not allowed on this server")
}
