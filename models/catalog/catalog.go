// Package catalog knows what model files there are: it looks through folders as
// AUTOMATIC1111, ComfyUI and the RunPod volumes lay them out, finds files by
// everything that they are called, and keeps their hashes. What a file holds,
// package models says.
package catalog

import (
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sdworker/formats"
	"sdworker/formats/embedding"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// Config says where models are and what may be listed. Relative paths are those
// of the working directory when the catalog is made.
type Config struct {
	Roots       []string // folders to search, the first ones win
	Files       []string // single checkpoints named by the user, before all others; listed whatever they hold
	AllowPickle bool     // list .ckpt, .pt and .pth too
	HashFile    string   // where hashes are kept between runs; "" keeps them in memory
}

// absolute makes all paths absolute, so that a file has one path however the
// place is written that leads to it.
func (c Config) absolute() Config {
	list := func(paths []string) []string {
		out := make([]string, len(paths))
		for i, path := range paths {
			out[i] = path
			if full, err := filepath.Abs(path); err == nil && path != "" {
				out[i] = full
			}
		}
		return out
	}
	c.Roots, c.Files = list(c.Roots), list(c.Files)
	return c
}

// Catalog knows the model files below the configured places. Most look-ups cost no
// system call; Refresh and RefreshIfChanged look at the disk. All methods are
// safe for concurrent use.
type Catalog struct {
	config Config
	told   bool // see Of
	hashes *hashStore
	hasher hasher

	refresh    sync.Mutex // one scan at a time
	current    atomic.Pointer[snapshot]
	kinds      sync.Map // fileid.ID -> Kind, from headers
	headers    sync.Map // fileid.ID -> map[string]string, metadata of LoRAs
	embeddings sync.Map // fileid.ID -> embedding.Embedding without values
	oldSums    sync.Map // fileid.ID -> string, eight-digit hashes
	verdicts   sync.Map // verdictKey -> verdict
}

// New returns an empty catalog; Refresh fills it.
func New(config Config) *Catalog {
	c := &Catalog{config: config.absolute(), hashes: openHashStore(config.HashFile)}
	c.hasher.init()
	c.current.Store(newSnapshot(nil, nil, time.Time{}))
	return c
}

// Refresh looks at all places anew. The error tells of folders that exist but
// could not be read; everything else is listed all the same.
func (c *Catalog) Refresh() error {
	c.refresh.Lock()
	defer c.refresh.Unlock()
	if c.told {
		return nil
	}
	return c.scan()
}

// RefreshIfChanged looks only at the times of the folders and scans if one of
// them changed, so that it can be called before every job.
func (c *Catalog) RefreshIfChanged() error {
	if !c.changed() {
		return nil
	}
	return c.Refresh()
}

// lookAgain looks a file up, and if it is not there once more after a look at the
// folders: files count from the moment they appear.
func (c *Catalog) lookAgain(lookup func() (File, bool)) (File, bool) {
	if f, ok := lookup(); ok {
		return f, true
	}
	_ = c.RefreshIfChanged() // a folder that cannot be read was reported before
	return lookup()
}

// timeGrain is the coarsest that a file system's times are: two seconds on FAT.
const timeGrain = 2 * time.Second

// changed tells whether a folder may hold other files than the last scan found. A
// folder that was written to shortly before the scan may have been written to
// after it in the same tick of its clock.
func (c *Catalog) changed() bool {
	s := c.current.Load()
	for dir, at := range s.dirs {
		if now := modTime(dir); !now.Equal(at) || s.scanned.Sub(at) < timeGrain && time.Since(s.scanned) > timeGrain {
			return true
		}
	}
	return false
}

// scan replaces the snapshot. The caller holds refresh.
func (c *Catalog) scan() error {
	began := time.Now()
	s := newScan(c.classify)
	for _, file := range c.config.Files {
		s.single(file)
	}
	visited := map[string]bool{} // roots, links resolved
	for _, root := range c.config.Roots {
		s.place++
		if real, err := filepath.EvalSymlinks(root); err == nil {
			if visited[real] {
				continue
			}
			visited[real] = true
		}
		s.root(root)
	}
	c.current.Store(newSnapshot(c.withHashes(s.files), s.dirs, began))
	return s.err
}

// classify reads the header of a file once and remembers what kind it is.
func (c *Catalog) classify(path string, info fs.FileInfo) models.Kind {
	key := fileid.Of(path, info)
	if kind, ok := c.kinds.Load(key); ok {
		return kind.(models.Kind)
	}
	kind := models.Unknown
	switch found, err := models.Inspect(path); {
	case err == nil:
		kind = found.Kind
	case embedding.IsPicture(path) && embedding.InPicture(path):
		kind = models.Embedding
	}
	c.kinds.Store(key, kind)
	return kind
}

// withHashes fills in what is known without reading.
func (c *Catalog) withHashes(files []File) []File {
	for i := range files {
		f := &files[i]
		if f.SHA256 == "" {
			f.SHA256 = c.hashes.get(f.ID()).SHA256
		}
		if f.SHA256 == "" && f.Repo != "" {
			f.SHA256 = hubDigest(f.Path)
		}
	}
	return files
}

// learn records a hash and shows it in the lists.
func (c *Catalog) learn(path string, info fs.FileInfo, set func(*digests)) error {
	err := c.hashes.put(fileid.Of(path, info), set)
	c.refresh.Lock()
	defer c.refresh.Unlock()
	old := c.current.Load()
	c.current.Store(newSnapshot(c.withHashes(append([]File(nil), old.files...)), old.dirs, old.scanned))
	return err
}

// List returns the files of one kind, in A1111's order.
func (c *Catalog) List(kind models.Kind) []File { return c.list(kind) }

func (c *Catalog) list(kinds ...models.Kind) []File {
	var out []File
	for _, f := range c.current.Load().files {
		if slices.Contains(kinds, f.Kind) && c.listed(f) {
			out = append(out, f)
		}
	}
	return out
}

// listed hides PyTorch files unless they are allowed or were named by the user, in
// which case the error says why they are refused. Some kinds exist in no other form.
func (c *Catalog) listed(f File) bool {
	return c.config.AllowPickle || f.place == 0 || f.Kind.AlwaysPickle() || !NeedsPermission(f.Name)
}

// NeedsPermission tells whether a file of a name is PyTorch's, which most lists have
// only where [Config.AllowPickle] is on.
func NeedsPermission(name string) bool { return formats.OfName(name) == formats.Pickle }

// snapshot is what one scan found. It never changes.
type snapshot struct {
	files   []File
	dirs    map[string]time.Time
	scanned time.Time // when the scan began

	checkpointsOnce sync.Once
	checkpoints     checkpointIndex
	lorasOnce       sync.Once
	loras           loraIndex
}

func newSnapshot(files []File, dirs map[string]time.Time, scanned time.Time) *snapshot {
	return &snapshot{files: files, dirs: dirs, scanned: scanned}
}
