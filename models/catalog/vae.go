package catalog

import (
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"

	"sdworker/models"
)

// VAEs returns the VAE files as A1111 lists them: by base name, in natural order.
func (c *Catalog) VAEs() []File {
	list := c.List(models.VAE)
	slices.SortStableFunc(list, func(a, b File) int { return naturalCompare(path.Base(a.Name), path.Base(b.Name)) })
	return slices.CompactFunc(list, func(a, b File) bool { return path.Base(a.Name) == path.Base(b.Name) })
}

// Values of the option sd_vae that are no file names.
const (
	vaeNone      = "None"
	vaeAutomatic = "Automatic"
)

// VAEFor decides which VAE goes with a checkpoint under a value of the option
// sd_vae, in A1111's order (sd_vae_overrides_per_model_preferences on). A file name
// or None counts as chosen. Automatic takes the one in the checkpoint's own
// settings (NAME.json, key "vae"), else a usable one whose name begins with the
// checkpoint's. ok is false when the checkpoint's own VAE is to be used.
func (c *Catalog) VAEFor(checkpoint File, setting string) (vae File, ok bool) {
	return c.lookAgain(func() (File, bool) { return c.vaeFor(checkpoint, setting) })
}

func (c *Catalog) vaeFor(checkpoint File, setting string) (vae File, ok bool) {
	if setting == vaeNone {
		return File{}, false
	}
	list := c.VAEs()
	byName := func(name string) (File, bool) {
		at := slices.IndexFunc(list, func(f File) bool { return path.Base(f.Name) == name })
		if at < 0 {
			return File{}, false
		}
		return list[at], true
	}
	if setting != vaeAutomatic && setting != "auto" && setting != "" {
		return byName(setting)
	}
	if name := userVAE(checkpoint); name != "" && name != vaeAutomatic {
		if name == vaeNone {
			return File{}, false
		}
		if f, ok := byName(name); ok {
			return f, true
		}
	}
	for _, f := range list {
		if strings.HasPrefix(path.Base(f.Name), checkpoint.Stem()) && c.usable(f) {
			return f, true
		}
	}
	return File{}, false
}

// userVAE reads the user's choice from the settings beside a checkpoint.
func userVAE(checkpoint File) string {
	raw, err := os.ReadFile(strings.TrimSuffix(checkpoint.Path, path.Ext(checkpoint.Path)) + ".json")
	if err != nil {
		return ""
	}
	var settings struct {
		VAE string `json:"vae"`
	}
	if json.Unmarshal(raw, &settings) != nil {
		return ""
	}
	return settings.VAE
}
