package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/singleflight"

	"sdworker/internal/fileid"
)

// hasher computes sha256 sums one file after the other, behind the scenes.
type hasher struct {
	wake    chan struct{}
	running singleflight.Group
	life    context.Context //nolint:containedctx // ends with the catalog
	end     context.CancelFunc
	work    sync.WaitGroup // what runs

	mu      sync.Mutex
	waiting []string
}

func (h *hasher) init() {
	h.wake = make(chan struct{}, 1)
	h.life, h.end = context.WithCancel(context.Background())
}

// Close ends the hashing of files that goes on, so that nothing is read or written
// afterwards. Sums that are not known then cannot be had any more.
func (c *Catalog) Close() {
	c.hasher.mu.Lock()
	c.hasher.end()
	c.hasher.mu.Unlock()
	c.hasher.work.Wait()
}

// begin notes a piece of work. It fails when the catalog is closed.
func (h *hasher) begin() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.life.Err(); err != nil {
		return err
	}
	h.work.Add(1)
	return nil
}

// QueueHash asks for the sha256 of files whose hash is unknown; RunHasher
// computes them in this order, after those asked for before.
func (c *Catalog) QueueHash(files ...File) {
	h := &c.hasher
	h.mu.Lock()
	for _, f := range files {
		if f.SHA256 == "" && !slices.Contains(h.waiting, f.Path) {
			h.waiting = append(h.waiting, f.Path)
		}
	}
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// RunHasher works through the queue until ctx ends: one file at a time, one
// reader, big blocks, so that it takes what the disk gives and one CPU. ready is
// asked before every file and may wait, for instance until the first picture is
// done; nil means at once. report gets every result.
func (c *Catalog) RunHasher(ctx context.Context, ready func(context.Context) error, report func(path, sum string, err error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.hasher.wake:
		}
		for path := range c.hasher.queued {
			if ready != nil && ready(ctx) != nil || ctx.Err() != nil {
				return
			}
			sum, err := c.SHA256(ctx, path)
			if ctx.Err() != nil {
				return
			}
			report(path, sum, err)
		}
	}
}

// queued yields the paths that wait, also those that come in meanwhile.
func (h *hasher) queued(yield func(string) bool) {
	for {
		h.mu.Lock()
		if len(h.waiting) == 0 {
			h.mu.Unlock()
			return
		}
		path := h.waiting[0]
		h.waiting = h.waiting[1:]
		h.mu.Unlock()
		if !yield(path) {
			return
		}
	}
}

// SHA256 returns the hash of a file, computing it if it is not known. An error beside a
// hash says that it cannot be kept beyond the end of the program.
func (c *Catalog) SHA256(ctx context.Context, path string) (string, error) {
	if f, ok := c.fileAt(path); ok && f.SHA256 != "" {
		return f.SHA256, nil
	}
	return c.remember(ctx, path, sumOfFile)
}

// VersionSHA256 returns the hash of one version of a file, which fails when that
// is not known and no longer there.
func (c *Catalog) VersionSHA256(ctx context.Context, id fileid.ID) (string, error) {
	return c.versionSum(ctx, id, sumOfFile)
}

func (c *Catalog) versionSum(ctx context.Context, id fileid.ID, kind sumKind) (string, error) {
	known := func() string {
		d := c.hashes.get(id)
		return *kind.field(&d)
	}
	if sum := known(); sum != "" {
		return sum, nil
	}
	if now, err := fileid.Stat(id.Path); err != nil || now != id {
		return "", hashError(id.Path, errReplaced)
	}
	if kind.name == sumOfFile.name {
		if f, ok := c.fileAt(id.Path); ok && f.SHA256 != "" && f.ID() == id { // of a cache that names files by their hash
			return f.SHA256, nil
		}
	}
	if sum, err := c.remember(ctx, id.Path, kind); sum == "" {
		return "", err
	}
	if sum := known(); sum != "" {
		return sum, nil
	}
	return "", hashError(id.Path, errReplaced)
}

var errReplaced = errors.New("the file was replaced")

// sumKind is one of the sha256 sums of a file.
type sumKind struct {
	name  string
	start func(*os.File) (int64, error) // offset of the first byte that counts
	field func(*digests) *string
}

var (
	sumOfFile   = sumKind{"file", wholeFile, func(d *digests) *string { return &d.SHA256 }}
	sumOfValues = sumKind{"values", afterHeader, func(d *digests) *string { return &d.AddNet }}
)

// remember hashes a file and records the sum. Calls for one file at a time share
// one reading of it, which goes on when the callers leave: the next one will ask.
func (c *Catalog) remember(ctx context.Context, path string, kind sumKind) (string, error) {
	h := &c.hasher
	hash := h.running.DoChan(kind.name+" "+path, func() (any, error) {
		if err := h.begin(); err != nil {
			return "", hashError(path, err)
		}
		defer h.work.Done()
		if info, err := os.Stat(path); err == nil { // another call may just have ended
			known := c.hashes.get(fileid.Of(path, info))
			if sum := *kind.field(&known); sum != "" {
				return sum, nil
			}
		}
		sum, info, err := digest(h.life, path, kind.start)
		if err != nil {
			return "", hashError(path, err)
		}
		if err := c.learn(path, info, func(d *digests) { *kind.field(d) = sum }); err != nil {
			return sum, hashError(c.config.HashFile, err)
		}
		return sum, nil
	})
	select {
	case r := <-hash:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", hashError(path, context.Cause(ctx))
	}
}

func hashError(path string, err error) error {
	return fmt.Errorf("models: hash of %s: %w", path, err)
}

// LearnSHA256 records the hash of a file that somebody else computed, such as
// the one that wrote or fetched it, so that it is not read again.
func (c *Catalog) LearnSHA256(path, sum string) error {
	if !IsSHA256(sum) {
		return fmt.Errorf("models: %q is no sha256", sum)
	}
	info, err := os.Stat(path)
	if err != nil {
		return hashError(path, err)
	}
	return c.learn(path, info, func(d *digests) { d.SHA256 = sum })
}
