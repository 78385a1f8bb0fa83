package fetch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sdworker/inference"
	"sdworker/models"
)

// PullOptions of Pull.
type PullOptions struct {
	Kind        models.Kind // overrides what the source says; "" keeps it
	Name        string      // overrides the file name; "" keeps it
	SHA256      string      // expected digest; "" takes what the source knows
	AllowPickle bool
	Force       bool
	Progress    func(Progress)
}

// Pull resolves ref, fetches the file into the folder of its kind below root,
// and checks that it is a model of that kind before it gets its name.
func (f *Fetcher) Pull(ctx context.Context, ref, root string, o PullOptions) (Result, error) {
	src, err := f.Resolve(ctx, ref)
	if err != nil {
		return Result{}, err
	}
	return f.PullSource(ctx, src, root, o)
}

// PullSource is Pull for a resolved source.
func (f *Fetcher) PullSource(ctx context.Context, src Source, root string, o PullOptions) (Result, error) {
	if o.Kind != "" {
		src.Kind = o.Kind
	}
	if o.SHA256 != "" {
		src.SHA256 = o.SHA256
	}
	if o.Name != "" {
		name, err := fileName(filepath.Base(o.Name))
		if err != nil {
			return Result{}, err
		}
		src.Name = name
	}
	dest, err := filepath.Abs(filepath.Join(root, models.FolderFor(src.Kind), src.Name))
	if err != nil {
		return Result{}, fmt.Errorf("fetch: %w", err)
	}
	return f.Fetch(ctx, src, dest, Options{
		Progress: o.Progress,
		Force:    o.Force,
		Verify:   func(path string) error { return fits(path, dest, src, o.AllowPickle) },
	})
}

// fits checks a complete download under the name that it will have.
func fits(path, dest string, src Source, pickle bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	info, err := models.InspectReader(file, st.Size())
	if err != nil {
		return &inference.Error{Code: inference.Invalid, Op: "fetch", Msg: fmt.Sprintf("what %s sent was thrown away: %v", redacted(src.URL), err)}
	}
	info.Path = dest
	return info.Fits(src.Kind, models.CheckOptions{AllowPickle: pickle, ExternalVAE: true})
}
