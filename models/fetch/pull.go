package fetch

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/models"
	"sdworker/models/catalog"
)

// PullOptions of Pull.
type PullOptions struct {
	Kind        models.Kind // overrides what the source and the file say; "" keeps it
	Name        string      // overrides the file name; "" keeps it
	SHA256      string      // expected digest; "" takes what the source knows
	AllowPickle bool
	Force       bool
	Progress    func(Progress)
}

// Pull resolves ref, fetches the file into the folder of its kind below root,
// and checks that it is a model of that kind before it gets its name. Where the
// source does not tell the kind, the file does. A file that will not be accepted is
// refused as soon as its header has arrived. The config beside a checkpoint,
// NAME.yaml, comes with it where the source has one.
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
	root, err := filepath.Abs(root)
	if err != nil {
		return Result{}, fmt.Errorf("fetch: %w", err)
	}
	p := pull{src: src, root: root, pickle: o.AllowPickle}
	if src.ask && o.Name == "" {
		p.askName(ctx, f)
	}
	opts := Options{Progress: o.Progress, Force: o.Force, Early: p.early, Verify: p.verify}
	if src.Kind == "" {
		opts.Place, opts.Find = p.place, p.dest
	}
	res, err := f.Fetch(ctx, p.src, p.dest(), opts)
	if err == nil && !res.Present && res.Path == p.path(models.Checkpoint) {
		err = f.pullConfig(ctx, src, res.Path, o.Force)
	}
	return res, err
}

// pull is what Pull wants to know about a file.
type pull struct {
	src    Source
	root   string
	pickle bool
}

// askName takes the server's name for the file, unless the file is there already
// under the name of its address.
func (p *pull) askName(ctx context.Context, f *Fetcher) {
	if _, err := os.Stat(p.dest()); err == nil {
		return
	}
	if sent := f.sentName(ctx, p.src); sent != "" {
		if name, err := fileName(sent); err == nil {
			p.src.Name = name
		}
	}
}

// path is where a file of a kind goes.
func (p *pull) path(kind models.Kind) string {
	return filepath.Join(p.root, catalog.FolderFor(kind), p.src.Name)
}

// dest is where the file goes as far as that is known: where it is already, else
// among the checkpoints until its content is known.
func (p *pull) dest() string {
	if p.src.Kind != "" {
		return p.path(p.src.Kind)
	}
	for _, kind := range models.Kinds() {
		if _, err := os.Stat(p.path(kind)); err == nil {
			return p.path(kind)
		}
	}
	return p.path(models.Checkpoint)
}

// early refuses a file by its header, if that lies within the valid bytes. What
// cannot be read yet is left to verify.
func (p *pull) early(r io.ReaderAt, size, valid int64) error {
	info, err := models.InspectReader(r, size)
	if err == nil && info.Format != formats.Pickle && len(info.Tensors) > 0 && info.Tensors[0].Offset <= valid {
		return p.fits(info)
	}
	return nil
}

// verify checks the complete file.
func (p *pull) verify(path string) error {
	info, err := p.inspect(path)
	if err != nil {
		return err
	}
	return p.fits(info)
}

// fits decides about a file under the name that it will have. Without a kind from
// its source it may be any that is known here.
func (p *pull) fits(info *models.Info) error {
	o := models.CheckOptions{AllowPickle: p.pickle}
	if p.src.Kind == "" {
		info.Path = p.path(info.Kind)
		return info.Usable(o)
	}
	info.Path = p.path(p.src.Kind)
	return info.Fits(p.src.Kind, o)
}

// place is where a complete file goes by its content.
func (p *pull) place(path string) (string, error) {
	info, err := p.inspect(path)
	if err != nil {
		return "", err
	}
	return p.path(info.Kind), nil
}

// inspect reads the header of the complete file, which does not have its name yet.
func (p *pull) inspect(path string) (*models.Info, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	info, err := models.InspectReader(file, st.Size())
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "fetch", Msg: fmt.Sprintf("what %s sent was thrown away: %v", redacted(p.src.URL), err)}
	}
	return info, nil
}
