package catalog

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"sdworker/models"
)

// ControlNetName is how A1111's ControlNet extension lists a model: the base
// name and the old eight-digit hash in brackets.
func (c *Catalog) ControlNetName(f File) string { return withHash(f.Stem(), c.oldHashOf(f.now())) }

// ControlNets are the files that a ControlNet unit can name: ControlNets and IP-Adapters,
// in A1111's order.
func (c *Catalog) ControlNets() []File { return c.list(models.ControlNet, models.IPAdapter) }

// ImageEncoder returns an image encoder that gives what an IP-Adapter takes.
func (c *Catalog) ImageEncoder(adapter File) (File, bool) {
	return c.lookAgain(func() (File, bool) {
		for _, f := range c.List(models.ImageEncoder) {
			if c.usable(f) && (c.told || encodes(f, adapter)) {
				return f, true
			}
		}
		return File{}, false
	})
}

// Depth returns a Depth Anything network of the first or the second version, which its
// file's name tells.
func (c *Catalog) Depth(second bool) (File, bool) {
	return c.lookAgain(func() (File, bool) {
		for _, f := range c.List(models.Depth) {
			if strings.Contains(strings.ToLower(path.Join(f.Repo, f.Name)), "v2") == second && c.usable(f) {
				return f, true
			}
		}
		return File{}, false
	})
}

func encodes(encoder, adapter File) bool {
	sees, err := models.Inspect(encoder.Path)
	if err != nil {
		return false
	}
	takes, err := models.Inspect(adapter.Path)
	return err == nil && sees.Encodes(takes)
}

// ControlNet finds a model by its listed name, with or without the hash, in any
// case; else the one with the shortest name that contains the text.
func (c *Catalog) ControlNet(name string) (File, bool) {
	return c.lookAgain(func() (File, bool) { return c.controlNet(name) })
}

func (c *Catalog) controlNet(name string) (File, bool) {
	list := c.ControlNets()
	want := strings.ToLower(checksumAtEnd.ReplaceAllString(name, ""))
	if want == "" || want == "none" {
		return File{}, false
	}
	var partial []File
	for _, f := range list {
		stem := strings.ToLower(f.Stem())
		if stem == want {
			return f, true
		}
		if strings.Contains(stem, want) {
			partial = append(partial, f)
		}
	}
	if len(partial) == 0 {
		return File{}, false
	}
	return slices.MinFunc(partial, func(a, b File) int { return cmp.Compare(len(a.Stem()), len(b.Stem())) }), true
}

// PreviewDecoder returns the TAESD file for Stable Diffusion 1.x previews: the
// first one that can be used, whose name says so and does not speak of another
// family.
func (c *Catalog) PreviewDecoder() (File, bool) {
	for _, f := range c.List(models.Preview) {
		name := strings.ToLower(f.Stem())
		if strings.Contains(name, "taesd") && !strings.Contains(name, "xl") && !strings.Contains(name, "taesd3") && !strings.Contains(name, "encoder") && c.usable(f) {
			return f, true
		}
	}
	return File{}, false
}
