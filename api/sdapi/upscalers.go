package sdapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/inference"
	"sdworker/models"
	"sdworker/models/catalog"
)

// upscaler is an upscaler with a model.
type upscaler struct {
	name  string // in lists: as in A1111, else its file's
	stem  string // of its file, by which it is found, too
	model inference.UpscalerModel
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

// denoiseStrengths are those between 0 and 1 that have a place in the list.
var denoiseStrengths = []float64{0.25, 0.5, 0.75}

// upscalers lists the upscalers with a model file, and the mixtures of Real-ESRGAN's two
// after the second one. The folders are scanned first, so that new files are found at once.
func (s *Server) upscalers() (list []upscaler) {
	_ = s.cfg.Catalog.RefreshIfChanged() // a folder that cannot be read was reported before
	files := s.cfg.Catalog.Usable(s.cfg.Catalog.List(models.Upscaler))
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
			name:  fmt.Sprintf("%s denoise %g", publishedUpscalers[generalUpscaler], strength),
			model: inference.UpscalerModel{Path: files[general].Path, Other: files[noisy].Path, Share: strength},
		})
	}
	return list
}

// findUpscaler finds an upscaler by its name or by its file's.
func (s *Server) findUpscaler(name string) (upscaler, bool) {
	list := s.upscalers()
	for _, is := range []func(upscaler) bool{
		func(u upscaler) bool { return u.name == name },
		func(u upscaler) bool { return u.stem == name && name != "" },
	} {
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i], true
		}
	}
	return upscaler{}, false
}

// upscalerModels are the models of all upscalers by their names and by those of their files.
func (s *Server) upscalerModels() map[string]inference.UpscalerModel {
	byName := make(map[string]inference.UpscalerModel)
	list := s.upscalers()
	for _, u := range list {
		if u.stem != "" {
			byName[u.stem] = u.model
		}
	}
	for _, u := range list {
		byName[u.name] = u.model
	}
	return byName
}

// listedUpscaler is the name in the list of an upscaler that may be named by its file.
func (s *Server) listedUpscaler(name string) string {
	if u, ok := s.findUpscaler(name); ok {
		return u.name
	}
	return name
}

// upscalerNames are all upscalers in the order of the list.
func (s *Server) upscalerNames() []string {
	names := append([]string{}, builtinUpscalers...)
	for _, u := range s.upscalers() {
		names = append(names, u.name)
	}
	return names
}

// upscalerScale is what A1111 shows for upscalers of any factor.
const upscalerScale = 4.0

// listUpscalers is GET /sdapi/v1/upscalers.
func (s *Server) listUpscalers(*http.Request) (any, error) {
	list := []any{}
	for _, name := range builtinUpscalers {
		list = append(list, pyjson.NewObject("name", name, "model_name", nil, "model_path", nil, "model_url", nil, "scale", upscalerScale))
	}
	for _, u := range s.upscalers() {
		list = append(list, pyjson.NewObject("name", u.name, "model_name", orNull(u.stem), "model_path", u.model.Path, "model_url", nil, "scale", upscalerScale))
	}
	return list, nil
}

// listRealESRGAN is GET /sdapi/v1/realesrgan-models: those upscalers that are of
// this kind by their name.
func (s *Server) listRealESRGAN(*http.Request) (any, error) {
	list := []any{}
	for _, u := range s.upscalers() {
		name := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(u.name))
		if strings.Contains(name, "realesrgan") || strings.HasPrefix(name, "resrgan") {
			list = append(list, pyjson.NewObject("name", u.name, "path", u.model.Path, "scale", int64(upscalerScale)))
		}
	}
	return list, nil
}
