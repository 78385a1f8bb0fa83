package sdapi

import (
	"context"
	"math"
	"net/http"
	"strings"

	"sdworker/api/sdapi/pyjson"
	"sdworker/api/sdapi/schema"
	"sdworker/inference"
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

// controlUnit is one unit of ControlNet (Mikubill v1.1.455). Keys that it does
// not know are ignored, values of a wrong type have their default.
var controlUnit = &schema.Model{Name: "ControlNetUnit", Fields: []schema.Field{
	{Name: "enabled", Kind: schema.Boolean, Default: false},
	{Name: "module", Kind: schema.String, Default: "none"},
	{Name: "model", Kind: schema.String, Default: "None"},
	{Name: "weight", Kind: schema.Number, Default: 1.0},
	{Name: "image", Kind: schema.Any},
	{Name: "mask", Kind: schema.Any},
	{Name: "mask_image", Kind: schema.Any},
	{Name: "resize_mode", Kind: schema.Any, Default: "Crop and Resize"},
	{Name: "low_vram", Kind: schema.Boolean, Default: false},
	{Name: "processor_res", Kind: schema.Integer, Default: int64(-1)},
	{Name: "threshold_a", Kind: schema.Number, Default: int64(-1)},
	{Name: "threshold_b", Kind: schema.Number, Default: int64(-1)},
	{Name: "guidance_start", Kind: schema.Number, Default: int64(0)},
	{Name: "guidance_end", Kind: schema.Number, Default: int64(1)},
	{Name: "pixel_perfect", Kind: schema.Boolean, Default: false},
	{Name: "control_mode", Kind: schema.Any, Default: "Balanced"},
	{Name: "inpaint_crop_input_image", Kind: schema.Boolean, Default: true},
	{Name: "hr_option", Kind: schema.Any, Default: "Both"},
	{Name: "save_detected_map", Kind: schema.Boolean, Default: true},
	{Name: "advanced_weighting", Kind: schema.Any},
	{Name: "effective_region_mask", Kind: schema.Any},
	{Name: "pulid_mode", Kind: schema.Any},
	{Name: "union_control_type", Kind: schema.Any},
	{Name: "ipadapter_input", Kind: schema.Any},
}}

// controlAliases are older names of unit fields.
var controlAliases = map[string]string{"guidance": "guidance_end", "lowvram": "low_vram", "input_image": "image"}

// readUnit reads one element of the args.
func readUnit(v any) (*fields, bool) {
	sent, ok := v.(*pyjson.Object)
	if !ok {
		return nil, false
	}
	plain := pyjson.NewObject()
	for key, value := range sent.All() {
		if name, old := controlAliases[key]; old {
			if _, both := sent.Get(name); both {
				continue
			}
			key = name
		}
		plain.Set(key, value)
	}
	// A unit is not validated as the request is: what cannot be read is left out.
	for _, f := range controlUnit.Fields {
		if value, given := plain.Get(f.Name); given {
			if _, errs := f.Coerce(value); len(errs) > 0 {
				plain.Delete(f.Name)
			}
		}
	}
	read, err := controlUnit.Read(plain)
	if err != nil {
		return nil, false
	}
	return &fields{Values: read}, true
}

// buildControl adds the ControlNet units that are switched on. A unit that names
// neither model nor module does nothing, like the empty ones that some clients
// always send.
func (c *call) buildControl(ctx context.Context) error {
	if c.origin != nil {
		c.req.Control = c.origin.req.Control
		return nil
	}
	positional := 0
	for i, v := range c.control {
		unit, ok := readUnit(v)
		if !ok {
			if v != nil {
				positional++
			}
			continue
		}
		if !unitOn(unit) {
			if named(unit.text("model")) {
				c.note("ControlNet unit %d is not enabled and did nothing", i)
			}
			continue
		}
		built, err := c.controlUnit(ctx, i, unit)
		if err != nil {
			return err
		}
		c.req.Control = append(c.req.Control, built)
		c.units = append(c.units, unit)
	}
	if positional > 0 {
		c.note("%d of the %d args of ControlNet are no objects and did nothing: give each unit as one object", positional, len(c.control))
	}
	return nil
}

// unitOn reports whether a unit has an effect: it must name a model or a
// preprocessor, and be enabled. A unit without the field enabled counts as
// enabled if it names a model, because earlier versions of the extension
// enabled such units.
func unitOn(unit *fields) bool {
	if !unit.Given("enabled") {
		return named(unit.text("model"))
	}
	return unit.flag("enabled", false) && (named(unit.text("model")) || named(unit.text("module")))
}

func named(s string) bool { return s != "" && !strings.EqualFold(s, "none") }

func (c *call) controlUnit(ctx context.Context, i int, unit *fields) (inference.ControlUnit, error) {
	name := unit.text("model")
	model, ok := c.server.cfg.Catalog.ControlNet(name)
	if !ok {
		return inference.ControlUnit{}, crash("RuntimeError", "model %s not found", quoted(name))
	}
	if _, known := hint.Lookup(unit.text("module")); !known {
		return inference.ControlUnit{}, refuse(http.StatusUnprocessableEntity,
			"ControlNet preprocessor %s is not available: send the preprocessed picture with module none", quoted(unit.text("module")))
	}
	image, mask := unitImage(unit)
	out := inference.ControlUnit{
		Model:        model.Path,
		Module:       unit.text("module"),
		Weight:       unit.number("weight"),
		ResizeMode:   choice(unit, "resize_mode", []string{"Just Resize", "Crop and Resize", "Resize and Fill"}, oldResizeModes, 1),
		Start:        unit.number("guidance_start"),
		End:          unit.number("guidance_end"),
		Mode:         inference.ControlMode(choice(unit, "control_mode", []string{"Balanced", "My prompt is more important", "ControlNet is more important"}, nil, 0)),
		PixelPerfect: unit.flag("pixel_perfect", false),
		Resolution:   unit.whole("processor_res"),
		ThresholdA:   unit.number("threshold_a"),
		ThresholdB:   unit.number("threshold_b"),
		ReturnMap:    unit.flag("save_detected_map", true),
	}
	pass := choice(unit, "hr_option", []string{"Both", "Low res only", "High res only"}, nil, 0)
	out.LowRes, out.HighRes = pass != 2, pass != 1
	switch {
	case image != nil:
		m, _, err := c.server.picture(ctx, image, c.opts)
		if err != nil {
			return out, err
		}
		out.Image = m.RGB([3]uint8{})
	case c.req.Init != nil:
		out.Image = c.req.Init.Images[0]
	default:
		return out, refuse(http.StatusUnprocessableEntity, "ControlNet unit %d has no image", i)
	}
	if mask != nil {
		c.note("the mask of ControlNet unit %d is ignored", i)
	}
	return out, unit.err
}

// unitImage returns image and mask, which older clients send together in one
// object or list.
func unitImage(unit *fields) (image, mask any) {
	image, _ = unit.Get("image")
	for _, name := range []string{"mask_image", "mask"} {
		if v, _ := unit.Get(name); v != nil && v != "" {
			mask = v
		}
	}
	switch v := image.(type) {
	case *pyjson.Object:
		image, _ = v.Get("image")
		if inner, _ := v.Get("mask"); inner != nil && mask == nil {
			mask = inner
		}
	case []any:
		image = nil
		if len(v) > 0 {
			image = v[0]
		}
		if len(v) > 1 && mask == nil {
			mask = v[1]
		}
	}
	if image == "" {
		image = nil
	}
	return image, mask
}

// oldResizeModes are captions of earlier versions.
var oldResizeModes = map[string]int{
	"Scale to Fit (Inner Fit)": 1, "Inner Fit (Scale to Fit)": 1,
	"Envelope (Outer Fit)": 2, "Outer Fit (Shrink to Fit)": 2,
}

// choice reads a field that takes a caption or its number.
func choice(unit *fields, name string, captions []string, old map[string]int, def int) int {
	v, _ := unit.Get(name)
	switch v := v.(type) {
	case string:
		for i, caption := range captions {
			if strings.EqualFold(v, caption) {
				return i
			}
		}
		if i, ok := old[v]; ok {
			return i
		}
	case int64:
		if v >= 0 && int(v) < len(captions) {
			return int(v)
		}
	}
	return def
}
