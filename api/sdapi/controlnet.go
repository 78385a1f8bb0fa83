package sdapi

import (
	"math"
	"net/http"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
	"sdworker/models"
)

// controlNetVersion is the version of the ControlNet extension that these routes
// speak for: 1.1.455 says 2.
const controlNetVersion = 2

// controlUnits is how many units a request may have: the extension's default of
// three pages, which is no limit for the API.
const controlUnits = 3

func (s *Server) controlModels() []string {
	names := []string{}
	for _, f := range s.cfg.Catalog.Usable(s.cfg.Catalog.List(models.ControlNet)) {
		names = append(names, s.cfg.Catalog.ControlNetName(f))
	}
	return names
}

// listControlModels handles GET /controlnet/model_list, which looks at the folders
// again unless update=false.
func (s *Server) listControlModels(r *http.Request) (any, error) {
	update, err := schema.QueryBool("update", r.URL.Query()["update"], true)
	if err != nil {
		return nil, err
	}
	if update {
		if err := s.cfg.Catalog.Refresh(); err != nil {
			s.cfg.Log.Warn().Err(err).Msg("some model folders cannot be read")
		}
	}
	return pyjson.NewObject("model_list", s.controlModels()), nil
}

// listControlModules handles GET /controlnet/module_list.
func listControlModules(r *http.Request) (any, error) {
	if _, err := schema.QueryBool("alias_names", r.URL.Query()["alias_names"], false); err != nil {
		return nil, err
	}
	detail := pyjson.NewObject()
	for _, m := range hint.Modules() {
		sliders := []any{}
		for _, sl := range m.Sliders {
			sliders = append(sliders, pyjson.NewObject("name", sl.Name, "value", sl.Value, "min", sl.Min, "max", sl.Max, "step", sl.Step))
		}
		detail.Set(m.Name, pyjson.NewObject("model_free", false, "sliders", sliders))
	}
	return pyjson.NewObject("module_list", moduleNames(), "module_detail", detail), nil
}

func moduleNames() []string {
	var names []string
	for _, m := range hint.Modules() {
		names = append(names, m.Name)
	}
	return names
}

// listControlTypes handles GET /controlnet/control_types.
func (s *Server) listControlTypes(*http.Request) (any, error) {
	models := append([]string{"None"}, s.controlModels()...)
	first := models[min(1, len(models)-1)]
	types := pyjson.NewObject(
		"All", pyjson.NewObject("module_list", moduleNames(), "model_list", models, "default_option", "none", "default_model", "None"),
		"Canny", pyjson.NewObject("module_list", []string{"none", "canny"}, "model_list", models, "default_option", "canny", "default_model", first),
	)
	return pyjson.NewObject("control_types", types), nil
}

var detectRequest = &schema.Model{Name: "Body_detect_controlnet_detect_post", Fields: []schema.Field{
	{Name: "controlnet_module", Kind: schema.String, Default: "none"},
	{Name: "controlnet_input_images", Kind: schema.Strings, Default: []any{}},
	{Name: "controlnet_processor_res", Kind: schema.Integer, Default: int64(-1)},
	{Name: "controlnet_threshold_a", Kind: schema.Number, Default: int64(-1)},
	{Name: "controlnet_threshold_b", Kind: schema.Number, Default: int64(-1)},
	{Name: "controlnet_masks", Kind: schema.Strings, Default: []any{}},
	{Name: "low_vram", Kind: schema.Boolean, Default: false},
	{Name: "controlnet_images", Kind: schema.Strings, Default: []any{}}, // what the Python client calls the images
}}

// detect handles POST /controlnet/detect: preprocessors alone, without a job.
func (s *Server) detect(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readModel(r, detectRequest)
	if err != nil {
		return err
	}
	in := &fields{Values: body}
	module, ok := hint.Lookup(in.text("controlnet_module"))
	if !ok {
		return refuse(http.StatusUnprocessableEntity, "Module not available")
	}
	o := s.options.Values()
	images := append(in.list("controlnet_input_images"), in.list("controlnet_images")...)
	if len(images) == 0 {
		return refuse(http.StatusUnprocessableEntity, "No image selected")
	}
	decoded, _, err := s.pictures(r.Context(), images, o)
	if err != nil {
		return err
	}
	var made []encodable
	for _, m := range decoded {
		picture := m.RGB([3]uint8{255, 255, 255})
		width, height := detectSize(picture, in.whole("controlnet_processor_res"), module.Name != "none")
		if max(width, height) > maxExtrasSide || width*height > maxDetectPixels {
			return refuse(http.StatusUnprocessableEntity, "controlnet_processor_res is too large")
		}
		out, err := hint.Make(picture, hint.Options{
			Module: module.Name, Resolution: min(width, height), Width: width, Height: height,
			ThresholdA: in.number("controlnet_threshold_a"), ThresholdB: in.number("controlnet_threshold_b"),
		})
		if err != nil {
			return err
		}
		made = append(made, encodable{pixels: out})
	}
	if in.err != nil {
		return in.err
	}
	files, err := encodeAll(r.Context(), made, o)
	if err != nil {
		return err
	}
	reply, err := pyjson.Marshal(pyjson.NewObject("images", pictures(files), "info", "Success"), pyjson.Compact)
	if err != nil {
		return err
	}
	writePlain(w, http.StatusOK, "application/json", reply)
	return nil
}

// maxDetectPixels bounds a picture that a preprocessor makes in this process.
const maxDetectPixels = 1 << 24

// detectSize is the size at which a preprocessor shows its result: the short side
// at its resolution, 512 unless the request says otherwise.
func detectSize(m imageio.RGB, resolution int, sized bool) (w, h int) {
	if !sized {
		return m.W, m.H
	}
	if resolution <= 0 {
		resolution = 512
	}
	k := float64(resolution) / float64(min(m.W, m.H))
	return max(1, int(math.RoundToEven(float64(m.W)*k))), max(1, int(math.RoundToEven(float64(m.H)*k)))
}

// pictures makes files ready for a JSON list.
func pictures(files [][]byte) []any {
	list := make([]any, len(files))
	for i, f := range files {
		list[i] = pyjson.Base64(f)
	}
	return list
}
