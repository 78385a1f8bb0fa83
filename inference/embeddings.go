package inference

import (
	"maps"
	"regexp"
	"slices"
	"sync"

	"sdworker/formats/embedding"
	"sdworker/inference/clip"
	"sdworker/internal/fileid"
)

// embeddingFiles reads textual inversion files once and notices when they
// change. It is safe for concurrent use.
type embeddingFiles struct {
	mu      sync.Mutex
	files   map[string]embeddingFile // by path
	last    *embeddingSet
	names   map[string]string      // what last was made from
	bundled []*embedding.Embedding // and this
	made    uint64                 // sets so far
}

type embeddingFile struct {
	id     fileid.ID
	loaded *embedding.Embedding // nil when the file cannot be used
	reason string               // why not
}

// embeddingSet is a set of embeddings with a number that no other set has. An
// address would not do, since it may be used again.
type embeddingSet struct {
	set    *clip.Embeddings
	serial uint64
	files  map[string]fileid.ID // by name
	broken map[string]string    // reasons, by the names of files that cannot be used
}

// get returns the set of the files named (name -> path) and of those in LoRAs, where
// no file has the name. Files that cannot be read are left out, as A1111 does.
func (f *embeddingFiles) get(names map[string]string, bundled []*embedding.Embedding) *embeddingSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.last == nil || !maps.Equal(names, f.names) || !slices.Equal(bundled, f.bundled)
	if f.files == nil {
		f.files = map[string]embeddingFile{}
	}
	for _, path := range names {
		id, err := fileid.Stat(path)
		if err != nil {
			if _, known := f.files[path]; known {
				delete(f.files, path)
				changed = true
			}
			continue
		}
		old, known := f.files[path]
		if known && old.id == id {
			continue
		}
		changed = true
		loaded, err := embedding.Read(path)
		reason := ""
		switch {
		case err != nil:
			loaded, reason = nil, err.Error()
		case id.Replaced(): // it changed while it was read; the next job looks again
			loaded, reason = nil, "the file was being written"
		case loaded.Shape != clip.Width:
			reason = "it is for another model family"
		}
		f.files[path] = embeddingFile{id, loaded, reason}
	}
	if !changed {
		return f.last
	}
	list := slices.Clone(bundled)
	ids, broken := map[string]fileid.ID{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		file := f.files[names[name]]
		if file.reason != "" {
			broken[name] = file.reason
		}
		if e := file.loaded; e != nil {
			named := *e // the caller's name counts, whatever the file is called
			named.Name = name
			list = append(list, &named)
			ids[name] = file.id
		}
	}
	f.names, f.bundled = maps.Clone(names), slices.Clone(bundled)
	f.made++
	f.last = &embeddingSet{clip.NewEmbeddings(list...), f.made, ids, broken}
	return f.last
}

// named returns the names of files that cannot be used which stand as words in texts,
// sorted.
func (e *embeddingSet) named(texts ...string) []string {
	var found []string
	for name := range e.broken {
		word, err := regexp.Compile(`(?i)(^|[^\pL\pN_-])` + regexp.QuoteMeta(name) + `($|[^\pL\pN_-])`)
		if err == nil && slices.ContainsFunc(texts, word.MatchString) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}
