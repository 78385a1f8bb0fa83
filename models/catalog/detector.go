package catalog

import (
	"slices"

	"sdworker/models"
)

// Detectors returns the models that find faces and other objects, as the ADetailer
// extension lists them: by base name, the first of several of a name.
func (c *Catalog) Detectors() []File {
	var out []File
	for _, f := range c.List(models.Detector) {
		if !slices.ContainsFunc(out, func(known File) bool { return known.FileName() == f.FileName() }) {
			out = append(out, f)
		}
	}
	return out
}

// Detector finds a model by its base name.
func (c *Catalog) Detector(name string) (File, bool) {
	return c.lookAgain(func() (File, bool) {
		list := c.Detectors()
		at := slices.IndexFunc(list, func(f File) bool { return f.FileName() == name })
		if at < 0 {
			return File{}, false
		}
		return list[at], true
	})
}
