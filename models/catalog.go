package models

import (
	"context"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where models are and what may be listed. Relative paths are those
// of the working directory when the catalog is made.
type Config struct {
	Roots       []string          // folders to search, the first ones win
	Files       []string          // single checkpoints named by the user, before all others; listed whatever they hold
	Folders     map[Kind][]string // further folders of one kind, such as A1111's --lora-dir
	AllowPickle bool              // list .ckpt, .pt and .pth too
	HashFile    string            // where hashes are kept between runs; "" keeps them in memory
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
	folders := make(map[Kind][]string, len(c.Folders))
	for kind, dirs := range c.Folders {
		folders[kind] = list(dirs)
	}
	c.Roots, c.Files, c.Folders = list(c.Roots), list(c.Files), folders
	return c
}

// Catalog knows the model files below the configured places. Most look-ups cost no
// system call; Refresh and RefreshIfChanged look at the disk. All methods are
// safe for concurrent use.
type Catalog struct {
	config Config
	hashes *hashStore
	hasher hasher

	refresh  sync.Mutex // one scan at a time
	current  atomic.Pointer[snapshot]
	kinds    sync.Map // fileKey -> Kind, from headers
	headers  sync.Map // fileKey -> map[string]string, metadata of LoRAs
	oldSums  sync.Map // fileKey -> string, eight-digit hashes
	runnable sync.Map // fileKey -> bool, checkpoints
	lastLook atomic.Int64
}

// fileKey identifies the content of a file as far as that is free to know.
type fileKey struct {
	path  string
	bytes int64
	mtime int64
}

func keyOf(path string, info fs.FileInfo) fileKey {
	return fileKey{path, info.Size(), info.ModTime().UnixNano()}
}

func (f File) key() fileKey { return fileKey{f.Path, f.Bytes, f.ModTime.UnixNano()} }

// NewCatalog returns an empty catalog; Refresh fills it.
func NewCatalog(config Config) *Catalog {
	c := &Catalog{config: config.absolute(), hashes: openHashStore(config.HashFile)}
	c.hasher.init(c)
	c.current.Store(newSnapshot(nil, nil))
	return c
}

// Refresh looks at all places anew. The error tells of folders that exist but
// could not be read; everything else is listed all the same.
func (c *Catalog) Refresh() error {
	c.refresh.Lock()
	defer c.refresh.Unlock()
	return c.scan()
}

// changeInterval is how often RefreshIfChanged looks at the disk at most; on a
// network volume a look costs milliseconds.
const changeInterval = time.Second

// RefreshIfChanged looks only at the times of the folders and scans if one of
// them changed, so that it can be called before every job.
func (c *Catalog) RefreshIfChanged() error {
	now := time.Now().UnixNano()
	last := c.lastLook.Load()
	if now-last < int64(changeInterval) || !c.lastLook.CompareAndSwap(last, now) {
		return nil
	}
	if !c.changed() {
		return nil
	}
	return c.Refresh()
}

func (c *Catalog) changed() bool {
	for dir, at := range c.current.Load().dirs {
		if !modTime(dir).Equal(at) {
			return true
		}
	}
	return false
}

// Watch refreshes the catalog whenever a folder changed, looking every interval,
// until ctx ends. report gets the errors of Refresh.
func (c *Catalog) Watch(ctx context.Context, interval time.Duration, report func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !c.changed() {
				continue
			}
			if err := c.Refresh(); err != nil {
				report(err)
			}
		}
	}
}

// scan replaces the snapshot. The caller holds refresh.
func (c *Catalog) scan() error {
	s := newScan(c.classify)
	for _, file := range c.config.Files {
		s.single(file)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.config.Folders)) {
		for _, dir := range c.config.Folders[kind] {
			s.place++
			s.folder(dir, kind)
		}
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
	c.current.Store(newSnapshot(c.withHashes(s.files), s.dirs))
	return s.err
}

// classify reads the header of a file once and remembers what kind it is.
func (c *Catalog) classify(path string, info fs.FileInfo) Kind {
	key := keyOf(path, info)
	if kind, ok := c.kinds.Load(key); ok {
		return kind.(Kind)
	}
	kind := Unknown
	switch found, err := Inspect(path); {
	case err == nil:
		kind = found.Kind
	case isPictureName(path) && carriesEmbedding(path):
		kind = Embedding
	}
	c.kinds.Store(key, kind)
	return kind
}

// withHashes fills in what is known without reading.
func (c *Catalog) withHashes(files []File) []File {
	for i := range files {
		f := &files[i]
		if f.SHA256 == "" {
			f.SHA256 = c.hashes.get(f.Path, f.Bytes, f.ModTime).SHA256
		}
		if f.SHA256 == "" && f.Repo != "" {
			f.SHA256 = hubDigest(f.Path)
		}
	}
	return files
}

// learn records a hash and shows it in the lists.
func (c *Catalog) learn(path string, info fs.FileInfo, set func(*digests)) error {
	err := c.hashes.put(path, info, set)
	c.refresh.Lock()
	defer c.refresh.Unlock()
	old := c.current.Load()
	c.current.Store(newSnapshot(c.withHashes(append([]File(nil), old.files...)), old.dirs))
	return err
}

// List returns the files of one kind, in A1111's order.
func (c *Catalog) List(kind Kind) []File {
	var out []File
	for _, f := range c.current.Load().files {
		if f.Kind == kind && c.listed(f) {
			out = append(out, f)
		}
	}
	return out
}

// listed hides pickles from those who do not allow them, unless they name one:
// then it is refused with a reason.
func (c *Catalog) listed(f File) bool {
	return c.config.AllowPickle || f.place == 0 || !isPickleName(f.Name)
}

// snapshot is what one scan found. It never changes.
type snapshot struct {
	files []File
	dirs  map[string]time.Time

	checkpointsOnce sync.Once
	checkpoints     checkpointIndex
	lorasOnce       sync.Once
	loras           loraIndex
}

func newSnapshot(files []File, dirs map[string]time.Time) *snapshot {
	return &snapshot{files: files, dirs: dirs}
}
