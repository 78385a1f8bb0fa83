package catalog

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sdworker/fault"
	"sdworker/models"
)

// checkpointIndex finds checkpoints by everything A1111 calls them.
type checkpointIndex struct {
	list    []File // distinct titles, in the order of the list
	aliases map[string]int
}

// Checkpoints returns the checkpoints in the order of A1111's list, one per
// title.
func (c *Catalog) Checkpoints() []File { return slices.Clone(c.checkpoints().list) }

func (c *Catalog) checkpoints() *checkpointIndex {
	s := c.current.Load()
	s.checkpointsOnce.Do(func() { s.checkpoints = indexCheckpoints(c.List(models.Checkpoint)) })
	return &s.checkpoints
}

// indexCheckpoints lets the first file of a title win, so that roots go before
// later ones.
func indexCheckpoints(files []File) checkpointIndex {
	x := checkpointIndex{aliases: map[string]int{}}
	titles := map[string]bool{}
	for _, f := range files {
		if titles[f.Title()] {
			continue
		}
		titles[f.Title()] = true
		at := len(x.list)
		x.list = append(x.list, f)
		for _, alias := range f.aliases() {
			if _, taken := x.aliases[alias]; !taken {
				x.aliases[alias] = at
			}
		}
	}
	return x
}

// aliases are the exact names of a checkpoint, but for the old hash, which costs
// a read.
func (f File) aliases() []string {
	base := f.Stem()
	list := []string{f.Title(), f.ModelName(), f.Name, base}
	if f.Repo != "" {
		list = append(list, f.Repo+"/"+f.Name, f.Repo)
	}
	if short := f.ShortHash(); short != "" {
		list = append(list, short, f.SHA256, withHash(base, short))
	}
	return list
}

// Checkpoint finds a checkpoint by an exact name: title, model name, file name,
// base name, short hash, sha256, "name [hash]", the old eight-digit hash, or the
// repository of a Hugging Face cache.
func (c *Catalog) Checkpoint(name string) (File, bool) {
	return c.lookAgain(func() (File, bool) { return c.checkpoint(name) })
}

func (c *Catalog) checkpoint(name string) (File, bool) {
	x := c.checkpoints()
	if at, ok := x.aliases[name]; ok {
		return x.list[at], true
	}
	want, ok := oldHashIn(name)
	if !ok {
		return File{}, false
	}
	for _, f := range x.list {
		if old := c.oldHashOf(f); old == want && (name == old || name == withHash(f.Name, old)) {
			return f, true
		}
	}
	return File{}, false
}

var oldHashAtEnd = regexp.MustCompile(`^(?:.* \[)?([0-9a-f]{8})\]?$`)

