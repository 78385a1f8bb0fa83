package sdapi

import (
	"net/http"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/inference/sampler"
)

// listSamplers is GET /sdapi/v1/samplers: those of v1.9.3.
func listSamplers(*http.Request) (any, error) {
	list := []any{}
	for _, info := range sampler.All() {
		if info.Later {
			continue
		}
		given, shown := info.Options(), pyjson.NewObject()
		for _, key := range []string{"scheduler", "discard_next_to_last_sigma", "uses_ensd", "second_order", "brownian_noise", "solver_type"} {
			if value, ok := given[key]; ok {
				shown.Set(key, value)
			}
		}
		list = append(list, pyjson.NewObject("name", info.Name, "aliases", info.Aliases, "options", shown))
	}
	return list, nil
}

// listSchedulers is GET /sdapi/v1/schedulers: those of v1.9.3.
func listSchedulers(*http.Request) (any, error) {
	list := []any{}
	for _, s := range sampler.Schedulers() {
		if s.Later {
			continue
		}
		var aliases any
		if len(s.Aliases) > 0 {
			aliases = s.Aliases
		}
		list = append(list, pyjson.NewObject("name", s.Name, "label", s.Label, "aliases", aliases,
			"default_rho", s.DefaultRho, "need_inner_model", s.NeedsModel))
	}
	return list, nil
}

// upscalerNames are all upscalers in the order of the list.
func (s *Server) upscalerNames() []string {
	names := append([]string{}, builtinUpscalers...)
	for _, u := range s.cfg.Catalog.Upscalers() {
		names = append(names, u.Name)
	}
	return names
}

// listUpscalers is GET /sdapi/v1/upscalers.
func (s *Server) listUpscalers(*http.Request) (any, error) {
	const builtinScale = 4.0 // A1111 shows its default for upscalers of any factor
	list := []any{}
	for _, name := range builtinUpscalers {
		list = append(list, pyjson.NewObject("name", name, "model_name", nil, "model_path", nil, "model_url", nil, "scale", builtinScale))
	}
	for _, u := range s.cfg.Catalog.Upscalers() {
		list = append(list, pyjson.NewObject("name", u.Name, "model_name", u.Name, "model_path", u.Path, "model_url", nil, "scale", u.Scale))
	}
	return list, nil
}

func listLatentModes(*http.Request) (any, error) {
	list := []any{}
	for _, name := range latentModes {
		list = append(list, pyjson.NewObject("name", name))
	}
	return list, nil
}

// listModels is GET /sdapi/v1/sd-models.
func (s *Server) listModels(*http.Request) (any, error) {
	list := []any{}
	for _, c := range s.cfg.Catalog.Checkpoints() {
		list = append(list, pyjson.NewObject("title", c.Title, "model_name", c.ModelName, "hash", orNull(c.ShortHash()),
			"sha256", orNull(c.SHA256), "filename", c.Path, "config", orNull(c.Config)))
	}
	return list, nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *Server) listVAEs(*http.Request) (any, error) {
	list := []any{}
	for _, v := range s.cfg.Catalog.VAEs() {
		list = append(list, pyjson.NewObject("model_name", v.Name, "filename", v.Path))
	}
	return list, nil
}

// faceRestorers are listed by A1111 whether or not their models are there.
var faceRestorers = []any{
	pyjson.NewObject("name", "CodeFormer", "cmd_dir", nil),
	pyjson.NewObject("name", "GFPGAN", "cmd_dir", nil),
}

// listRealESRGAN is GET /sdapi/v1/realesrgan-models: those upscalers that are of
// this kind by their name.
func (s *Server) listRealESRGAN(*http.Request) (any, error) {
	list := []any{}
	for _, u := range s.cfg.Catalog.Upscalers() {
		name := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(u.Name))
		if strings.Contains(name, "realesrgan") || strings.HasPrefix(name, "resrgan") {
			list = append(list, pyjson.NewObject("name", u.Name, "path", u.Path, "scale", int64(u.Scale)))
		}
	}
	return list, nil
}

// listEmbeddings is GET /sdapi/v1/embeddings. Those of another model family are
// in "skipped".
func (s *Server) listEmbeddings(*http.Request) (any, error) {
	const width = 768 // of Stable Diffusion 1.x
	loaded, skipped := pyjson.NewObject(), pyjson.NewObject()
	for _, e := range s.cfg.Catalog.Embeddings() {
		into := loaded
		if e.Width != width {
			into = skipped
		}
		into.Set(e.Name, pyjson.NewObject("step", orAbsent(e.Step), "sd_checkpoint", orAbsent(e.Checkpoint),
			"sd_checkpoint_name", orAbsent(e.CheckpointName), "shape", e.Width, "vectors", e.Vectors))
	}
	return pyjson.NewObject("loaded", loaded, "skipped", skipped), nil
}

// orAbsent is null for nothing.
func orAbsent[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func (s *Server) listLoRAs(*http.Request) (any, error) {
	list := []any{}
	for _, l := range s.cfg.Catalog.LoRAs() {
		metadata := l.Metadata
		if metadata == nil {
			metadata = map[string]any{}
		}
		list = append(list, pyjson.NewObject("name", l.Name, "alias", l.Alias, "path", l.Path, "metadata", metadata))
	}
	return list, nil
}

// refresh looks at the model folders again.
func (s *Server) refresh(*http.Request) (any, error) {
	return nil, s.cfg.Catalog.Refresh()
}

// noTraining answers the routes that create and train models in the way in which
// A1111 reports a failure.
func (s *Server) noTraining(what string) handler {
	return s.value(func(r *http.Request) (any, error) {
		if _, err := s.readObject(r); err != nil {
			return nil, err
		}
		return pyjson.NewObject("info", what+" error: this server does not train models"), nil
	})
}
