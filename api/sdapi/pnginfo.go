package sdapi

import (
	"net/http"

	"sdworker/api/infotext"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
)

// pngInfo handles POST /sdapi/v1/png-info.
func (s *Server) pngInfo(r *http.Request) (any, error) {
	in, err := s.readModel(r, &schema.PNGInfo)
	if err != nil {
		return nil, err
	}
	o := s.options.Values()
	image, _ := in.Get("image")
	_, raw, err := s.picture(r.Context(), image, o)
	if err != nil {
		return nil, err
	}
	text, list := infotext.FromFile(raw)
	items := pyjson.NewObject()
	for _, item := range list {
		items.Set(item.Key, item.Value)
	}
	parsed := s.infotextReader(o).Parse(text)
	return pyjson.NewObject("info", text, "items", items, "parameters", map[string]any(parsed)), nil
}

// interrogate handles POST /sdapi/v1/interrogate. There is no model that
// describes pictures, and A1111 without one answers so, too.
func (s *Server) interrogate(r *http.Request) (any, error) {
	body, err := s.readModel(r, &schema.Interrogate)
	if err != nil {
		return nil, err
	}
	in := fields{Values: body}
	if _, _, err := s.picture(r.Context(), in.text("image"), s.options.Values()); err != nil {
		return nil, err
	}
	switch in.text("model") {
	case "clip":
		return pyjson.NewObject("caption", "<error>"), nil
	case "deepdanbooru":
		return nil, crash("FileNotFoundError", "there is no deepdanbooru model")
	}
	return nil, refuse(http.StatusNotFound, "Model not found")
}