// oldHashIn returns the eight-digit hash that a name is or ends with.
func oldHashIn(name string) (string, bool) {
	m := oldHashAtEnd.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

func (c *Catalog) oldHashOf(f File) string {
	if sum, ok := c.oldSums.Load(f.ID()); ok {
		return sum.(string)
	}
	sum := oldHash(f.Path)
	c.oldSums.Store(f.ID(), sum)
	return sum
}

var checksumAtEnd = regexp.MustCompile(`\s*\[[^]]+]\s*$`)

// ClosestCheckpoint finds a checkpoint as A1111 does where a user may have typed
// only a part: by an exact name, else the one with the shortest title that
// contains the text, else the same without a hash in brackets. Part of a hash is
// part of a title.
func (c *Catalog) ClosestCheckpoint(name string) (File, bool) {
	return c.lookAgain(func() (File, bool) { return c.closest(name) })
}

func (c *Catalog) closest(name string) (File, bool) {
	if name == "" {
		return File{}, false
	}
	if f, ok := c.checkpoint(name); ok {
		return f, true
	}
	x := c.checkpoints()
	for _, part := range []string{name, checksumAtEnd.ReplaceAllString(name, "")} {
		var found []File
		for _, f := range x.list {
			if strings.Contains(f.Title(), part) {
				found = append(found, f)
			}
		}
		if len(found) > 0 {
			return slices.MinFunc(found, func(a, b File) int {
				return cmp.Compare(len([]rune(a.Title())), len([]rune(b.Title())))
			}), true
		}
	}
	return File{}, false
}

// Resolve finds what the operator means by the name of a checkpoint: a path,
// the short name of a published model, a name that ClosestCheckpoint knows, or,
// for "", the Default. When nothing fits it looks at the disk again before it gives
// up with code NotFound, or Invalid where it can tell what is wrong. Names that
// come with a request must not be paths: use Checkpoint or ClosestCheckpoint.
func (c *Catalog) Resolve(name string) (File, error) {
	if f, ok := c.fileAt(name); ok {
		return f, nil
	}
	var unreadable error
	for range 2 {
		if name == "" {
			if f, ok := c.first(); ok {
				return f, nil
			}
		} else if f, ok := c.byOperatorsName(name); ok {
			return f, nil
		}
		unreadable = c.Refresh()
	}
	err := c.notFound(name)
	err.Err = unreadable
	return File{}, err
}

// Default is the checkpoint to use when none is chosen: the first of the list
// that runs here by itself, else the first that runs with a VAE that somebody
// chooses, else the first of all. A1111 takes the first of all, but its folders may
// hold other families than this program runs.
func (c *Catalog) Default() (File, bool) { return c.lookAgain(c.first) }

func (c *Catalog) first() (File, bool) {
	list := c.checkpoints().list
	for _, f := range list {
		if v := c.verdict(f); v.err == nil && (v.hasVAE || c.hasVAEFor(f)) {
			return f, true
		}
	}
	if at := slices.IndexFunc(list, c.usable); at >= 0 {
		return list[at], true
	}
	if len(list) == 0 {
		return File{}, false
	}
	return list[0], true
}

func (c *Catalog) hasVAEFor(checkpoint File) bool {
	_, ok := c.vaeFor(checkpoint, vaeAutomatic)
	return ok
}

// byOperatorsName prefers the exact file behind a short name to a file whose title
// happens to contain it.
func (c *Catalog) byOperatorsName(name string) (File, bool) {
	if n, ok := models.FindNamed(name); ok {
		for _, exact := range []string{n.Repo + "/" + n.File, n.FileName()} {
			if f, ok := c.checkpoint(exact); ok {
				return f, true
			}
		}
	}
	return c.closest(name)
}

// fileAt takes an existing path as a checkpoint, with the name it has in the lists
// if it is in one.
func (c *Catalog) fileAt(path string) (File, bool) {
	if path == "" {
		return File{}, false
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return File{}, false
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return File{}, false
	}
	f := File{Kind: models.Checkpoint, Path: full, Name: filepath.Base(full)}.at(info)
	for _, listed := range c.checkpoints().list {
		if listed.ID() == f.ID() {
			return listed, true
		}
		if listed.Path == full { // it was replaced since the scan
			f.Name, f.Repo = listed.Name, listed.Repo
		}
	}
	return c.withHashes([]File{f})[0], true
}

// notFound says what could not be found and what can be done.
func (c *Catalog) notFound(name string) *fault.Error {
	places := strings.Join(c.config.Roots, ", ")
	if places == "" {
		places = "no folder is configured"
	}
	if name == "" {
		return fault.Errorf(fault.NotFound, "models",
			"there is no checkpoint; put one into a model folder (%s), name one with --model, or run `worker models pull deliberate-v6`", places)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		_, err := models.Inspect(name)
		if told, ok := errors.AsType[*fault.Error](err); ok {
			return told
		}
	}
	for _, f := range c.current.Load().files {
		if f.Kind == models.Checkpoint && !c.listed(f) && slices.Contains(f.aliases(), name) {
			return models.Forbidden(f.Path)
		}
	}
	return fault.Errorf(fault.NotFound, "models", "there is no checkpoint or file named %q; `worker models ls` shows what there is (searched: %s)", name, places)
}
