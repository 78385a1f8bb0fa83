package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/internal/atomicfile"
)

// Cache records the files that were fetched and keeps their sum below a limit by
// removing those that were not used for the longest time. A file that it did not
// fetch, or that changed since, is never touched. Several processes can share
// the record.
type Cache struct {
	Record string          // path of the JSON file with the record
	Limit  int64           // bytes of fetched files, 0 = no limit
	InUse  func() []string // paths that must stay, such as that of the loaded model; may be nil
	Log    zerolog.Logger  // tells what was removed to make room
}

// Entry is one fetched file.
type Entry struct {
	Path    string    `json:"-"`
	Source  string    `json:"source"`
	Bytes   int64     `json:"size"`
	ModTime int64     `json:"mtime_ns"`
	SHA256  string    `json:"sha256"`
	Fetched time.Time `json:"fetched"`
	Used    time.Time `json:"used"`
}

// Entries returns the fetched files that are still there unchanged, the one
// that was used last first.
func (c *Cache) Entries() ([]Entry, error) {
	all, err := c.read()
	if err != nil {
		return nil, err
	}
	var list []Entry
	for path, e := range all {
		if info, err := os.Stat(path); err == nil && e.is(info) {
			e.Path = path
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Path, b.Path))
	})
	return list, nil
}

func (e Entry) is(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Size() == e.Bytes && info.ModTime().UnixNano() == e.ModTime
}

// Touch notes that a fetched file is in use now. For other files it does
// nothing.
func (c *Cache) Touch(path string) {
	all, err := c.read()
	if _, ours := all[path]; err != nil || !ours {
		return
	}
	_ = c.update(func(all map[string]Entry) { // a lost date only makes a poorer choice later
		if e, ok := all[path]; ok {
			e.Used = time.Now().UTC()
			all[path] = e
		}
	})
}

// digest returns the recorded sha256 of an unchanged file.
func (c *Cache) digest(path string, info fs.FileInfo) string {
	all, err := c.read()
	if e, ok := all[path]; err == nil && ok && e.is(info) {
		return e.SHA256
	}
	return ""
}

func (c *Cache) add(path, source, sum string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	return c.update(func(all map[string]Entry) {
		all[path] = Entry{Source: source, Bytes: info.Size(), ModTime: info.ModTime().UnixNano(), SHA256: sum, Fetched: now, Used: now}
	})
}

// makeRoom keeps the limit with a new file of the given size at dest.
func (c *Cache) makeRoom(dest string, size int64) error {
	if c.Limit <= 0 {
		return nil
	}
	if size > c.Limit {
		return fault.Errorf(fault.Exhausted, "fetch", "the file has %s, more than the cache's limit of %s",
			humanize.IBytes(uint64(size)), humanize.IBytes(uint64(c.Limit)))
	}
	list, err := c.Entries()
	if err != nil {
		return err
	}
	total := size
	for _, e := range list {
		if e.Path != dest {
			total += e.Bytes
		}
	}
	freed, err := c.evict(list, total-c.Limit, dest)
	if err == nil && freed < total-c.Limit {
		err = fault.Errorf(fault.Exhausted, "fetch", "the fetched models in use leave no room for %s below the cache's limit of %s",
			humanize.IBytes(uint64(size)), humanize.IBytes(uint64(c.Limit)))
	}
	return err
}

// free removes fetched files until so many bytes are gained, or none is left.
func (c *Cache) free(ctx context.Context, bytes int64, keep string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := c.Entries()
	if err != nil {
		return err
	}
	_, err = c.evict(list, bytes, keep)
	return err
}

// evict removes the files that were used least recently, from the end of list,
// until bytes are freed.
func (c *Cache) evict(list []Entry, bytes int64, keep string) (freed int64, err error) {
	var inUse []string
	if c.InUse != nil {
		inUse = c.InUse()
	}
	for _, e := range slices.Backward(list) {
		if freed >= bytes {
			break
		}
		if e.Path == keep || slices.Contains(inUse, e.Path) {
			continue
		}
		if err := c.Remove(e.Path); err != nil {
			return freed, err
		}
		freed += e.Bytes
		c.Log.Info().Str("file", e.Path).Int64("bytes", e.Bytes).Time("used", e.Used).Msg("removed to make room for another file")
	}
	return freed, nil
}

// Remove deletes a fetched file. It refuses with code Invalid for a file that
// was not fetched, or changed since.
func (c *Cache) Remove(path string) error {
	all, err := c.read()
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return &fault.Error{Code: fault.NotFound, Op: "fetch", Msg: "there is no file " + path, Err: err}
	}
	if e, ok := all[path]; !ok || !e.is(info) {
		return fault.Errorf(fault.Invalid, "fetch", "%s was not fetched by this program, or changed since; `worker models rm --force` removes it all the same", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return c.update(func(all map[string]Entry) { delete(all, path) })
}

func (c *Cache) read() (map[string]Entry, error) {
	raw, err := os.ReadFile(c.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Entry{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var stored struct{ Files map[string]Entry }
	if json.Unmarshal(raw, &stored) == nil && stored.Files != nil {
		return stored.Files, nil
	}
	return map[string]Entry{}, nil // a broken record protects all files
}

// recordTimeout is how long another process may hold the record.
const recordTimeout = 10 * time.Second

// update changes the record under a lock and replaces it in one step.
func (c *Cache) update(change func(map[string]Entry)) error {
	if err := os.MkdirAll(filepath.Dir(c.Record), 0o755); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	unlock, err := lock(ctx, c.Record+".lock", func() {})
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	defer unlock()
	all, err := c.read()
	if err != nil {
		return err
	}
	change(all)
	raw, err := json.MarshalIndent(map[string]any{"files": all}, "", "  ")
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if err := atomicfile.Write(c.Record, raw); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}
