package generation

import (
	"fmt"
	"slices"

	"sdworker/api/sdapi/exception"
	"sdworker/inference"
	"sdworker/models"
	"sdworker/models/catalog"
)

// upscaler is an upscaler with a model.
type upscaler struct {
	Name  string // in lists: as in A1111, else its file's
	Stem  string // of its file, by which it is found, too
	Model inference.UpscalerModel
}

// publishedUpscalers are what A1111 calls the models of Real-ESRGAN, by the stems of
// the files that they are published as.
var publishedUpscalers = map[string]string{
	generalUpscaler:              "R-ESRGAN General 4xV3",
	noisyUpscaler:                "R-ESRGAN General WDN 4xV3",
	"realesr-animevideov3":       "R-ESRGAN AnimeVideo",
	"RealESRGAN_x4plus":          "R-ESRGAN 4x+",
	"RealESRGAN_x4plus_anime_6B": "R-ESRGAN 4x+ Anime6B",
	"RealESRGAN_x2plus":          "R-ESRGAN 2x+",
}

// The two files of one network between which Real-ESRGAN's own program mixes by a denoise
// strength: 1 is the first one, 0 the second one, which keeps noise.
const (
	generalUpscaler = "realesr-general-x4v3"
	noisyUpscaler   = "realesr-general-wdn-x4v3"
)

// denoiseStrengths are the mixtures that the list has.
var denoiseStrengths = []float64{0.25, 0.5, 0.75}

// Upscalers lists the upscalers with a model file, and, after the second of Real-ESRGAN's
// two, their mixtures. It scans the folders first, so that new files are found at once.
func (s *Service) Upscalers() (list []upscaler) {
	_ = s.Config.Catalog.RefreshIfChanged() // a folder that cannot be read was reported before
	files := s.Config.Catalog.Usable(s.Config.Catalog.List(models.Upscaler))
	for _, u := range files {
		name, ok := publishedUpscalers[u.Stem()]
		if !ok {
			name = u.Stem()
		}
		list = append(list, upscaler{name, u.Stem(), inference.UpscalerModel{Path: u.Path}})
	}
	at := func(stem string) int {
		return slices.IndexFunc(files, func(u catalog.File) bool { return u.Stem() == stem })
	}
	general, noisy := at(generalUpscaler), at(noisyUpscaler)
	if general < 0 || noisy < 0 {
		return list
	}
	for _, strength := range denoiseStrengths {
		list = append(list, upscaler{
			Name:  fmt.Sprintf("%s denoise %g", publishedUpscalers[generalUpscaler], strength),
			Model: inference.UpscalerModel{Path: files[general].Path, Other: files[noisy].Path, Share: strength},
		})
	}
	return list
}

// findUpscaler finds an upscaler by its name or by the name of its file.
func (s *Service) findUpscaler(name string) (upscaler, bool) {
	list := s.Upscalers()
	for _, is := range []func(upscaler) bool{
		func(u upscaler) bool { return u.Name == name },
		func(u upscaler) bool { return u.Stem == name && name != "" },
	} {
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i], true
		}
	}
	return upscaler{}, false
}

// upscalerModels are the models of all upscalers, by their names and by the names of their
// files.
func (s *Service) upscalerModels() map[string]inference.UpscalerModel {
	byName := make(map[string]inference.UpscalerModel)
	list := s.Upscalers()
	for _, u := range list {
		if u.Stem != "" {
			byName[u.Stem] = u.Model
		}
	}
	for _, u := range list {
		byName[u.Name] = u.Model
	}
	return byName
}

// ListedUpscaler returns the name in the list of an upscaler that may be named by its
// file.
func (s *Service) ListedUpscaler(name string) string {
	if u, ok := s.findUpscaler(name); ok {
		return u.Name
	}
	return name
}

// UpscalerNames are all upscalers in the order of the list.
func (s *Service) UpscalerNames() []string {
	names := append([]string{}, BuiltinUpscalers...)
	for _, u := range s.Upscalers() {
		names = append(names, u.Name)
	}
	return names
}

// Upscaler finds an upscaler by name; nil for None.
func (s *Service) Upscaler(name string) (*inference.UpscaleRequest, error) {
	if name == "None" {
		return nil, nil
	}
	if slices.Contains(BuiltinUpscalers, name) {
		return &inference.UpscaleRequest{Upscaler: name}, nil
	}
	if u, ok := s.findUpscaler(name); ok {
		return &inference.UpscaleRequest{Upscaler: name, Model: u.Model}, nil
	}
	return nil, exception.Crash("AssertionError", "could not find upscaler named %s", name)
}

// MaxExtrasSide bounds the result of an upscaling in pixels.
const MaxExtrasSide = 2 * inference.MaxSide
