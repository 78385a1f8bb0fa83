package sdapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sdworker/api/budget"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/fastapi"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/options"
	"sdworker/api/sdapi/picture"
	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/request"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
	"sdworker/inference/hint"
	"sdworker/inference/imageio"
)

// controlNetVersion is the version of the ControlNet extension that these routes
// speak for: 1.1.455 says 2.
const controlNetVersion = 2

func (s *Server) controlModels() []string {
	names := []string{}
	for _, f := range s.cfg.Catalog.Usable(s.cfg.Catalog.ControlNets()) {
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
	labels, err := schema.QueryBool("alias_names", r.URL.Query()["alias_names"], false)
	if err != nil {
		return nil, err
	}
	detail := pyjson.NewObject()
	names := []string{}
	for _, m := range hint.Modules() {
		name := m.Name
		if labels {
			name = m.Label
		}
		names = append(names, name)
		sliders := []any{}
		for _, sl := range m.Sliders {
			if sl.Name != "" {
				sliders = append(sliders, pyjson.NewObject("name", sl.Name, "value", sl.Value, "min", sl.Min, "max", sl.Max, "step", sl.Step))
			}
		}
		detail.Set(name, pyjson.NewObject("model_free", false, "sliders", sliders))
	}
	return pyjson.NewObject("module_list", names, "module_detail", detail), nil
}

// listControlTypes handles GET /controlnet/control_types: for each tag of a
// preprocessor those that have it, and the models whose names say so.
func (s *Server) listControlTypes(*http.Request) (any, error) {
	all := append([]string{"None"}, s.controlModels()...)
	types := pyjson.NewObject("All", pyjson.NewObject("module_list", moduleLabels(""), "model_list", all, "default_option", "none", "default_model", "None"))
	var tags []string
	for _, m := range hint.Modules() {
		tags = append(tags, m.Tags...)
	}
	slices.Sort(tags)
	for _, tag := range slices.Compact(tags) {
		modules, models := moduleLabels(tag), modelsFor(tag, all)
		option := modules[0]
		if len(modules) > 1 {
			option = modules[1]
		}
		types.Set(tag, pyjson.NewObject("module_list", modules, "model_list", models, "default_option", option, "default_model", defaultModel(models)))
	}
	return pyjson.NewObject("control_types", types), nil
}

// moduleLabels lists the preprocessors with a tag, "none" always first; "" lists all.
func moduleLabels(tag string) []string {
	var labels []string
	for _, m := range hint.Modules() {
		if tag == "" || m.Name == "none" || slices.Contains(m.Tags, tag) {
			labels = append(labels, m.Label)
		}
	}
	return labels
}

// tagNames are further names of tags within names of models.
var tagNames = map[string][]string{"InstructP2P": {"ip2p"}, "Scribble": {"sketch"}, "Tile": {"blur"}, "IP-Adapter": {"ip_adapter", "ipadapter"}}

// modelsFor lists the models whose names contain a tag, and those that serve several.
func modelsFor(tag string, all []string) []string {
	var out []string
	for _, name := range all {
		lower := strings.ToLower(name)
		names := append([]string{strings.ToLower(tag)}, tagNames[tag]...)
		if lower == "none" || slices.ContainsFunc(names, func(n string) bool { return strings.Contains(lower, n) }) ||
			strings.Contains(lower, "union") && slices.Contains(unionTags, tag) {
			out = append(out, name)
		}
	}
	return out
}

// unionTags are the tags that a ControlNet for several kinds of pictures serves.
var unionTags = []string{"Canny", "Lineart", "MLSD", "Scribble", "Inpaint", "Tile"}

// defaultModel is the first model whose name says version 1.1, else the first.
func defaultModel(models []string) string {
	for _, name := range models[1:] {
		if head, _, _ := strings.Cut(name, "["); strings.Contains(head, "11") {
			return name
		}
	}
	return models[min(1, len(models)-1)]
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
	body, err := fastapi.ReadModel(r, detectRequest)
	if err != nil {
		return err
	}
	in := &request.Fields{Values: body}
	module, ok := hint.Lookup(in.Text("controlnet_module"))
	if !ok {
		return exception.Refuse(http.StatusUnprocessableEntity, "Module not available")
	}
	if module.Vision { // it gives no picture
		return exception.Refuse(http.StatusUnprocessableEntity, "Module not supported")
	}
	o := s.Options.Values()
	images := append(in.List("controlnet_input_images"), in.List("controlnet_images")...)
	if len(images) == 0 {
		return exception.Refuse(http.StatusUnprocessableEntity, "No image selected")
	}
	decoded, _, err := s.Reader.All(r.Context(), images, o)
	if err != nil {
		return err
	}
	masks := in.List("controlnet_masks")
	if module.Masked && len(masks) != len(images) {
		return exception.Refuse(http.StatusUnprocessableEntity, "Preprocessor %s requires `controlnet_masks` param.", in.Text("controlnet_module"))
	}
	sliders := module.Bounded(hint.Sliders{
		Resolution: in.Whole("controlnet_processor_res"), A: in.Number("controlnet_threshold_a"), B: in.Number("controlnet_threshold_b"),
		Seed: uint32(s.cfg.Seed()),
	})
	if in.Err != nil {
		return in.Err
	}
	if module.Depth != 0 {
		return s.detectDepth(w, r, module, sliders, decoded, o)
	}
	var made []picture.Encodable
	for i, m := range decoded {
		if err := r.Context().Err(); err != nil {
			return err
		}
		white := [3]uint8{255, 255, 255}
		out, err := hint.Preprocess(module, m.RGB(white), sliders, nil)
		if err != nil {
			return exception.Refuse(http.StatusUnprocessableEntity, "%s", err.Error())
		}
		if max(out.W, out.H) > generation.MaxExtrasSide {
			return exception.Refuse(http.StatusUnprocessableEntity, "controlnet_processor_res is too large")
		}
		if err := budget.TakeResult(r.Context(), 1, out.W, out.H); err != nil {
			return err
		}
		if !module.Masked {
			made = append(made, picture.Encodable{Pixels: out})
			continue
		}
		mask, _, err := s.Reader.One(r.Context(), masks[i], o)
		if err != nil {
			return err
		}
		alpha := generation.FirstChannel(mask.DropAlpha())
		if alpha.W != out.W || alpha.H != out.H {
			return exception.Refuse(http.StatusUnprocessableEntity, "image shape ((%d, %d)) not aligned with mask shape ((%d, %d))", out.H, out.W, alpha.H, alpha.W)
		}
		made = append(made, picture.Transparent(hint.ShowMask(hint.Picture{RGB: out, Mask: &alpha})))
	}
	return writeMaps(w, r, made, o)
}

// detectDepth is detect by a network, which takes its turn in the queue.
func (s *Server) detectDepth(w http.ResponseWriter, r *http.Request, module hint.Module, sliders hint.Sliders, pictures []imageio.Decoded, o options.Values) error {
	network, err := s.NetworkOf(module)
	if err != nil {
		return err
	}
	_, files, err := s.ChosenFiles(o)
	if err != nil {
		return err
	}
	var made []picture.Encodable
	err = s.cfg.Queue.Do(r.Context(), inference.Job{Name: "preprocessor"}, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		for _, m := range pictures {
			unit := inference.ControlUnit{
				Module: module.Name, Network: network, Image: m.RGB([3]uint8{255, 255, 255}),
				Resolution: sliders.Resolution, ThresholdA: sliders.A, ThresholdB: sliders.B,
			}
			res, err := gen.Generate(ctx, inference.MapsOf(files, unit), hooks)
			if err != nil {
				return err
			}
			for _, m := range res.Maps {
				if err := budget.TakeResult(ctx, 1, m.W, m.H); err != nil {
					return err
				}
				made = append(made, picture.Transparent(m))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeMaps(w, r, made, o)
}

// writeMaps answers with what preprocessors made.
func writeMaps(w http.ResponseWriter, r *http.Request, made []picture.Encodable, o options.Values) error {
	files, err := picture.EncodeAll(r.Context(), made, o)
	if err != nil {
		return err
	}
	reply, err := pyjson.Marshal(pyjson.NewObject("images", picture.List(files), "info", "Success"), pyjson.Compact)
	if err != nil {
		return err
	}
	fastapi.WritePlain(w, http.StatusOK, "application/json", reply)
	return nil
}
