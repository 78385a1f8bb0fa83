package catalog

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Hypernetwork is a file in a folder hypernetworks.
type Hypernetwork struct{ Name, Path string }

// Hypernetworks lists the hypernetworks below the roots in A1111's order: .pt files by
// their paths, each under the name of the file without extension. Of two with the same
// name the last counts. It looks at the disk.
func (c *Catalog) Hypernetworks() []Hypernetwork {
	var paths []string
	for _, root := range c.config.Roots {
		// What cannot be read holds none.
		_ = filepath.WalkDir(filepath.Join(root, "hypernetworks"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.EqualFold(filepath.Ext(path), ".pt") {
				paths = append(paths, path)
			}
			return nil
		})
	}
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	var out []Hypernetwork
	for _, path := range paths {
		h := Hypernetwork{strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), path}
		if h.Name == "None" {
			continue
		}
		if i := slices.IndexFunc(out, func(known Hypernetwork) bool { return known.Name == h.Name }); i >= 0 {
			out[i] = h
			continue
		}
		out = append(out, h)
	}
	return out
}
