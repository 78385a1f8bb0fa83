package catalog

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"sdworker/models"
)

// repoPrefix begins the folder of every model repository in a Hugging Face
// cache: models--ORG--NAME.
const repoPrefix = "models--"

// hubCache lists the model files of a Hugging Face cache: per repository those
// of the snapshot that refs/main names, else of the first one. Only files at the
// top of a repository count: deeper ones are parts of diffusers pipelines, which are
// listed as what they are where a repository has nothing else.
func (s *scan) hubCache(dir string) {
	for _, e := range s.readDir(dir) {
		repo, ok := strings.CutPrefix(e.Name(), repoPrefix)
		if !ok {
			continue
		}
		s.folders++
		folder := filepath.Join(dir, e.Name())
		s.dirs[filepath.Join(folder, "refs")] = modTime(filepath.Join(folder, "refs"))
		snapshot := s.snapshot(folder)
		if snapshot == "" {
			continue
		}
		repo = strings.ReplaceAll(repo, "--", "/")
		before := len(s.files)
		for _, e := range s.readDir(snapshot) {
			full := filepath.Join(snapshot, e.Name())
			if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() {
				s.file(full, e.Name(), repo, info)
			}
		}
		if info, err := os.Stat(snapshot); err == nil && len(s.files) == before && models.IsPipeline(snapshot) {
			s.add(snapshot, path.Base(repo), repo, models.Checkpoint, info)
		}
	}
}

func (s *scan) snapshot(repo string) string {
	all := filepath.Join(repo, "snapshots")
	entries := s.readDir(all)
	if ref, err := os.ReadFile(filepath.Join(repo, "refs", "main")); err == nil {
		dir := filepath.Join(all, strings.TrimSpace(string(ref)))
		if filepath.Dir(dir) == all && isDir(dir) { // a ref with slashes would lead elsewhere
			return dir
		}
	}
	for _, e := range entries {
		if e.IsDir() {
			return filepath.Join(all, e.Name())
		}
	}
	return ""
}

// hubDigest returns the sha256 that a Hugging Face cache knows already: large
// files are links to blobs named by it.
func hubDigest(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	name := filepath.Base(target)
	if filepath.Base(filepath.Dir(target)) != "blobs" || !IsSHA256(name) {
		return ""
	}
	return name
}
