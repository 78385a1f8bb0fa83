package catalog

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"sdworker/internal/atomicfile"
	"sdworker/internal/fileid"
)

// digests are the hashes of one file, valid as long as size and time stay.
type digests struct {
	Bytes   int64  `json:"size"`
	ModTime int64  `json:"mtime_ns"` // nanoseconds since 1970
	Inode   uint64 `json:"-"`        // 0 for hashes of an earlier run: where images are layered it is another in each
	SHA256  string `json:"sha256,omitempty"`
	AddNet  string `json:"addnet,omitempty"` // sha256 of what follows the safetensors header
}

// hashStore remembers hashes by path, in memory and in a JSON file, as A1111's
// cache.json does.
type hashStore struct {
	path string // "" keeps them in memory only

	mu      sync.Mutex
	entries map[string]digests
}

// openHashStore loads what is there. An unreadable store is an empty one: every
// hash can be computed again.
func openHashStore(path string) *hashStore {
	s := &hashStore{path: path, entries: map[string]digests{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merge()
	return s
}

// merge adds what the file holds and memory does not. The caller holds mu.
func (s *hashStore) merge() {
	if s.path == "" {
		return
	}
	raw, err := os.ReadFile(s.path)
	if err != nil {
		return
	}
	var stored struct {
		Hashes map[string]digests `json:"hashes"`
	}
	if json.Unmarshal(raw, &stored) != nil {
		return
	}
	for path, d := range stored.Hashes {
		if _, ok := s.entries[path]; !ok {
			s.entries[path] = d
		}
	}
}

// get returns the hashes of a version of a file, as far as they are known.
func (s *hashStore) get(id fileid.ID) digests {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(id)
}

// of is get for those who hold mu.
func (s *hashStore) of(id fileid.ID) digests {
	d := s.entries[id.Path]
	if d.Bytes != id.Size || d.ModTime != id.ModTime || d.Inode != 0 && d.Inode != id.Inode {
		return digests{Bytes: id.Size, ModTime: id.ModTime, Inode: id.Inode}
	}
	return d
}

// put records a hash and saves the store. The error is about the file; memory
// is up to date in any case.
func (s *hashStore) put(id fileid.ID, set func(*digests)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.of(id)
	set(&d)
	s.entries[id.Path] = d
	return s.save()
}

// save writes the store, keeping what other processes
// added. The caller holds mu.
func (s *hashStore) save() error {
	if s.path == "" {
		return nil
	}
	s.merge()
	raw, err := json.MarshalIndent(map[string]any{"hashes": s.entries}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(s.path, raw)
}
