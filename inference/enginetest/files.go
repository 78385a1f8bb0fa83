package enginetest

import (
	"hash/fnv"
	"os"
	"slices"

	"sdworker/inference"
	"sdworker/internal/fileid"
)

// weights are what a Fake makes of a file: its seed depends on the path and, where
// there is such a file, on what it held when it was read.
type weights struct {
	id    fileid.ID
	seed  uint64 // 0 for no path
	stale bool   // replaced since
}

// adapter is an active LoRA.
type adapter struct {
	inference.LoRA
	seed uint64
}

// state is what the networks read besides their input.
type state struct {
	checkpoint uint64
	vaePath    string
	vae        uint64
	loras      []adapter
	hypers     []inference.Hypernet
}

// read returns the weights of a file as a real engine does: from memory, unless
// Renew found another version of the file. f.mu is held.
func (f *Fake) read(path string) *weights {
	if path == "" {
		return &weights{}
	}
	if w := f.files[path]; w != nil && !w.stale {
		return w
	}
	w := &weights{id: fileid.ID{Path: path}}
	h := fnv.New64a()
	h.Write([]byte(path))
	if id, err := fileid.Stat(path); err == nil {
		if content, err := os.ReadFile(path); err == nil {
			w.id = id
			h.Write(content)
		}
	}
	w.seed = h.Sum64()
	if f.files == nil {
		f.files = map[string]*weights{}
	}
	f.files[path] = w
	return w
}

// isSet tells whether the adapters are active already, in the versions that their
// files have. f.mu is held.
func (f *Fake) isSet(loras []inference.LoRA) bool {
	return slices.EqualFunc(loras, f.active.loras, func(l inference.LoRA, a adapter) bool {
		return l == a.LoRA && !f.files[l.Path].stale
	})
}

// Renew implements inference.FileKeeper.
func (f *Fake) Renew() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.files {
		w.stale = w.stale || w.id.Inode != 0 && w.id.Replaced()
	}
	own := f.files[f.Description.Checkpoint]
	return own == nil || !own.stale
}

// Files implements inference.FileKeeper. Files that do not exist have no version.
func (f *Fake) Files() []fileid.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths := []string{f.Description.Checkpoint, f.active.vaePath}
	for _, l := range f.active.loras {
		paths = append(paths, l.Path)
	}
	var ids []fileid.ID
	for _, path := range paths {
		if path != "" {
			ids = append(ids, f.read(path).id)
		}
	}
	return ids
}
