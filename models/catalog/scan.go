package catalog

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sdworker/formats"
	"sdworker/formats/embedding"
	"sdworker/models"
)

// maxDepth bounds how far below a model folder files are found.
const maxDepth = 8

// scan is one walk over all places.
type scan struct {
	classify func(path string, info fs.FileInfo) models.Kind
	place    int
	folders  int    // model folders and caches found
	top      string // the model folder that walk is in, without links
	files    []File
	seen     map[string]bool      // absolute paths listed
	dirs     map[string]time.Time // folders looked at, zero time for missing ones
	err      error                // folders that could not be read
}

func newScan(classify func(string, fs.FileInfo) models.Kind) *scan {
	return &scan{classify: classify, seen: map[string]bool{}, dirs: map[string]time.Time{}}
}

// readDir lists a folder in A1111's order and remembers its time, so that a
// later change is noticed. A missing folder is empty.
func (s *scan) readDir(dir string) []fs.DirEntry {
	if _, ok := s.dirs[dir]; !ok {
		s.dirs[dir] = modTime(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
			s.err = errors.Join(s.err, err)
		}
		return nil
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return naturalCompare(a.Name(), b.Name()) })
	return entries
}

func modTime(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// root looks through one configured place.
func (s *scan) root(root string) {
	if info, err := os.Stat(root); err == nil && models.IsPipeline(root) {
		s.folders++
		s.add(root, filepath.Base(root), "", models.Checkpoint, info)
		return
	}
	if kind, ok := folderKinds[strings.ToLower(filepath.Base(root))]; ok && !s.holdsModelFolders(root) {
		s.folder(root, kind)
		return
	}
	before := s.folders
	for _, sub := range subRoots {
		base := filepath.Join(root, sub)
		for _, e := range s.readDir(base) {
			full := filepath.Join(base, e.Name())
			if kind, ok := folderKinds[strings.ToLower(e.Name())]; ok && isDir(full) {
				s.folder(full, kind)
			}
		}
		s.looseFiles(base)
		if sub != "" || exists(filepath.Join(base, "extensions")) {
			s.folder(filepath.Join(base, controlNetFolder), models.ControlNet)
			s.folder(filepath.Join(base, downloads+"clip_vision"), models.ImageEncoder)
			s.folder(filepath.Join(base, downloads+"depth_anything"), models.Depth)
			s.folder(filepath.Join(base, downloads+"depth_anything_v2"), models.Depth)
		}
	}
	for _, sub := range []string{"", "hub", "huggingface-cache/hub"} {
		s.hubCache(filepath.Join(root, sub))
	}
	if s.folders == before {
		s.tree(root)
	}
}

// holdsModelFolders tells a root that happens to be named like a model folder,
// such as an A1111 checkout in "stable-diffusion", from the folder itself.
func (s *scan) holdsModelFolders(root string) bool {
	for _, e := range s.readDir(root) {
		if _, ok := folderKinds[strings.ToLower(e.Name())]; ok || e.Name() == "models" {
			return true
		}
	}
	return false
}

// folder lists the files of one kind below dir.
func (s *scan) folder(dir string, kind models.Kind) {
	if exists(dir) {
		s.folders++
	}
	s.top, _ = filepath.EvalSymlinks(dir) // without a folder there is nothing to walk
	s.walk(dir, "", kind, map[string]bool{}, 0)
}

// walk lists a folder before its sub-folders; links are followed, each folder
// once, but not upwards, where folders of other kinds are.
func (s *scan) walk(dir, below string, kind models.Kind, visited map[string]bool, depth int) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || visited[real] || strings.HasPrefix(s.top, real+"/") || depth > maxDepth {
		if err != nil {
			s.dirs[dir] = time.Time{}
		}
		return
	}
	visited[real] = true
	var subs []string
	for _, e := range s.readDir(dir) {
		full := filepath.Join(dir, e.Name())
		info, err := os.Stat(full) // follows links; a dangling one is no file
		switch {
		case err != nil || strings.HasPrefix(e.Name(), "."):
		case info.IsDir() && kind == models.Checkpoint && models.IsPipeline(full): // one model, not its parts
			s.add(full, path.Join(below, e.Name()), "", kind, info)
		case info.IsDir():
			subs = append(subs, e.Name())
		case info.Mode().IsRegular() && kind.Named(e.Name()):
			s.add(full, path.Join(below, e.Name()), "", s.within(kind, full, info), info)
		case info.Mode().IsRegular() && kind == models.Embedding && embedding.IsPicture(e.Name()) && s.classify(full, info) == models.Embedding:
			s.add(full, path.Join(below, e.Name()), "", kind, info)
		case info.Mode().IsRegular() && kind == models.Checkpoint && isVAEName(e.Name()):
			s.add(full, path.Join(below, e.Name()), "", models.VAE, info)
		}
	}
	for _, sub := range subs {
		s.walk(filepath.Join(dir, sub), path.Join(below, sub), kind, visited, depth+1)
	}
}

