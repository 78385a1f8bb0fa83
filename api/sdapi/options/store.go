package options

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"

	"sdworker/api/sdapi/pyjson"
	"sdworker/internal/atomicfile"
)

// Store keeps the options of a server. It is safe for concurrent use.
type Store struct {
	path string // of config.json; "" keeps nothing

	mu    sync.Mutex
	set   map[string]any
	other *pyjson.Object // keys of the file that are not ours, such as those of extensions
}

// Open reads the options from config.json. A file that does not exist holds the
// defaults; values of a wrong type in it are listed in skipped and have their
// default. An empty path gives a store that forgets at the end of the process.
func Open(path string) (s *Store, skipped []string, err error) {
	s = &Store{path: path, set: make(map[string]any), other: pyjson.NewObject()}
	if path == "" {
		return s, nil, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("options: %w", err)
	}
	v, err := pyjson.Decode(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("options: %s: %w; mend the file or move it away", path, err)
	}
	object, ok := v.(*pyjson.Object)
	if !ok {
		return nil, nil, fmt.Errorf("options: %s holds no JSON object; move the file away", path)
	}
	for key, value := range object.All() {
		f, known := fields[key]
		if !known {
			s.other.Set(key, value)
			continue
		}
		value, errs := f.Coerce(value)
		if len(errs) > 0 || !readable(f.Default, value) {
			skipped = append(skipped, key)
			continue
		}
		s.set[key] = value
	}
	return s, skipped, nil
}

// Values are the options as they are now.
func (s *Store) Values() Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Values{set: maps.Clone(s.set), err: new(error)}
}

// With are the options as they would be after [Store.Save].
func (s *Store) With(sent *pyjson.Object) (Values, error) {
	set, err := acceptForAll(sent)
	if err != nil {
		return Values{}, err
	}
	v := s.Values()
	maps.Copy(v.set, set)
	return v, nil
}

// Keep sets options without writing the file.
func (s *Store) Keep(sent *pyjson.Object) error {
	set, err := acceptForAll(sent)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.set, set)
	return nil
}

// Save sets options and writes the file. When one cannot be set, or the file cannot
// be written, none is.
func (s *Store) Save(sent *pyjson.Object) error {
	set, err := acceptForAll(sent)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.set)
	maps.Copy(next, set)
	if err := s.write(next); err != nil {
		return err
	}
	s.set = next
	return nil
}

// write replaces the file in one step, so that a crash leaves the old or the
// new one. The store's lock is held.
func (s *Store) write(set map[string]any) error {
	if s.path == "" {
		return nil
	}
	file := pyjson.NewObject()
	values := Values{set: set}
	for _, f := range Table.Fields {
		if !fixed[f.Name] || set[f.Name] != nil {
			file.Set(f.Name, values.Get(f.Name))
		}
	}
	for _, f := range builtin {
		if value, ok := set[f.Name]; ok {
			file.Set(f.Name, value)
		}
	}
	for key, value := range s.other.All() {
		file.Set(key, value)
	}
	text, err := indented(file)
	if err != nil {
		return fmt.Errorf("options: %w", err)
	}
	if err := atomicfile.Write(s.path, text); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	return nil
}

// indented writes the file with four blanks a level, as A1111 does.
func indented(file *pyjson.Object) ([]byte, error) {
	text, err := pyjson.Marshal(file, pyjson.Compact)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage = text
	return json.MarshalIndent(raw, "", "    ")
}