// within is what a file in a folder for a kind is. What ControlNet units use is kept
// together, and told apart by the headers.
func (s *scan) within(kind models.Kind, full string, info fs.FileInfo) models.Kind {
	if kind == models.ControlNet || kind == models.IPAdapter {
		switch found := s.classify(full, info); found {
		case models.ControlNet, models.IPAdapter, models.ImageEncoder, models.Depth:
			return found
		default:
		}
	}
	return kind
}

// isVAEName tells the VAEs that A1111 users keep beside a checkpoint.
func isVAEName(name string) bool {
	lower := strings.ToLower(name)
	return models.VAE.Named(lower) && strings.HasSuffix(formats.Stem(lower), ".vae")
}

// looseFiles lists the model files directly in a folder that has no kind of its
// own; their headers tell what they are.
func (s *scan) looseFiles(dir string) {
	for _, e := range s.readDir(dir) {
		full := filepath.Join(dir, e.Name())
		info, err := os.Stat(full)
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		s.file(full, e.Name(), "", info)
	}
}

// maxTree bounds how many folders of a place without model folders are looked
// through; it may be a home directory.
const maxTree = 200

// tree lists the model files in the sub-folders of a place that is kept in an
// order of its own, the near ones first.
func (s *scan) tree(root string) {
	queue := []string{""}
	for looked := 0; len(queue) > 0 && looked < maxTree; looked++ {
		below := queue[0]
		queue = queue[1:]
		for _, e := range s.readDir(filepath.Join(root, below)) {
			name := path.Join(below, e.Name())
			full := filepath.Join(root, name)
			info, err := os.Stat(full)
			switch {
			case err != nil || strings.HasPrefix(e.Name(), "."):
			case info.IsDir() && models.IsPipeline(full):
				s.add(full, name, "", models.Checkpoint, info)
			case e.IsDir():
				queue = append(queue, name)
			case info.Mode().IsRegular():
				s.file(full, name, "", info)
			}
		}
	}
}

// file lists one file by what its header says.
func (s *scan) file(full, name, repo string, info fs.FileInfo) {
	if !models.LoRA.Named(name) {
		return
	}
	if kind := s.classify(full, info); kind != models.Unknown {
		s.add(full, name, repo, kind, info)
	}
}

func (s *scan) add(full, name, repo string, kind models.Kind, info fs.FileInfo) {
	if s.seen[full] {
		return
	}
	s.seen[full] = true
	s.files = append(s.files, File{Kind: kind, Path: full, Name: name, Repo: repo, place: s.place}.at(info))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isNotDir tells a file where a folder was expected.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// single lists one checkpoint that the user named, whatever it is called and
// holds: loading it says what is wrong with it.
func (s *scan) single(file string) {
	s.dirs[filepath.Dir(file)] = modTime(filepath.Dir(file))
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	s.add(file, filepath.Base(file), "", models.Checkpoint, info)
}
